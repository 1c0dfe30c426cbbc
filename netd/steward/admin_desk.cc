// SPDX-License-Identifier: LGPL-2.1-or-later
// admin_desk - libvirt's admin program, so that virt-admin works.
#include "netd/steward/admin_desk.h"

#include <algorithm>

#include "config.h"

namespace virtgate::netd::steward {

namespace admin = proto::admin;
namespace control = proto::control;

namespace {

constexpr std::string_view k_gates_name = "virtgate-netd", k_admin_name = "admin";
// libvirt's, for this program.
constexpr int k_domain_admin = 62, k_code_no_server = 95, k_code_no_client = 96;

rpc::Failure make_failure(int code, std::string text) {
    return {.code = code, .domain = k_domain_admin, .message = std::move(text)};
}

rpc::Failure unsupported(std::string_view what) {
    return make_failure(rpc::k_code_no_support, fmt::format("not supported by virtgate-netd: {}", what));
}

rpc::Failure no_client(std::uint64_t id) {
    return make_failure(k_code_no_client, fmt::format("there is no client {}", id));
}

// What somebody else has refused, as this program says it.
rpc::Failure adopt(rpc::Failure failure) {
    failure.domain = k_domain_admin;
    return failure;
}

admin::Client make_client(std::string_view server, std::uint64_t id, std::int64_t since,
                          control::Transport transport) {
    return {.server = {.name = std::string(server)},
            .id = id,
            .timestamp = since,
            .transport = static_cast<std::uint32_t>(transport)};
}

}  // namespace

AdminDesk::AdminDesk(Gates& gates, Supervisor& supervisor, server::Server& server, std::size_t clients_max)
    : gates_(gates),
      supervisor_(supervisor),
      server_(server),
      clients_max_(clients_max),
      program_(admin::k_program, admin::k_version) {
    using admin::Procedure;
    program_.serve<&AdminDesk::connect_open>(Procedure::connect_open, *this);
    program_.serve<&AdminDesk::connect_close>(Procedure::connect_close, *this);
    program_.serve<&AdminDesk::get_version>(Procedure::connect_get_lib_version, *this);
    program_.serve<&AdminDesk::list_servers>(Procedure::connect_list_servers, *this);
    program_.serve<&AdminDesk::lookup_server>(Procedure::connect_lookup_server, *this);
    program_.serve<&AdminDesk::get_threadpool>(Procedure::server_get_threadpool_parameters, *this);
    program_.serve<&AdminDesk::set_threadpool>(Procedure::server_set_threadpool_parameters, *this);
    program_.serve<&AdminDesk::list_clients>(Procedure::server_list_clients, *this);
    program_.serve<&AdminDesk::lookup_client>(Procedure::server_lookup_client, *this);
    program_.serve<&AdminDesk::get_client>(Procedure::client_get_info, *this);
    program_.serve<&AdminDesk::close_client>(Procedure::client_close, *this);
    program_.serve<&AdminDesk::get_limits>(Procedure::server_get_client_limits, *this);
    program_.serve<&AdminDesk::set_limits>(Procedure::server_set_client_limits, *this);
    program_.serve<&AdminDesk::get_outputs>(Procedure::connect_get_logging_outputs, *this);
    program_.serve<&AdminDesk::get_filters>(Procedure::connect_get_logging_filters, *this);
    program_.serve<&AdminDesk::set_outputs>(Procedure::connect_set_logging_outputs, *this);
    program_.serve<&AdminDesk::set_filters>(Procedure::connect_set_logging_filters, *this);
    program_.serve<&AdminDesk::update_tls>(Procedure::server_update_tls_files, *this);
    program_.serve<&AdminDesk::set_timeout>(Procedure::connect_set_daemon_timeout, *this);
}

bool AdminDesk::check(std::uint32_t flags, Call& call) const noexcept {
    if (flags == 0) return true;
    call.fail(make_failure(rpc::k_code_invalid_argument, fmt::format("unknown flags {:#x}", flags)));
    return false;
}

std::optional<AdminDesk::Which> AdminDesk::find_server(const std::string& name, std::uint32_t flags,
                                                       Call& call) const noexcept {
    if (!check(flags, call)) return std::nullopt;
    if (name == k_gates_name) return Which::gates;
    if (name == k_admin_name) return Which::admin;
    call.fail(make_failure(k_code_no_server, fmt::format("there is no server \"{}\"", escape(name, 80))));
    return std::nullopt;
}

void AdminDesk::ask_state(const SharedCall& call, std::function<void(const control::StateRet&)> then) {
    supervisor_.ask(control::Procedure::state, {}, Link::k_patience,
                    [call, then = std::move(then)](const Answer<ByteVector>& answer) {
                        if (!answer) return call->fail(adopt(answer.error()));
                        const auto state = proto::decode<control::StateRet>(*answer);
                        if (!state) return call->fail(adopt(no_answer()));
                        then(*state);
                    });
}

void AdminDesk::change(const SharedCall& call, const control::ChangeArgs& arguments) {
    const auto payload = proto::encode(arguments);
    if (!payload) return call->fail(make_failure(rpc::k_code_invalid_argument, "that is too long"));
    supervisor_.ask(control::Procedure::change, *payload, Link::k_patience,
                    [call](const Answer<ByteVector>& answer) {
                        if (!answer) return call->fail(adopt(answer.error()));
                        call->reply();
                    });
}

void AdminDesk::connect_open(Client&, const admin::ConnectOpenArgs& arguments, Call call) noexcept {
    if (check(arguments.flags, call)) call.reply();
}

void AdminDesk::connect_close(Client& client, Call call) noexcept {
    call.reply();
    client.close("it said goodbye");
}

void AdminDesk::get_version(Client&, Call call) noexcept {
    call.reply(admin::ConnectGetLibVersionRet{.version = number_of_version(VIRTGATE_VERSION)});
}

void AdminDesk::list_servers(Client&, const admin::ConnectListServersArgs& arguments, Call call) noexcept {
    if (!check(arguments.flags, call)) return;
    admin::ConnectListServersRet ret{.servers = {}, .result = 2};
    if (arguments.need_results != 0)
        for (const std::string_view name : {k_gates_name, k_admin_name})
            ret.servers.push_back({.name = std::string(name)});
    call.reply(ret);
}

void AdminDesk::lookup_server(Client&, const admin::ConnectLookupServerArgs& arguments, Call call) noexcept {
    if (find_server(arguments.name, 0, call))
        call.reply(admin::ConnectLookupServerRet{.server = {.name = arguments.name}});
}

// A gate has one thread for its sessions, and takes calls as they come: nothing waits for a thread.
void AdminDesk::get_threadpool(Client&, const admin::ServerGetThreadpoolParametersArgs& arguments,
                               Call call) noexcept {
    const auto which = find_server(arguments.server.name, arguments.flags, call);
    if (!which) return;
    const auto tell = [](Call& to, std::uint32_t threads, std::uint32_t idle) {
        to.reply(admin::ServerGetThreadpoolParametersRet{
            .params = {make_uint("minWorkers", threads), make_uint("maxWorkers", threads),
                       make_uint("nWorkers", threads), make_uint("freeWorkers", idle),
                       make_uint("prioWorkers", 0), make_uint("jobQueueDepth", 0)}});
    };
    if (*which == Which::admin) return tell(call, 1, 0);
    gates_.count([tell, shared = std::make_shared<Call>(std::move(call))](const control::Counters& counters) {
        tell(*shared, counters.gates, counters.gates - std::min(counters.gates, counters.busy));
    });
}

void AdminDesk::set_threadpool(Client&, const admin::ServerSetThreadpoolParametersArgs& arguments,
                               Call call) noexcept {
    if (find_server(arguments.server.name, arguments.flags, call))
        call.fail(
            unsupported("there are no threads to add or to take away; \"gates\" in netd.toml says how many "
                        "processes there are"));
}

void AdminDesk::list_clients(Client&, const admin::ServerListClientsArgs& arguments, Call call) noexcept {
    const auto which = find_server(arguments.server.name, arguments.flags, call);
    if (!which) return;
    const bool needs_all = arguments.need_results != 0;
    admin::ServerListClientsRet ret;
    if (*which == Which::admin) {
        server_.for_each([&](const Client& one) {
            if (needs_all)
                ret.clients.push_back(
                    make_client(k_admin_name, one.id(), 0, control::Transport::transport_unix));
        });
        std::sort(ret.clients.begin(), ret.clients.end(),
                  [](const auto& a, const auto& b) { return a.id < b.id; });
        ret.result = static_cast<std::uint32_t>(server_.size());
        return call.reply(ret);
    }
    gates_.list_all(
        [needs_all, shared = std::make_shared<Call>(std::move(call))](const Gates::Connections& all) {
            admin::ServerListClientsRet list{.clients = {}, .result = static_cast<std::uint32_t>(all.size())};
            if (needs_all)
                for (const control::Connection& one : all)
                    list.clients.push_back(make_client(k_gates_name, one.id, one.since, one.transport));
            shared->reply(list);
        });
}

void AdminDesk::lookup_client(Client&, const admin::ServerLookupClientArgs& arguments, Call call) noexcept {
    const auto which = find_server(arguments.server.name, arguments.flags, call);
    if (!which) return;
    const std::uint64_t id = arguments.id;
    if (*which == Which::admin) {
        if (server_.find(id) == nullptr) return call.fail(no_client(id));
        return call.reply(admin::ServerLookupClientRet{
            .client = make_client(k_admin_name, id, 0, control::Transport::transport_unix)});
    }
    gates_.find(id, [id, shared = std::make_shared<Call>(std::move(call))](
                        const std::optional<control::Connection>& found) {
        if (!found) return shared->fail(no_client(id));
        shared->reply(admin::ServerLookupClientRet{
            .client = make_client(k_gates_name, id, found->since, found->transport)});
    });
}

void AdminDesk::get_client(Client&, const admin::ClientGetInfoArgs& arguments, Call call) noexcept {
    const auto which = find_server(arguments.client.server.name, arguments.flags, call);
    if (!which) return;
    const std::uint64_t id = arguments.client.id;
    if (*which == Which::admin) {
        const Client* const one = server_.find(id);
        if (one == nullptr) return call.fail(no_client(id));
        const server::Peer& peer = one->peer();
        return call.reply(admin::ClientGetInfoRet{
            .params = {make_boolean("readonly", false),
                       make_int("unix_user_id", static_cast<std::int32_t>(peer.uid)),
                       make_int("unix_group_id", static_cast<std::int32_t>(peer.gid)),
                       make_int("unix_process_id", static_cast<std::int32_t>(peer.pid))}});
    }
    gates_.find(id, [id, shared = std::make_shared<Call>(std::move(call))](
                        const std::optional<control::Connection>& found) {
        if (!found) return shared->fail(no_client(id));
        shared->reply(admin::ClientGetInfoRet{.params = describe_client(*found)});
    });
}

void AdminDesk::close_client(Client& client, const admin::ClientCloseArgs& arguments, Call call) noexcept {
    const auto which = find_server(arguments.client.server.name, arguments.flags, call);
    if (!which) return;
    const std::uint64_t id = arguments.client.id;
    log_.info("{} closes connection {} of {}", describe(client), id,
              *which == Which::admin ? k_admin_name : k_gates_name);
    if (*which == Which::admin) {
        Client* const one = server_.find(id);
        if (one == nullptr) return call.fail(no_client(id));
        call.reply();
        return one->close("an administrator closed it");
    }
    gates_.close(id, {}, [id, shared = std::make_shared<Call>(std::move(call))](const Answer<bool>& found) {
        if (!found) return shared->fail(adopt(found.error()));
        if (!*found) return shared->fail(no_client(id));
        shared->reply();
    });
}

void AdminDesk::get_limits(Client&, const admin::ServerGetClientLimitsArgs& arguments, Call call) noexcept {
    const auto which = find_server(arguments.server.name, arguments.flags, call);
    if (!which) return;
    const auto tell = [](Call& to, std::size_t max, std::uint32_t now, std::size_t arrivals_max,
                         std::uint32_t arrivals) {
        to.reply(admin::ServerGetClientLimitsRet{
            .params = {make_uint("nclients_max", static_cast<std::uint32_t>(max)), make_uint("nclients", now),
                       make_uint("nclients_unauth_max", static_cast<std::uint32_t>(arrivals_max)),
                       make_uint("nclients_unauth", arrivals)}});
    };
    if (*which == Which::admin)
        return tell(call, clients_max_, static_cast<std::uint32_t>(server_.size()), clients_max_, 0);
    const auto shared = std::make_shared<Call>(std::move(call));
    ask_state(shared, [this, tell, shared](const control::StateRet& state) {
        gates_.count([tell, shared, bounds = state.bounds](const control::Counters& counters) {
            tell(*shared, bounds.connections, counters.connections, bounds.arrivals, counters.arrivals);
        });
    });
}

void AdminDesk::set_limits(Client& client, const admin::ServerSetClientLimitsArgs& arguments,
                           Call call) noexcept {
    const auto which = find_server(arguments.server.name, arguments.flags, call);
    if (!which) return;
    if (*which == Which::admin)
        return call.fail(unsupported("the number of administrators at a time is fixed"));
    log_.info("{} changes the limits on clients", describe(client));
    const auto shared = std::make_shared<Call>(std::move(call));
    ask_state(shared, [this, shared, wanted = arguments.params](const control::StateRet& state) {
        const auto bounds = change_bounds(state.bounds, wanted);
        if (!bounds) return shared->fail(make_failure(rpc::k_code_invalid_argument, bounds.error().text));
        change(shared, {.bounds = *bounds, .verbosity = {}, .filters = {}, .outputs = {}});
    });
}

void AdminDesk::get_outputs(Client&, const admin::ConnectGetLoggingOutputsArgs& arguments,
                            Call call) noexcept {
    if (!check(arguments.flags, call)) return;
    const auto shared = std::make_shared<Call>(std::move(call));
    ask_state(shared, [shared](const control::StateRet& state) {
        shared->reply(admin::ConnectGetLoggingOutputsRet{.outputs = state.log_outputs,
                                                         .count = count_words(state.log_outputs)});
    });
}

void AdminDesk::get_filters(Client&, const admin::ConnectGetLoggingFiltersArgs& arguments,
                            Call call) noexcept {
    if (!check(arguments.flags, call)) return;
    const auto shared = std::make_shared<Call>(std::move(call));
    ask_state(shared, [shared](const control::StateRet& state) {
        admin::ConnectGetLoggingFiltersRet ret{.filters = {}, .count = count_words(state.log_filters)};
        if (ret.count != 0) ret.filters = state.log_filters;
        shared->reply(ret);
    });
}

void AdminDesk::set_outputs(Client& client, const admin::ConnectSetLoggingOutputsArgs& arguments,
                            Call call) noexcept {
    if (!check(arguments.flags, call)) return;
    log_.info("{} changes what is logged", describe(client));
    const auto shared = std::make_shared<Call>(std::move(call));
    constexpr std::uint32_t k_configured = 4;  // see verbosity in proto/control.x
    if (!arguments.outputs || arguments.outputs->empty())
        return change(shared, {.bounds = {},
                               .verbosity = control::Verbosity{.log_level = k_configured},
                               .filters = {},
                               .outputs = {}});
    ask_state(shared, [this, shared, wanted = *arguments.outputs](const control::StateRet& state) {
        const auto level = read_level(wanted, state.log_outputs);
        if (!level) return shared->fail(make_failure(rpc::k_code_invalid_argument, level.error().text));
        change(shared, {.bounds = {},
                        .verbosity = control::Verbosity{.log_level = *level},
                        .filters = {},
                        .outputs = {}});
    });
}

void AdminDesk::set_filters(Client& client, const admin::ConnectSetLoggingFiltersArgs& arguments,
                            Call call) noexcept {
    if (!check(arguments.flags, call)) return;
    log_.info("{} changes what is logged", describe(client));
    change(std::make_shared<Call>(std::move(call)),
           {.bounds = {},
            .verbosity = {},
            .filters = control::FilterList{.text = arguments.filters.value_or(std::string{})},
            .outputs = {}});
}

void AdminDesk::update_tls(Client& client, const admin::ServerUpdateTlsFilesArgs& arguments,
                           Call call) noexcept {
    const auto which = find_server(arguments.server.name, arguments.flags, call);
    if (!which) return;
    if (*which == Which::admin)
        return call.fail(make_failure(rpc::k_code_internal, "the server \"admin\" has no TLS"));
    log_.info("{} has the certificates read anew", describe(client));
    supervisor_.ask(control::Procedure::reload, {}, Link::k_long_patience,
                    [shared = std::make_shared<Call>(std::move(call))](const Answer<ByteVector>& answer) {
                        if (!answer) return shared->fail(adopt(answer.error()));
                        shared->reply();
                    });
}

void AdminDesk::set_timeout(Client&, const admin::ConnectSetDaemonTimeoutArgs& arguments,
                            Call call) noexcept {
    if (check(arguments.flags, call)) call.fail(unsupported("it does not end because nobody is there"));
}

}  // namespace virtgate::netd::steward
