// SPDX-License-Identifier: LGPL-2.1-or-later
// reload - "virtgate policy reload": has workerd read the policy anew, and says what came of it.
#include "ctl/admin/reload.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "ctl/admin/daemon.h"
#include "ctl/output.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::admin {

namespace {

namespace sessions = proto::sessions;

using SteadyClock = std::chrono::steady_clock;

// One compilation has a minute (workerd/broker/policy_source.h), and another one may be under way.
constexpr std::chrono::seconds k_reload_patience{130};
constexpr useconds_t k_reload_pause = 50'000;
constexpr int k_exit_wrong = 1;

Result<sessions::BrokerRet> await_compilation(Daemon& broker) {
    const auto due = broker.ask<sessions::ReloadRet>(sessions::Procedure::reload);
    if (!due) return tl::unexpected(due.error());
    const auto deadline = SteadyClock::now() + k_reload_patience;
    for (;;) {
        auto state = broker.ask<sessions::BrokerRet>(sessions::Procedure::state);
        if (!state || state->compiled >= due->compiled) return state;
        if (SteadyClock::now() > deadline)
            return system_fault(0, "virtgate-workerd does not get through the policy: its log may say why");
        usleep(k_reload_pause);
    }
}

}  // namespace

int run_policy_reload(const Sockets& sockets, bool json) {
    auto broker = Daemon::open(sockets.broker, SOCK_SEQPACKET, "virtgate-workerd");
    const auto state = broker ? await_compilation(*broker)
                              : Result<proto::sessions::BrokerRet>(tl::unexpected(broker.error()));
    if (!state) return say(state.error(), spawn::k_exit_system);
    const bool accepted = !state->policy_refused;
    const int status = accepted ? 0 : k_exit_wrong;
    if (json) {
        const nlohmann::ordered_json document{
            {"accepted", accepted}, {"generation", state->policy}, {"identities", state->identities}};
        return show(document.dump(2) + "\n", status);
    }
    if (accepted)
        return show(fmt::format("the policy is in force: {} identities, generation {}\n", state->identities,
                                state->policy),
                    status);
    return say(
        fmt::format("the policy was refused, and {}: \"virtgate policy check\" and the log say what is wrong",
                    state->policy == 0 ? "there is none in force, so nobody may come in"
                                       : "the one before stays in force"),
        status);
}

}  // namespace virtgate::ctl::admin
