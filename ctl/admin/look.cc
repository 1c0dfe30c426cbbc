// SPDX-License-Identifier: LGPL-2.1-or-later
// look - asks all daemons, and takes it as it is that some of them do not run.
#include "ctl/admin/look.h"

#include <sys/socket.h>

#include <algorithm>

#include "config.h"
#include "ctl/admin/daemon.h"
#include "ctl/locks/link.h"
#include "ctl/pki/certificate.h"
#include "ctl/pki/facts.h"

namespace virtgate::ctl::admin {

namespace control = proto::control;
namespace sessions = proto::sessions;

namespace {

void look_at_netd(const std::string& socket, Status& status) {
    auto steward = Daemon::open(socket, SOCK_STREAM, "virtgate-netd");
    if (!steward) {
        status.netd_problem = steward.error().text;
        return;
    }
    auto state = steward->ask<control::StateRet>(control::Procedure::state);
    if (!state) {
        status.netd_problem = state.error().text;
        return;
    }
    status.netd = std::move(*state);
    if (auto counters = steward->ask<control::Counters>(control::Procedure::counters))
        status.counters = *counters;
}

void look_at_workerd(const std::string& socket, Status& status) {
    auto broker = Daemon::open(socket, SOCK_SEQPACKET, "virtgate-workerd");
    if (!broker) {
        status.workerd_problem = broker.error().text;
        return;
    }
    auto state = broker->ask<sessions::BrokerRet>(sessions::Procedure::state);
    if (!state) {
        status.workerd_problem = state.error().text;
        return;
    }
    status.workerd = std::move(*state);
    if (auto workers = list_workers(*broker)) status.workers = std::move(*workers);
}

void look_at_lockd(const std::string& socket, Status& status) {
    auto link = locks::Link::open(socket);
    if (!link) {
        const int error = link.error().number;
        status.lockd_problem = error == ENOENT || error == ECONNREFUSED
                                   ? fmt::format("virtgate-lockd does not run (nobody listens at {})", socket)
                                   : link.error().text;
        return;
    }
    const auto spaces = link->list_spaces();
    if (!spaces) {
        status.lockd_problem = spaces.error().text;
        return;
    }
    LockState& lockd = status.lockd.emplace();
    lockd.spaces = spaces->size();
    for (const auto& space : *spaces) {
        lockd.locks += space.held;
        lockd.unusable += space.usable ? 0 : 1;
    }
}

void look_at_certificates(Status& status) {
    if (!status.netd) return;
    for (const std::string& path : {status.netd->certificate_file, status.netd->authorities_file}) {
        if (path.empty()) continue;
        CertificateState& one = status.certificates.emplace_back();
        one.path = path;
        const auto certificate = pki::read_certificate(path);
        if (!certificate) {
            one.problem = certificate.error().text;
            continue;
        }
        const pki::Facts facts = pki::read_facts(certificate->get());
        one.subject = facts.subject;
        one.until = facts.until;
    }
}

}  // namespace

Sockets find_sockets(const std::string& directory) {
    const std::string run = directory.empty() ? VIRTGATE_RUNDIR : directory + "/run";
    return {.admin = run + "/admin-sock", .broker = run + "/broker.sock", .lockd = run + "/lockd.sock"};
}

Status look_at_status(const Sockets& sockets, bool whole) {
    Status status;
    look_at_netd(sockets.admin, status);
    look_at_workerd(sockets.broker, status);
    if (!whole) return status;
    look_at_lockd(sockets.lockd, status);
    look_at_certificates(status);
    return status;
}

Result<Sessions> look_at_sessions(const Sockets& sockets, std::string& problem) {
    auto broker = Daemon::open(sockets.broker, SOCK_SEQPACKET, "virtgate-workerd");
    if (!broker) return tl::unexpected(std::move(broker.error()));
    auto sessions = list_sessions(*broker);
    if (!sessions) return tl::unexpected(std::move(sessions.error()));
    auto steward = Daemon::open(sockets.admin, SOCK_STREAM, "virtgate-netd");
    auto connections = steward ? list_connections(*steward) : tl::unexpected(std::move(steward.error()));
    if (!connections) problem = connections.error().text;
    return join(std::move(*sessions), connections ? *connections : std::vector<control::Connection>{});
}

}  // namespace virtgate::ctl::admin
