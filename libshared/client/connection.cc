// SPDX-License-Identifier: LGPL-2.1-or-later
// connection - a server that can be called from any number of threads: opening, calls, events, the end.
#include "libshared/client/connection.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>

#include "libshared/client/core.h"
#include "libshared/client/login.h"
#include "proto/remote.h"

namespace virtgate::client {

namespace remote = proto::remote;

namespace {

constexpr std::uint32_t k_open_read_only = 1;

Procedure of_remote(remote::Procedure procedure) {
    return {remote::k_program, remote::k_version, static_cast<std::uint32_t>(procedure)};
}

Result<Request> make_request(const Procedure& procedure, ByteVector arguments, const CallOptions& options) {
    Request request{.program = procedure.program,
                    .version = procedure.version,
                    .procedure = procedure.number,
                    .payload = std::move(arguments),
                    .fds = {},
                    .opens_stream = false,
                    .sparse = false,
                    .link = {},
                    .on_reply = {}};
    for (const int fd : options.fds) {
        // The caller may close its own as soon as the call has returned, also before all was sent.
        UniqueFd copy{fcntl(fd, F_DUPFD_CLOEXEC, 0)};
        if (!copy) return fail_system(errno, "cannot pass a descriptor");
        request.fds.push_back(std::move(copy));
    }
    return request;
}

Result<Reply> call_core(Core& core, const Procedure& procedure, ByteVector arguments, Streams kind,
                        const CallOptions& options) {
    auto request = make_request(procedure, std::move(arguments), options);
    if (!request) return tl::unexpected(request.error());
    request->opens_stream = kind != Streams::none;
    request->sparse = kind == Streams::sparse;
    auto reply = core.call(std::move(*request), options.deadline);
    if (reply && options.received != nullptr) *options.received = std::move(reply->fds);
    return reply;
}

Result<bool> ask_feature(Core& core, int feature, const Deadline& deadline) {
    auto arguments = proto::encode(remote::ConnectSupportsFeatureArgs{.feature = feature});
    auto reply =
        call_core(core, of_remote(remote::Procedure::connect_supports_feature), std::move(*arguments),
                  Streams::none, {.deadline = deadline, .fds = {}, .received = nullptr});
    if (!reply) return tl::unexpected(reply.error());
    const auto value = proto::decode<remote::ConnectSupportsFeatureRet>(reply->payload);
    if (!value) return fail(Cause::protocol, "the server's answer about a feature cannot be read");
    return value->supported != 0;
}

// Keepalive is agreed on before the driver is opened, and only if somebody will be there to answer pings.
Done agree_on_keepalive(Core& core, const Options& options) {
    constexpr int k_feature_keepalive = 10;
    if (options.service == Service::none) return {};
    const auto supported = ask_feature(core, k_feature_keepalive, options.deadline);
    if (!supported && supported.error().cause != Cause::remote) return tl::unexpected(supported.error());
    if (supported && *supported) core.start_keepalive();
    return {};
}

Done open_driver(Core& core, const Uri& uri, const Options& options) {
    remote::ConnectOpenArgs wanted;
    if (std::string name = uri.open_name(); !name.empty()) wanted.name = std::move(name);
    wanted.flags = options.read_only ? k_open_read_only : 0;
    auto arguments = proto::encode(wanted);
    if (!arguments) return fail(Cause::invalid, "URI: the server would not understand it");
    const auto reply =
        call_core(core, of_remote(remote::Procedure::connect_open), std::move(*arguments), Streams::none,
                  {.deadline = options.deadline, .fds = {}, .received = nullptr});
    if (!reply) return tl::unexpected(reply.error());
    return {};
}

// A core on which calls can be made. Without a URI there is neither login nor OPEN.
Result<std::shared_ptr<Core>> establish(std::unique_ptr<Channel> channel, const std::optional<Uri>& uri,
                                        const Options& options) {
    auto core = Core::make(std::move(channel), options);
    if (!core || !uri) return core;
    if (auto done = log_in(**core, *uri, options); !done) return tl::unexpected(done.error());
    if (auto done = agree_on_keepalive(**core, options); !done) return tl::unexpected(done.error());
    if (auto done = open_driver(**core, *uri, options); !done) return tl::unexpected(done.error());
    return core;
}

Core::Establish make_establish(Dial dial, std::optional<Uri> uri, Options options) {
    return [dial = std::move(dial), uri = std::move(uri),
            options = std::move(options)](const Deadline& deadline) -> Result<std::shared_ptr<Core>> {
        auto channel = dial(deadline);
        if (!channel) return tl::unexpected(channel.error());
        Options again = options;
        again.deadline = deadline;
        return establish(std::move(*channel), uri, again);
    };
}

}  // namespace

Result<Connection> Connection::open(std::string_view uri, const Options& options) {
    const auto parsed = Uri::parse(uri);
    if (!parsed) return tl::unexpected(parsed.error());
    return open(*parsed, options);
}

Result<Connection> Connection::open(const Uri& uri, const Options& options) {
    // Once and for all: later it would be read in another thread, while the program may change it.
    Options full = options;
    if (!full.environment) full.environment = Environment::of_process();
    const Dial dial = [uri, read_only = full.read_only,
                       environment = *full.environment](const Deadline& deadline) {
        return connect(uri, read_only, environment, deadline);
    };
    if (full.reconnect && !full.reconnect->dial) full.reconnect->dial = dial;
    auto channel = dial(full.deadline);
    if (!channel) return tl::unexpected(channel.error());
    return start(std::move(*channel), uri, full);
}

Result<Connection> Connection::open_over(std::unique_ptr<Channel> channel, const Uri& uri,
                                         const Options& options) {
    return start(std::move(channel), uri, options);
}

Result<Connection> Connection::attach(std::unique_ptr<Channel> channel, const Options& options) {
    return start(std::move(channel), std::nullopt, options);
}

Result<Connection> Connection::start(std::unique_ptr<Channel> channel, const std::optional<Uri>& uri,
                                     const Options& options) {
    if (options.reconnect && !options.reconnect->dial)
        return fail(Cause::invalid,
                    "a connection over a channel cannot be made again without a way to get another one");
    auto core = establish(std::move(channel), uri, options);
    if (!core) return tl::unexpected(core.error());
    Connection connection(*core);
    if (options.reconnect)
        (*core)->set_reconnect(*options.reconnect, make_establish(options.reconnect->dial, uri, options));
    if (auto done = (*core)->start_service(); !done) return tl::unexpected(done.error());
    connection.opened_ = uri.has_value();
    return connection;
}

Connection& Connection::operator=(Connection&& other) noexcept {
    if (this != &other) {
        const Connection before(std::move(*this));
        core_ = std::move(other.core_);
        opened_ = other.opened_;
    }
    return *this;
}

Connection::~Connection() {
    if (!core_) return;
    close();
    core_->stop_service();
}

void Connection::close(const Deadline& deadline) {
    if (auto goodbye =
            core_->bind({.program = remote::k_program,
                         .version = remote::k_version,
                         .procedure = static_cast<std::uint32_t>(remote::Procedure::connect_close)});
        opened_ && goodbye)
        // Whether it has come or not, the connection ends.
        static_cast<void>(core_->call(std::move(*goodbye), deadline));
    core_->close(CloseReason::client, {.cause = Cause::closed, .text = "the connection was closed here"});
}

Result<ByteVector> Connection::call(const Procedure& procedure, ByteView arguments,
                                    const CallOptions& options) {
    return call_core(*core_, procedure, ByteVector(arguments.begin(), arguments.end()), Streams::none,
                     options)
        .map([](Reply&& reply) { return std::move(reply.payload); });
}

Result<Opened<ByteVector>> Connection::open_stream(const Procedure& procedure, ByteView arguments,
                                                   Streams kind, const CallOptions& options) {
    require(kind != Streams::none, "a stream that is none");
    auto reply = call_core(*core_, procedure, ByteVector(arguments.begin(), arguments.end()), kind, options);
    if (!reply) return tl::unexpected(reply.error());
    return Opened<ByteVector>{std::move(reply->payload), Stream(core_, std::move(reply->stream))};
}

Result<CallId> Connection::start_call(const Procedure& procedure, ByteView arguments, Instant until,
                                      std::function<void(Result<ByteVector>)> done) {
    auto request = make_request(procedure, ByteVector(arguments.begin(), arguments.end()), {});
    if (!request) return tl::unexpected(request.error());
    return core_->start_call(std::move(*request), until, [done = std::move(done)](Result<Reply> reply) {
        done(std::move(reply).map([](Reply&& good) { return std::move(good.payload); }));
    });
}

void Connection::cancel_call(CallId id) { core_->cancel_call(id); }

Result<bool> Connection::supports(int feature, const Deadline& deadline) {
    return ask_feature(*core_, feature, deadline);
}

int Connection::fd() const noexcept { return core_->fd(); }
void Connection::dispatch() { core_->dispatch(); }
Done Connection::serve(const Deadline& deadline) { return core_->serve(deadline); }

void Connection::on_close(std::function<void(Reason, const Failure&)> handler) {
    core_->on_close([handler = std::move(handler)](CloseReason reason, const Failure& failure) {
        handler(static_cast<Reason>(reason), failure);
    });
}

std::optional<Failure> Connection::closed() const { return core_->closed(); }
bool Connection::is_connected() const { return core_->is_connected(); }
std::uint64_t Connection::lost_events() const { return core_->lost_events(); }

Result<Stream> Connection::make_stream(const std::shared_ptr<Core>& core,
                                       std::shared_ptr<StreamState> state) {
    return Stream(core, std::move(state));
}

Result<Subscription> Connection::subscribe(const std::shared_ptr<Core>& core, const Procedure& event,
                                           const Procedure& enrol, const Procedure& deregister,
                                           ByteVector arguments, std::function<void(ByteView)> handler,
                                           const Deadline& deadline) {
    auto entry = std::make_shared<EventHandler>();
    entry->program = event.program;
    entry->procedure = event.number;
    entry->run = std::move(handler);
    auto request = make_request(enrol, std::move(arguments), {});
    if (!request) return tl::unexpected(request.error());
    // In the order of arrival: an event right behind the reply finds its handler.
    entry->enrol = repeat(*request);
    entry->deregister.program = deregister.program;
    entry->deregister.version = deregister.version;
    entry->deregister.procedure = deregister.number;
    request->on_reply = [entry](Core& at, const Reply& reply, bool late) {
        entry->name(reply.payload);
        if (!late) return at.add_handler_locked(entry);
        // Nobody waits for it any more, but the server would go on sending.
        at.send_and_forget_locked(entry->deregister);
    };
    core->begin_registration();
    const auto reply = core->call(std::move(*request), deadline);
    core->end_registration();
    if (!reply) return tl::unexpected(reply.error());
    Subscription subscription;
    subscription.core_ = core;
    subscription.handler_ = std::move(entry);
    return subscription;
}

Subscription& Subscription::operator=(Subscription&& other) noexcept {
    if (this != &other) {
        drop();
        core_ = std::move(other.core_);
        handler_ = std::move(other.handler_);
    }
    return *this;
}

void Subscription::drop() noexcept {
    if (!core_ || !handler_) return;
    core_->remove_handler(handler_);
    auto request = core_->deregistration(*handler_);
    if (request) core_->send_and_forget(std::move(*request));
    handler_.reset();
    core_.reset();
}

Done Subscription::cancel(const Deadline& deadline) {
    if (!core_ || !handler_) return {};
    core_->remove_handler(handler_);
    const auto handler = std::move(handler_);
    const auto core = std::move(core_);
    auto request = core->deregistration(*handler);
    if (!request) return {};
    return core->call(std::move(*request), deadline).map([](const Reply&) {});
}

Result<ByteVector> Caller::call_bytes(const Procedure& procedure, ByteVector arguments,
                                      const CallOptions& options) const {
    return call_core(*core_, procedure, std::move(arguments), Streams::none, options).map([](Reply&& reply) {
        return std::move(reply.payload);
    });
}

Result<Opened<ByteVector>> Caller::open_stream_bytes(const Procedure& procedure, ByteVector arguments,
                                                     Streams kind, const CallOptions& options) const {
    auto reply = call_core(*core_, procedure, std::move(arguments), kind, options);
    if (!reply) return tl::unexpected(reply.error());
    auto stream = Connection::make_stream(core_, std::move(reply->stream));
    return Opened<ByteVector>{std::move(reply->payload), std::move(*stream)};
}

Result<Subscription> Caller::subscribe_bytes(const Procedure& event, const Procedure& enrol,
                                             const Procedure& deregister, ByteVector arguments,
                                             std::function<void(ByteView)> handler,
                                             const CallOptions& options) const {
    return Connection::subscribe(core_, event, enrol, deregister, std::move(arguments), std::move(handler),
                                 options.deadline);
}

Failure Caller::flawed(Cause cause, std::string_view what, xdr::Flaw flaw) {
    return {.cause = cause, .text = fmt::format("{}: {}", what, xdr::to_text(flaw))};
}

}  // namespace virtgate::client
