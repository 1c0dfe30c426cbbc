// SPDX-License-Identifier: LGPL-2.1-or-later
// connect_desk - calls about the connection and the machine.
//
// Before any other call a client opens its connection; which of them may change something is decided here, by what the broker
// said of it and by what CONNECT_OPEN asked for, for all procedures at once and by the schema's own annotations.
//
// Trust:  whoever is at the other end is a worker of ours, and may have been taken over: its word narrows what it may do, and
//         widens nothing.
// Owns:   for each connection, whether it is open.
#pragma once

#include <map>

#include "libshared/server/program.h"
#include "libshared/server/server.h"
#include "proto/remote.h"
#include "workerd/store/host.h"
#include "workerd/store/house.h"

namespace virtgate::workerd::store {

namespace remote = proto::remote;

class ConnectDesk {
public:
    ConnectDesk(server::Program& program, const Host& host, House& house);

    // A connection came, or is gone.
    void add(server::ClientId client, bool read_only) { links_[client] = {.read_only = read_only}; }
    void forget(server::ClientId client) noexcept;

    // For Program::judge_by().
    std::optional<rpc::Failure> judge(const server::Client& client, std::uint32_t procedure) noexcept;

private:
    using Client = server::Client;
    using Call = server::Call;
    struct Link {
        bool read_only = true;
        bool is_open = false;
    };
    void list_auth(Client& client, Call call) noexcept;
    void open(Client& client, const remote::ConnectOpenArgs& args, Call call) noexcept;
    void close(Client& client, Call call) noexcept;
    void supports(Client& client, const remote::ConnectSupportsFeatureArgs& args, Call call) noexcept;
    void set_identity(Client& client, const remote::ConnectSetIdentityArgs& args, Call call) noexcept;
    void get_type(Client& client, Call call) noexcept;
    void get_version(Client& client, Call call) noexcept;
    void get_lib_version(Client& client, Call call) noexcept;
    void get_hostname(Client& client, Call call) noexcept;
    void get_uri(Client& client, Call call) noexcept;
    void get_capabilities(Client& client, Call call) noexcept;
    void is_secure(Client& client, Call call) noexcept;
    void get_node_info(Client& client, Call call) noexcept;
    void get_cpu_stats(Client& client, const remote::NodeGetCpuStatsArgs& args, Call call) noexcept;
    void get_memory_stats(Client& client, const remote::NodeGetMemoryStatsArgs& args, Call call) noexcept;
    void get_free_memory(Client& client, Call call) noexcept;
    void watch_closing(Client& client, Call call) noexcept;
    void watch_pools(Client& client, const remote::ConnectStoragePoolEventRegisterAnyArgs& args,
                     Call call) noexcept;
    void forget_pools(Client& client, const remote::ConnectStoragePoolEventDeregisterAnyArgs& args,
                      Call call) noexcept;

    const server::Program& served_;
    const Host& host_;
    House& house_;
    std::map<server::ClientId, Link> links_;
};

}  // namespace virtgate::workerd::store
