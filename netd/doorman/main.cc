// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-doorman - decides who comes in: checks proofs of TLS handshakes and asks the broker for sessions.
//
// Trust: certificates are hostile until they are judged. This process can claim any identity to the broker;
//        it has no key, no password and no RPC frame of a client.
#include <sys/stat.h>

#include "libshared/base/log.h"
#include "libshared/fdmap.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "netd/doorman/confinement.h"
#include "netd/doorman/nonces.h"
#include "netd/doorman/service.h"
#include "proto/config.h"

namespace {

using namespace virtgate;

int fail(const Error& error, int status) {
    Log().error("{}", error.text);
    return status;
}

// Where there is no second socket, /dev/null holds its place.
bool is_socket(int fd) noexcept {
    struct stat status {};
    return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

}  // namespace

int main(int argc, char** argv) {
    if (confine::is_asked_to_show(argc, argv)) return confine::show(netd::doorman::make_plan(true));
    if (const auto done = spawn::close_to_others(); !done) return fail(done.error(), spawn::k_exit_system);
    auto config = spawn::read_config<proto::config::DoormanConfig>(fdmap::k_config);
    if (!config) return fail(config.error(), spawn::k_exit_system);
    set_log_level(static_cast<Level>(config->log_level));
    std::vector<std::string> warnings;
    const auto examiner = netd::doorman::Examiner::make(*config, warnings);
    if (!examiner) return fail(examiner.error(), spawn::k_exit_config);
    for (const std::string& warning : warnings)
        Log().warning("the server certificate {}: {}", config->certificate_file, warning);

    // Without them nobody could come in: better not to begin.
    if (netd::doorman::Nonces nonces; const auto tried = nonces.hand_out(1))
        static_cast<void>(tried);
    else
        return fail(tried.error(), spawn::k_exit_system);
    const auto loop = loop::make_event_loop();
    netd::doorman::Service::Listeners listeners;
    const bool has_local_clients = config->local != proto::config::LoginMode::login_off;
    if (has_local_clients) {
        listeners.local = UniqueFd(fdmap::k_doorman_local_listener);
        if (is_socket(fdmap::k_doorman_local_read_only_listener))
            listeners.read_only = UniqueFd(fdmap::k_doorman_local_read_only_listener);
    }
    netd::doorman::Service service(*loop, UniqueFd(fdmap::k_control), *examiner, *config,
                                   std::move(listeners));
    if (!confine::confine(netd::doorman::make_plan(has_local_clients),
                          static_cast<confine::Mode>(config->sandbox)))
        return spawn::k_exit_system;
    if (const auto done = service.report_ready(); !done) return fail(done.error(), spawn::k_exit_system);
    loop->run();
    return service.status();
}
