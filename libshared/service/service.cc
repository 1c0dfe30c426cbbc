// SPDX-License-Identifier: LGPL-2.1-or-later
// service - the process that serves a program of others.
#include "libshared/service/service.h"

#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "libshared/fdmap.h"
#include "libshared/loop/terminator.h"
#include "libshared/service/confinement.h"
#include "libshared/service/flow.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "proto/remote.h"
#include "proto/service.h"
#include "proto/supervise.h"

namespace virtgate::service {

namespace remote = proto::remote;
namespace supervise = proto::supervise;
using remote::Procedure;

namespace {

constexpr std::uint32_t k_read_only_flag = 1;  // of CONNECT_OPEN
// What libvirt's daemons answer themselves, whatever is served: keepalive.
constexpr int k_keepalive = 10;
// libvirt's daemons send all events with this serial.
constexpr std::uint32_t k_event_serial = 1;
// Events of a Service are of no object.
constexpr server::Subscriptions::Object k_no_object{};
constexpr int k_the_event = 0;

server::ServerLimits make_limits() {
    return {.clients = Service::k_connections_max,
            // Both ends are on this machine: nobody has to be asked whether he lives.
            .client = {.frame_max = Service::k_frame_max,
                       .calls = Service::k_calls,
                       .ping_interval = Milliseconds{0},
                       .unsent = Service::k_unsent_max}};
}

}  // namespace

// What everybody needs of libvirt's main program.
class Service::Front {
public:
    explicit Front(Service& service) : service_(service), program_(remote::k_program, remote::k_version) {
        program_.serve<&Front::list_auth>(Procedure::auth_list, *this);
        program_.serve<&Front::open>(Procedure::connect_open, *this);
        program_.serve<&Front::close>(Procedure::connect_close, *this);
        program_.serve<&Front::supports>(Procedure::connect_supports_feature, *this);
        program_.serve<&Front::set_identity>(Procedure::connect_set_identity, *this);
        program_.serve<&Front::get_uri>(Procedure::connect_get_uri, *this);
        program_.serve<&Front::get_type>(Procedure::connect_get_type, *this);
        program_.serve<&Front::watch_closing>(Procedure::connect_register_close_callback, *this);
        program_.serve<&Front::watch_closing>(Procedure::connect_unregister_close_callback, *this);
    }
    [[nodiscard]] const server::Program& program() const noexcept { return program_; }

private:
    using Client = server::Client;
    using Call = server::Call;

    void list_auth(Client&, Call call) noexcept {
        call.reply(remote::AuthListRet{.types = {remote::AuthType::none}});
    }
    void open(Client& client, const remote::ConnectOpenArgs& args, Call call) noexcept {
        Link& link = service_.link_of(client);
        if (link.is_open) return call.fail({.message = "connection already open"});
        if (args.name.value_or(service_.config_.uri) != service_.config_.uri)
            return call.fail({.code = rpc::k_code_invalid_argument,
                              .message = fmt::format("this is {}", service_.config_.uri)});
        link.is_open = true;
        link.caller.read_only = link.caller.read_only || (args.flags & k_read_only_flag) != 0;
        call.reply();
    }
    // The worker closes the socket when it has the answer.
    void close(Client& client, Call call) noexcept {
        service_.link_of(client).is_open = false;
        call.reply();
    }
    void supports(Client&, const remote::ConnectSupportsFeatureArgs& args, Call call) noexcept {
        call.reply(remote::ConnectSupportsFeatureRet{.supported = args.feature == k_keepalive ? 1 : 0});
    }
    // Who the client is, the broker has said with its connection.
    void set_identity(Client&, const remote::ConnectSetIdentityArgs&, Call call) noexcept { call.reply(); }
    void get_uri(Client&, Call call) noexcept {
        call.reply(remote::ConnectGetUriRet{.uri = service_.config_.uri});
    }
    void get_type(Client&, Call call) noexcept {
        call.reply(remote::ConnectGetTypeRet{.type = service_.config_.name});
    }
    void watch_closing(Client&, Call call) noexcept { call.reply(); }

    Service& service_;
    server::Program program_;
};

Service::Service(loop::Loop& loop, proto::config::ServiceConfig config, UniqueFd channel)
    : loop_(loop),
      config_(std::move(config)),
      tasks_(loop, loop::to<&Service::on_tasks>(*this)),
      front_(std::make_unique<Front>(*this)),
      workshop_(loop, config_.threads, k_priority_threads),
      server_(loop, make_limits(), *this),
      channel_(
          loop, std::move(channel), 1, loop::to<&Service::on_message>(*this),
          loop::to<static_cast<void (Service::*)(std::string_view) noexcept>(&Service::on_closed)>(*this)) {
    server_.add(front_->program());
}

Service::~Service() = default;

Version& Service::serve(const proto::ProgramInfo& info) {
    Version& version = *versions_.emplace_back(std::make_unique<Version>(*this, info));
    server_.add(version.program());
    return version;
}

Done Service::start() noexcept {
    return channel_.send(rpc::make_message(supervise::k_program, supervise::k_version,
                                           supervise::Procedure::ready, channel_.next_serial()),
                         {});
}

Done Service::attach(UniqueFd socket, Caller caller) {
    auto client = server_.adopt({.socket = std::move(socket), .input = {}, .output = {}}, 0);
    if (!client) return tl::unexpected(std::move(client.error()));
    caller.connection = (*client)->id();
    links_[caller.connection] = {.caller = std::move(caller)};
    return {};
}

void Service::on_message(rpc::Control::Message& message) noexcept {
    const auto args = proto::decode<proto::service::AttachArgs>(message.payload);
    if (message.header != rpc::make_message(proto::service::k_program, proto::service::k_version,
                                            proto::service::Procedure::attach, message.header.serial) ||
        !args || message.fds.count() != 1) {
        Log{}.error("workerd sent a message that is not known here");
        return loop_.stop();
    }
    const auto attached =
        attach(message.fds.take(0),
               {.identity = args->identity, .session = args->session, .read_only = args->read_only});
    if (!attached)
        Log{}.error("a connection of {} is refused: {}", escape(args->identity), attached.error().text);
}

void Service::on_closed(std::string_view) noexcept { loop_.stop(); }

void Service::on_tasks() noexcept {
    for (const auto& task : tasks_.take()) task();
}

void Service::on_closed(server::Client& client, std::string_view reason) noexcept {
    for (Events* events : events_) events->subscriptions_.forget(client.id());
    links_.erase(client.id());
    Log{}.debug("a connection has ended: {}", reason);
}

Service::Link& Service::link_of(const server::Client& client) noexcept { return links_[client.id()]; }

// ---- versions ----------------------------------------

Version::Version(Service& service, const proto::ProgramInfo& info)
    : service_(service), info_(info), program_(info.number, info.version) {
    program_.judge_by<&Version::judge>(*this);
}

// The worker has judged by the policy; this is what the .x file says, once more.
std::optional<rpc::Failure> Version::judge(const server::Client& client, std::uint32_t procedure) noexcept {
    const Service::Link& link = service_.link_of(client);
    if (!link.is_open) return rpc::Failure{.message = "connection not open"};
    const proto::ProcedureInfo* info = info_.find(procedure);
    if (link.caller.read_only && info != nullptr && info->readonly != proto::ReadOnly::allowed)
        return rpc::Failure{.code = rpc::k_code_operation_denied,
                            .message = fmt::format("{} is not for connections that only read", info->name)};
    if (info != nullptr && info->stream != proto::Stream::none && client.streams() >= Service::k_streams_max)
        return rpc::Failure{.code = rpc::k_code_operation_failed, .message = "too many open streams"};
    return std::nullopt;
}

server::Lane Version::lane_of(std::uint32_t procedure) const noexcept {
    const proto::ProcedureInfo* info = info_.find(procedure);
    require(info != nullptr, "a handler for a procedure that is not in the .x file");
    return info->high_priority ? server::Lane::priority : server::Lane::ordinary;
}

const Caller& Version::caller_of(const server::Client& client) const noexcept {
    return service_.link_of(client).caller;
}

server::Workshop& Version::workshop() const noexcept { return service_.workshop_; }

void Version::open_source(server::Client& client, server::Call call, Source source) const {
    open_flow(client, std::move(call), std::move(source), {});
}

void Version::open_sink(server::Client& client, server::Call call, Sink sink) const {
    open_flow(client, std::move(call), {}, std::move(sink));
}

void Version::open_flow(server::Client& client, server::Call call, Source source, Sink sink) const {
    auto& flows = service_.flows_;
    const auto on_over = [&flows](Flow& over) {
        std::erase_if(flows, [&over](const auto& each) { return each.get() == &over; });
    };
    Flow& flow = **flows
                       .insert(std::make_unique<Flow>(client, call.header(), std::move(source),
                                                      std::move(sink), on_over))
                       .first;
    call.reply();
    flow.start();
}

// ---- events ----------------------------------------

Events::Events(Service& service, const proto::ProgramInfo& info, std::uint32_t event)
    : service_(service), info_(info), event_(event) {
    require(info.find(event) != nullptr, "an event that is not in the .x file");
    service_.events_.push_back(this);
}

Events::~Events() { std::erase(service_.events_, this); }

Answer<std::int32_t> Events::add(const Caller& caller) {
    const auto number = subscriptions_.add(caller.connection, k_the_event, std::nullopt);
    if (!number) return refuse("a connection has only so many event callbacks", rpc::k_code_resource_busy);
    return *number;
}

Answer<void> Events::remove(const Caller& caller, std::int32_t number) {
    if (subscriptions_.remove(caller.connection, number)) return {};
    return refuse(fmt::format("event callback {} is not registered", number), rpc::k_code_invalid_argument);
}

std::vector<std::pair<server::ClientId, std::int32_t>> Events::enrolled() const {
    std::vector<std::pair<server::ClientId, std::int32_t>> all;
    subscriptions_.for_each(k_the_event, k_no_object,
                            [&](server::ClientId client, int number) { all.emplace_back(client, number); });
    return all;
}

void Events::send(server::ClientId connection, ByteView payload) noexcept {
    server::Client* const client = service_.server_.find(connection);
    if (client == nullptr) return;
    rpc::Header header{.program = info_.number,
                       .version = info_.version,
                       .procedure = event_,
                       .type = rpc::Type::message,
                       .serial = k_event_serial};
    client->send(rpc::make_frame(header, payload));
    if (client->unsent() > Service::k_unread_max + Service::k_unsent_max)
        client->close("it does not read its events");
}

// ---- the process ----------------------------------------

int run(int count, char** words, const SetUp& set_up, const Needs& needs) {
    if (confine::is_asked_to_show(count, words)) return confine::show(make_plan({}, needs.calls));
    if (const auto closed = spawn::close_to_others(); !closed)
        return spawn::complain(closed.error(), spawn::k_exit_system);
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);
    umask(0077);
    spawn::raise_descriptor_limit();
    // The C library opens a file of /proc before it gives memory of a thread's own arena back.
    mallopt(M_ARENA_MAX, 1);
    auto config = spawn::read_config<proto::config::ServiceConfig>(fdmap::k_config);
    if (!config) return spawn::complain(config.error(), spawn::k_exit_system);
    set_log_level(static_cast<Level>(config->log_level));
    const auto loop = loop::make_event_loop();
    const loop::Terminator terminator(*loop);
    auto confinement = confine::Confinement::begin(make_plan(*config, needs.calls),
                                                   static_cast<confine::Mode>(config->sandbox));
    if (!confinement) return spawn::complain(confinement.error(), spawn::k_exit_system);
    // The threads come after what belongs to each of them, and before the filter, which lets nobody start one.
    Service service(*loop, std::move(*config), UniqueFd{fdmap::k_control});
    if (const auto ready = set_up(service); !ready)
        return spawn::complain(ready.error(), spawn::k_exit_system);
    if (const auto served = confinement->serve(); !served)
        return spawn::complain(served.error(), spawn::k_exit_system);
    if (const auto started = service.start(); !started)
        return spawn::complain(started.error(), spawn::k_exit_system);
    loop->run();
    // What the handlers belong to may be gone before the service, and threads may be at work: all of it ends at once.
    _exit(0);
}

}  // namespace virtgate::service
