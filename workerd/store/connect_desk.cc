// SPDX-License-Identifier: LGPL-2.1-or-later
// connect_desk - calls about the connection and the machine.
#include "workerd/store/connect_desk.h"

#include <algorithm>

#include "config.h"
#include "proto/programs.h"

namespace virtgate::workerd::store {

using remote::Procedure;

namespace {

constexpr std::string_view k_uri = "virtgate:///";
constexpr std::uint32_t k_read_only_flag = 1;  // of CONNECT_OPEN
// What libvirt's daemons answer themselves, whatever the driver is: keepalive, event callbacks with ids, close callbacks.
constexpr int k_keepalive = 10, k_callback_ids = 14, k_close_callback = 15;
// The release of libvirt whose calls and answers these are.
constexpr std::uint64_t k_lib_version = 9'000'000;

// "0.1.2" as libvirt writes versions: 1,000,000 × major + 1,000 × minor + release.
std::uint64_t own_version() noexcept {
    std::uint64_t parts[3] = {}, *part = parts;
    for (const char c : std::string_view(VIRTGATE_VERSION)) {
        if (c >= '0' && c <= '9')
            *part = *part * 10 + static_cast<std::uint64_t>(c - '0');
        else if (c != '.' || ++part == std::end(parts))
            break;
    }
    return parts[0] * 1'000'000 + parts[1] * 1'000 + parts[2];
}

bool comes_before_open(std::uint32_t procedure) noexcept {
    switch (static_cast<Procedure>(procedure)) {
        case Procedure::auth_list:
        case Procedure::connect_open:
        case Procedure::connect_supports_feature: return true;
        default: return false;
    }
}

// The answer to calls that fill a client's list: without room in it, how long it has to be.
template <class Ret>
Ret answer_figures(const std::vector<Host::Figure>& figures, std::int32_t room) {
    Ret ret;
    if (room == 0)
        ret.count = static_cast<std::int32_t>(figures.size());
    else
        for (const Host::Figure& figure : figures)
            if (ret.params.size() < static_cast<std::size_t>(room))
                ret.params.push_back({.field = figure.name, .value = figure.value});
    return ret;
}

}  // namespace

ConnectDesk::ConnectDesk(server::Program& program, const Host& host, House& house)
    : served_(program), host_(host), house_(house) {
    program.serve<&ConnectDesk::list_auth>(Procedure::auth_list, *this);
    program.serve<&ConnectDesk::open>(Procedure::connect_open, *this);
    program.serve<&ConnectDesk::close>(Procedure::connect_close, *this);
    program.serve<&ConnectDesk::supports>(Procedure::connect_supports_feature, *this);
    program.serve<&ConnectDesk::set_identity>(Procedure::connect_set_identity, *this);
    program.serve<&ConnectDesk::get_type>(Procedure::connect_get_type, *this);
    program.serve<&ConnectDesk::get_version>(Procedure::connect_get_version, *this);
    program.serve<&ConnectDesk::get_lib_version>(Procedure::connect_get_lib_version, *this);
    program.serve<&ConnectDesk::get_hostname>(Procedure::connect_get_hostname, *this);
    program.serve<&ConnectDesk::get_uri>(Procedure::connect_get_uri, *this);
    program.serve<&ConnectDesk::get_capabilities>(Procedure::connect_get_capabilities, *this);
    program.serve<&ConnectDesk::is_secure>(Procedure::connect_is_secure, *this);
    program.serve<&ConnectDesk::get_node_info>(Procedure::node_get_info, *this);
    program.serve<&ConnectDesk::get_cpu_stats>(Procedure::node_get_cpu_stats, *this);
    program.serve<&ConnectDesk::get_memory_stats>(Procedure::node_get_memory_stats, *this);
    program.serve<&ConnectDesk::get_free_memory>(Procedure::node_get_free_memory, *this);
    // The store's connection to itself never closes: whoever waits for that is told nothing, rightly.
    program.serve<&ConnectDesk::watch_closing>(Procedure::connect_register_close_callback, *this);
    program.serve<&ConnectDesk::watch_closing>(Procedure::connect_unregister_close_callback, *this);
    program.serve<&ConnectDesk::watch_pools>(Procedure::connect_storage_pool_event_register_any, *this);
    program.serve<&ConnectDesk::forget_pools>(Procedure::connect_storage_pool_event_deregister_any, *this);
}

void ConnectDesk::forget(server::ClientId client) noexcept {
    links_.erase(client);
    house_.announcer.subscriptions().forget(client);
}

std::optional<rpc::Failure> ConnectDesk::judge(const Client& client, std::uint32_t procedure) noexcept {
    const proto::ProcedureInfo* const info = proto::remote_program().find(procedure);
    // No such call at all, or an event.
    if (info == nullptr) return std::nullopt;
    const Link& link = links_[client.id()];
    if (!link.is_open && !comes_before_open(procedure))
        return rpc::Failure{.code = rpc::k_code_internal, .message = "hypervisor connection not open"};
    if (link.read_only && info->readonly == proto::ReadOnly::refused && !comes_before_open(procedure) &&
        procedure != static_cast<std::uint32_t>(Procedure::connect_set_identity))
        return only_reads(function_of(info->name));
    if (!served_.has(procedure)) return is_not_served(function_of(info->name));
    return std::nullopt;
}

void ConnectDesk::list_auth(Client&, Call call) noexcept {
    call.reply(remote::AuthListRet{.types = {remote::AuthType::none}});
}

void ConnectDesk::open(Client& client, const remote::ConnectOpenArgs& args, Call call) noexcept {
    Link& link = links_[client.id()];
    if (link.is_open) return call.fail({.message = "connection already open"});
    if (args.name.value_or(std::string(k_uri)) != k_uri)
        return call.fail(is_bad(fmt::format("the store is {}", k_uri)));
    link.is_open = true;
    link.read_only = link.read_only || (args.flags & k_read_only_flag) != 0;
    call.reply();
}

// The worker closes the socket when it has the answer.
void ConnectDesk::close(Client& client, Call call) noexcept {
    links_[client.id()].is_open = false;
    house_.announcer.subscriptions().forget(client.id());
    call.reply();
}

void ConnectDesk::supports(Client& client, const remote::ConnectSupportsFeatureArgs& args,
                           Call call) noexcept {
    const bool is_open = links_[client.id()].is_open;
    if (!is_open && args.feature != k_keepalive)
        return call.fail({.code = rpc::k_code_internal, .message = "hypervisor connection not open"});
    const bool yes =
        args.feature == k_keepalive || args.feature == k_callback_ids || args.feature == k_close_callback;
    call.reply(remote::ConnectSupportsFeatureRet{.supported = yes ? 1 : 0});
    if (args.feature == k_keepalive) client.start_pings();
}

// What a client is, the policy has judged before: here all are the same.
void ConnectDesk::set_identity(Client&, const remote::ConnectSetIdentityArgs&, Call call) noexcept {
    call.reply();
}

void ConnectDesk::get_type(Client&, Call call) noexcept {
    call.reply(remote::ConnectGetTypeRet{.type = "virtgate"});
}
void ConnectDesk::get_version(Client&, Call call) noexcept {
    call.reply(remote::ConnectGetVersionRet{.version = own_version()});
}
void ConnectDesk::get_lib_version(Client&, Call call) noexcept {
    call.reply(remote::ConnectGetLibVersionRet{.version = k_lib_version});
}
void ConnectDesk::get_hostname(Client&, Call call) noexcept {
    call.reply(remote::ConnectGetHostnameRet{.hostname = host_.name()});
}
void ConnectDesk::get_uri(Client&, Call call) noexcept {
    call.reply(remote::ConnectGetUriRet{.uri = std::string(k_uri)});
}
void ConnectDesk::get_capabilities(Client&, Call call) noexcept {
    call.reply(remote::ConnectGetCapabilitiesRet{.capabilities = host_.write_capabilities()});
}
// Between worker and store there is nothing but a socket pair.
void ConnectDesk::is_secure(Client&, Call call) noexcept {
    call.reply(remote::ConnectIsSecureRet{.secure = 1});
}

void ConnectDesk::get_node_info(Client&, Call call) noexcept {
    const Host::Processors& processors = host_.processors();
    remote::NodeGetInfoRet ret{.cpus = static_cast<std::int32_t>(processors.count),
                               .mhz = static_cast<std::int32_t>(processors.mhz),
                               .nodes = 1,
                               .sockets = static_cast<std::int32_t>(processors.sockets),
                               .cores = static_cast<std::int32_t>(processors.cores),
                               .threads = static_cast<std::int32_t>(processors.threads)};
    // The last byte stays zero.
    const std::string& machine = host_.machine();
    std::copy_n(machine.begin(), std::min(machine.size(), ret.model.size() - 1), ret.model.begin());
    for (const Host::Figure& figure : host_.memory())
        if (figure.name == "total") ret.memory = figure.value;
    call.reply(ret);
}

void ConnectDesk::get_cpu_stats(Client&, const remote::NodeGetCpuStatsArgs& args, Call call) noexcept {
    if (args.flags != 0) return call.fail(has_unknown_flags(args.flags, "virNodeGetCPUStats"));
    const auto figures = host_.processor_times(args.cpu);
    if (!figures) return call.fail(figures.error());
    call.reply(answer_figures<remote::NodeGetCpuStatsRet>(*figures, args.max_params));
}

void ConnectDesk::get_memory_stats(Client&, const remote::NodeGetMemoryStatsArgs& args, Call call) noexcept {
    if (args.flags != 0) return call.fail(has_unknown_flags(args.flags, "virNodeGetMemoryStats"));
    if (args.cell != -1 && args.cell != 0)
        return call.fail(is_bad("memory is told of all NUMA cells together"));
    call.reply(answer_figures<remote::NodeGetMemoryStatsRet>(host_.memory(), args.max_params));
}

void ConnectDesk::get_free_memory(Client&, Call call) noexcept {
    constexpr std::uint64_t k_kib = 1024;
    remote::NodeGetFreeMemoryRet ret;
    for (const Host::Figure& figure : host_.memory())
        if (figure.name == "free") ret.free_memory = figure.value * k_kib;
    call.reply(ret);
}

void ConnectDesk::watch_closing(Client&, Call call) noexcept { call.reply(); }

void ConnectDesk::watch_pools(Client& client, const remote::ConnectStoragePoolEventRegisterAnyArgs& args,
                              Call call) noexcept {
    if (args.event_id != Announcer::k_lifecycle && args.event_id != Announcer::k_refresh)
        return call.fail({.code = rpc::k_code_internal,
                          .message = fmt::format("unsupported storage pool event ID {}", args.event_id)});
    if (args.pool)
        if (const auto pool = house_.find(args.pool->uuid, args.pool->name); !pool)
            return call.fail(pool.error());
    const auto number = house_.announcer.subscriptions().add(
        client.id(), args.event_id, args.pool ? std::optional(args.pool->uuid) : std::nullopt);
    if (!number) return call.fail(is_busy("a connection has only so many event callbacks"));
    call.reply(remote::ConnectStoragePoolEventRegisterAnyRet{.callback_id = *number});
}

void ConnectDesk::forget_pools(Client& client, const remote::ConnectStoragePoolEventDeregisterAnyArgs& args,
                               Call call) noexcept {
    if (!house_.announcer.subscriptions().remove(client.id(), args.callback_id))
        return call.fail(
            {.code = rpc::k_code_internal,
             .message = fmt::format("storage pool event callback {} not registered", args.callback_id)});
    call.reply();
}

}  // namespace virtgate::workerd::store
