// SPDX-License-Identifier: LGPL-2.1-or-later
// admin_desk - libvirt's admin program, so that virt-admin works.
//
// There are two servers: "virtgate-netd", whose clients are those of all gates, and "admin", whose clients are the
// administrators. What has no meaning here is answered with libvirt's error for what a daemon does not support.
//
// Trust:  whoever calls is an administrator; what he changes is logged with who he is. What gates say is escaped.
// Owns:   nothing; open questions are the links'.
#pragma once

#include "libshared/server/program.h"
#include "libshared/server/server.h"
#include "netd/steward/control_desk.h"
#include "netd/steward/parameters.h"

namespace virtgate::netd::steward {

class AdminDesk {
public:
    // All outlive this. `clients_max`: administrators at a time.
    AdminDesk(Gates& gates, Supervisor& supervisor, server::Server& server, std::size_t clients_max);
    [[nodiscard]] const server::Program& program() const noexcept { return program_; }

private:
    using Client = server::Client;
    using Call = server::Call;
    using SharedCall = std::shared_ptr<Call>;
    enum class Which : unsigned char { gates, admin };

    // admin_desk.cc
    void connect_open(Client& client, const proto::admin::ConnectOpenArgs& arguments, Call call) noexcept;
    void connect_close(Client& client, Call call) noexcept;
    void get_version(Client& client, Call call) noexcept;
    void list_servers(Client& client, const proto::admin::ConnectListServersArgs& arguments,
                      Call call) noexcept;
    void lookup_server(Client& client, const proto::admin::ConnectLookupServerArgs& arguments,
                       Call call) noexcept;
    void get_threadpool(Client& client, const proto::admin::ServerGetThreadpoolParametersArgs& arguments,
                        Call call) noexcept;
    void set_threadpool(Client& client, const proto::admin::ServerSetThreadpoolParametersArgs& arguments,
                        Call call) noexcept;
    void list_clients(Client& client, const proto::admin::ServerListClientsArgs& arguments,
                      Call call) noexcept;
    void lookup_client(Client& client, const proto::admin::ServerLookupClientArgs& arguments,
                       Call call) noexcept;
    void get_client(Client& client, const proto::admin::ClientGetInfoArgs& arguments, Call call) noexcept;
    void close_client(Client& client, const proto::admin::ClientCloseArgs& arguments, Call call) noexcept;
    void get_limits(Client& client, const proto::admin::ServerGetClientLimitsArgs& arguments,
                    Call call) noexcept;
    void set_limits(Client& client, const proto::admin::ServerSetClientLimitsArgs& arguments,
                    Call call) noexcept;
    void get_outputs(Client& client, const proto::admin::ConnectGetLoggingOutputsArgs& arguments,
                     Call call) noexcept;
    void get_filters(Client& client, const proto::admin::ConnectGetLoggingFiltersArgs& arguments,
                     Call call) noexcept;
    void set_outputs(Client& client, const proto::admin::ConnectSetLoggingOutputsArgs& arguments,
                     Call call) noexcept;
    void set_filters(Client& client, const proto::admin::ConnectSetLoggingFiltersArgs& arguments,
                     Call call) noexcept;
    void update_tls(Client& client, const proto::admin::ServerUpdateTlsFilesArgs& arguments,
                    Call call) noexcept;
    void set_timeout(Client& client, const proto::admin::ConnectSetDaemonTimeoutArgs& arguments,
                     Call call) noexcept;

    // None, and `call` answered, if there is no such server, or `flags` are not 0.
    std::optional<Which> find_server(const std::string& name, std::uint32_t flags, Call& call) const noexcept;
    bool check(std::uint32_t flags, Call& call) const noexcept;
    // `then` gets the supervisor's state; without one `call` is answered with an error.
    void ask_state(const SharedCall& call, std::function<void(const proto::control::StateRet&)> then);
    void change(const SharedCall& call, const proto::control::ChangeArgs& arguments);

    Gates& gates_;
    Supervisor& supervisor_;
    server::Server& server_;
    const std::size_t clients_max_;
    server::Program program_;
    Log log_{"administration"};
};

}  // namespace virtgate::netd::steward
