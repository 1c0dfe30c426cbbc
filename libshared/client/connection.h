// SPDX-License-Identifier: LGPL-2.1-or-later
// connection - a server that can be called from any number of threads.
//
//     auto conn = client::Connection::open("qemu+tls://host.example/system");
//     if (!conn) … conn.error().text
//     auto web = conn->remote().domain_lookup_by_name({.name = "web"});
//     if (!web && web.error().is(42)) …                      // no such domain
//
// remote(), qemu(), lxc(), admin(), lock() and log() need the header of their program:
// "proto/remote_client.h" and so on. Each procedure takes its arguments and returns Result of its value; one
// that opens a stream returns Opened of both; each event has a function on_NAME() that takes a handler and
// returns a Subscription. All of them take CallOptions last.
//
// Threads: everything here may be called from any thread at any time, also from callbacks, but the destructor
//          and the assignment. No call waits for the answer of another one. Who runs callbacks: Service
//          (options.h).
// Trust:   what the server sends is checked: a reply that does not decode is Cause::protocol, and one that
//          answers nothing closes the connection.
// Limits:  options.h.
// Owns:    the connection. At its end the server is told (CONNECT_CLOSE), for k_goodbye at most; streams and
//          subscriptions that are left say Cause::closed.
#pragma once

#include <memory>
#include <utility>

#include "libshared/client/options.h"
#include "libshared/client/stream.h"
#include "proto/codec.h"

namespace virtgate::proto::remote {
template <class Caller>
class Client;
}
namespace virtgate::proto::qemu {
template <class Caller>
class Client;
}
namespace virtgate::proto::lxc {
template <class Caller>
class Client;
}
namespace virtgate::proto::admin {
template <class Caller>
class Client;
}
namespace virtgate::proto::lock {
template <class Caller>
class Client;
}
namespace virtgate::proto::log {
template <class Caller>
class Client;
}

namespace virtgate::client {

class Core;
struct EventHandler;

constexpr Milliseconds k_goodbye{2000};

struct CallOptions {
    Deadline deadline{};
    // Descriptors to pass, of calls that take some; borrowed, only over a UNIX socket.
    std::vector<int> fds{};
    // Gets those that come with the reply.
    std::vector<UniqueFd>* received = nullptr;
};

// What a call that opens a stream returns.
template <class T>
struct Opened {
    T value;
    Stream stream;
};
template <>
struct Opened<void>;  // a Stream is all

// A number for each call that was started, until its callback has run.
using CallId = std::uint32_t;

// Which procedure of which program.
struct Procedure {
    std::uint32_t program = 0, version = 0, number = 0;
};

// Whether a call opens a stream, and whether that may have holes.
enum class Streams : unsigned char { none, plain, sparse };

// Keeps an event handler registered, with Options::reconnect also at a server that has come back. Its
// destructor, and cancel(), return when the handler is not running and will not run again; from within the
// handler itself they return at once.
class Subscription {
public:
    Subscription() = default;
    Subscription(Subscription&&) noexcept = default;
    Subscription& operator=(Subscription&& other) noexcept;
    ~Subscription() { drop(); }

    // Ends it, and tells the server. Error: the call's; the handler is gone in any case.
    [[nodiscard]] Done cancel(const Deadline& deadline = {});

private:
    friend class Connection;
    void drop() noexcept;
    std::shared_ptr<Core> core_;
    std::shared_ptr<EventHandler> handler_;
};

class Caller;

class Connection {
public:
    // Connects, proves who we are, and opens the URI's driver. Error: see connect() (transport.h), and
    // Cause::denied, Cause::remote.
    [[nodiscard]] static Result<Connection> open(std::string_view uri, const Options& options = {});
    [[nodiscard]] static Result<Connection> open(const Uri& uri, const Options& options = {});

    // The same over a channel that is there: login and OPEN of `uri`.
    [[nodiscard]] static Result<Connection> open_over(std::unique_ptr<Channel> channel, const Uri& uri,
                                                      const Options& options = {});
    // Without login and OPEN: for the servers of other programs (virtlockd, an administration socket, one's
    // own).
    [[nodiscard]] static Result<Connection> attach(std::unique_ptr<Channel> channel,
                                                   const Options& options = {});

    Connection(Connection&&) noexcept = default;
    Connection& operator=(Connection&& other) noexcept;
    ~Connection();

    // The programs, each as an object of generated functions. Include "proto/NAME_client.h".
    template <class C = Caller>
    [[nodiscard]] proto::remote::Client<C> remote() const {
        return proto::remote::Client<C>(C(core_));
    }
    template <class C = Caller>
    [[nodiscard]] proto::qemu::Client<C> qemu() const {
        return proto::qemu::Client<C>(C(core_));
    }
    template <class C = Caller>
    [[nodiscard]] proto::lxc::Client<C> lxc() const {
        return proto::lxc::Client<C>(C(core_));
    }
    template <class C = Caller>
    [[nodiscard]] proto::admin::Client<C> admin() const {
        return proto::admin::Client<C>(C(core_));
    }
    template <class C = Caller>
    [[nodiscard]] proto::lock::Client<C> lock() const {
        return proto::lock::Client<C>(C(core_));
    }
    template <class C = Caller>
    [[nodiscard]] proto::log::Client<C> log() const {
        return proto::log::Client<C>(C(core_));
    }
    // Of a program of one's own: whatever xdrgen made a Client of.
    template <template <class> class Client>
    [[nodiscard]] Client<Caller> program() const;

    // Any procedure, in bytes: what is known of it from a schema only.
    [[nodiscard]] Result<ByteVector> call(const Procedure& procedure, ByteView arguments,
                                          const CallOptions& options = {});
    [[nodiscard]] Result<Opened<ByteVector>> open_stream(const Procedure& procedure, ByteView arguments,
                                                         Streams kind, const CallOptions& options = {});

    // Sends a call and returns at once; `done` runs as a callback with the answer, or with Cause::timeout at
    // `until`. Error: Cause::busy, closed, invalid; then `done` does not run.
    [[nodiscard]] Result<CallId> start_call(const Procedure& procedure, ByteView arguments, Instant until,
                                            std::function<void(Result<ByteVector>)> done);
    // `done` runs with Cause::cancelled, if it has not run yet.
    void cancel_call(CallId id);

    // CONNECT_SUPPORTS_FEATURE: does the server have this feature (a number of docs/protocol.md)?
    [[nodiscard]] Result<bool> supports(int feature, const Deadline& deadline = {});

    // Service::loop: watch this descriptor for reading, always, and call dispatch() when it is readable. It
    // is an epoll instance, which has deadlines and pings in it too, so that nothing else is needed.
    // dispatch() never waits.
    [[nodiscard]] int fd() const noexcept;
    void dispatch();
    // Service::none: reads and runs callbacks until at least one has run, also over a reconnect. Error:
    // Cause::timeout, cancelled, closed.
    [[nodiscard]] Done serve(const Deadline& deadline);

    // Calls `handler` once, as a callback, when the connection ends, whoever ended it, or if it has ended. One
    // that makes itself again (Options::reconnect) has not ended: see Reconnect::on_change.
    enum class Reason : unsigned char { error, end, keepalive, client };
    void on_close(std::function<void(Reason, const Failure&)> handler);
    // Why it has ended; nothing while it is open, or is being made again.
    [[nodiscard]] std::optional<Failure> closed() const;
    [[nodiscard]] bool is_connected() const;

    // Ends the connection: tells the server, waits for its answer until the deadline, closes. Calls that wait
    // fail with Cause::closed. It is not made again.
    void close(const Deadline& deadline = Deadline::in(k_goodbye));

    // How many events were dropped because their callbacks were too slow (Limits::events).
    [[nodiscard]] std::uint64_t lost_events() const;

private:
    friend class Caller;
    explicit Connection(std::shared_ptr<Core> core) : core_(std::move(core)) {}
    static Result<Connection> start(std::unique_ptr<Channel> channel, const std::optional<Uri>& uri,
                                    const Options& options);
    static Result<Stream> make_stream(const std::shared_ptr<Core>& core, std::shared_ptr<StreamState> state);
    static Result<Subscription> subscribe(const std::shared_ptr<Core>& core, const Procedure& event,
                                          const Procedure& enrol, const Procedure& deregister,
                                          ByteVector arguments, std::function<void(ByteView)> handler,
                                          const Deadline& deadline);
    std::shared_ptr<Core> core_;
    bool opened_ = false;  // CONNECT_CLOSE is to be said
};

// What the generated functions call: values to bytes, and back. It keeps the connection in memory, but not
// open.
class Caller {
public:
    explicit Caller(std::shared_ptr<Core> core) : core_(std::move(core)) {}

    template <class Value>
    [[nodiscard]] Result<Value> call(const Procedure& procedure, const auto& arguments,
                                     const CallOptions& options) const {
        auto payload = encode(arguments);
        if (!payload) return tl::unexpected(payload.error());
        return decode<Value>(call_bytes(procedure, std::move(*payload), options));
    }

    // Without a value: the stream alone.
    template <class Value>
    using Stream = std::conditional_t<std::is_void_v<Value>, client::Stream, Opened<Value>>;
    template <class Value>
    [[nodiscard]] Result<Stream<Value>> open_stream(const Procedure& procedure, const auto& arguments,
                                                    Streams kind, const CallOptions& options) const {
        auto payload = encode(arguments);
        if (!payload) return tl::unexpected(payload.error());
        auto opened = open_stream_bytes(procedure, std::move(*payload), kind, options);
        if (!opened) return tl::unexpected(opened.error());
        auto value = decode<Value>(std::move(opened->value));
        if (!value) return tl::unexpected(value.error());
        if constexpr (std::is_void_v<Value>)
            return std::move(opened->stream);
        else
            return Stream<Value>{std::move(*value), std::move(opened->stream)};
    }

    // `Message` is what the event carries. An event that does not decode is dropped.
    template <class Message, class Handler>
    [[nodiscard]] Result<Subscription> subscribe(const Procedure& event, const Procedure& enrol,
                                                 const Procedure& deregister, const auto& arguments,
                                                 Handler handler, const CallOptions& options) const {
        auto payload = encode(arguments);
        if (!payload) return tl::unexpected(payload.error());
        return subscribe_bytes(
            event, enrol, deregister, std::move(*payload),
            [handler = std::move(handler)](ByteView bytes) mutable {
                if (auto message = proto::decode<Message>(bytes)) handler(*message);
            },
            options);
    }

    struct Nothing {
        void encode(xdr::Writer&) const {}
        void decode(xdr::Reader&) {}
    };

private:
    [[nodiscard]] Result<ByteVector> call_bytes(const Procedure& procedure, ByteVector arguments,
                                                const CallOptions& options) const;
    [[nodiscard]] Result<Opened<ByteVector>> open_stream_bytes(const Procedure& procedure,
                                                               ByteVector arguments, Streams kind,
                                                               const CallOptions& options) const;
    [[nodiscard]] Result<Subscription> subscribe_bytes(const Procedure& event, const Procedure& enrol,
                                                       const Procedure& deregister, ByteVector arguments,
                                                       std::function<void(ByteView)> handler,
                                                       const CallOptions& options) const;

    static Failure flawed(Cause cause, std::string_view what, xdr::Flaw flaw);

    static Result<ByteVector> encode(const auto& arguments) {
        auto bytes = proto::encode(arguments);
        if (!bytes) return tl::unexpected(flawed(Cause::invalid, "the arguments", bytes.error()));
        return std::move(*bytes);
    }

    template <class Value>
    static Result<Value> decode(Result<ByteVector> reply) {
        if (!reply) return tl::unexpected(reply.error());
        if constexpr (std::is_void_v<Value>) {
            if (!reply->empty())
                return tl::unexpected(flawed(Cause::protocol, "the reply", xdr::Flaw::trailing_bytes));
            return {};
        } else {
            auto value = proto::decode<Value>(*reply);
            if (!value) return tl::unexpected(flawed(Cause::protocol, "the reply", value.error()));
            return std::move(*value);
        }
    }

    std::shared_ptr<Core> core_;
};

template <template <class> class Client>
Client<Caller> Connection::program() const {
    return Client<Caller>(Caller(core_));
}

}  // namespace virtgate::client
