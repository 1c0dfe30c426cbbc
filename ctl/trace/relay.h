// SPDX-License-Identifier: LGPL-2.1-or-later
// relay - a UNIX socket whose clients are connected to a server, byte by byte; somebody looks on.
//
// Descriptors go along where both are UNIX sockets, each with the byte that it came with. Nothing is changed, and who reads
// slowly is waited for.
//
// Limits: k_piece bytes of each direction are held at a time. Half of a connection may end before the other. A server is
//         connected to in a thread of its own, k_patience at most, for k_connecting_max clients at a time.
// Owns:   the listener, its name and all connections.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "ctl/trace/decoder.h"
#include "ctl/trace/end.h"
#include "libshared/base/fd.h"
#include "libshared/base/result.h"
#include "libshared/channel/local_listener.h"
#include "libshared/loop/loop.h"
#include "libshared/loop/mailbox.h"

namespace virtgate::ctl::trace {

class RelayOwner {
public:
    virtual ~RelayOwner() = default;
    // Somebody has connected: connection number `number`. A second time with what was wrong, if it cannot be served.
    virtual void on_connected(unsigned number) noexcept = 0;
    virtual void on_refused(unsigned number, std::string_view why) noexcept = 0;
    virtual void on_bytes(unsigned number, From from, ByteView bytes) noexcept = 0;
    // `why`: what is known of the server's end; may be empty.
    virtual void on_closed(unsigned number, std::string_view why) noexcept = 0;
};

class Relay {
public:
    static constexpr std::size_t k_piece = 65'536;
    static constexpr std::size_t k_connecting_max = 16;
    static constexpr Milliseconds k_patience{30'000};
    // Makes a connection to the server; runs in a thread.
    using Connect = std::function<client::Result<std::unique_ptr<End>>(const client::Deadline& deadline)>;

    Relay(loop::Loop& loop, RelayOwner& owner, Connect connect);
    ~Relay();
    Relay(const Relay&) = delete;
    Relay& operator=(const Relay&) = delete;

    // Listens at `path`, for its own user alone. Error: system's fault.
    Done listen(const std::string& path);
    // No connection is left.
    [[nodiscard]] bool is_idle() const noexcept { return connections_.empty() && waiting_.empty(); }

private:
    class Connection;
    struct Waiting {
        unsigned number = 0;
        UniqueFd client{};
        std::thread thread{};
    };
    struct Arrival {
        unsigned number = 0;
        client::Result<std::unique_ptr<End>> server{};
    };
    void on_client(loop::Want ready) noexcept;
    void on_arrivals() noexcept;
    void on_sweep() noexcept;

    loop::Loop& loop_;
    RelayOwner& owner_;
    const Connect connect_;
    channel::LocalListener listener_;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> sweep_;
    loop::Mailbox<Arrival> arrivals_;
    std::stop_source stop_;
    std::list<Waiting> waiting_;
    std::list<std::unique_ptr<Connection>> connections_;
    unsigned count_ = 0;
};

// Connects to the UNIX socket at `path`.
[[nodiscard]] client::Result<std::unique_ptr<End>> connect_to_socket(const std::string& path);

}  // namespace virtgate::ctl::trace
