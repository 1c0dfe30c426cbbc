// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-keeper - holds the private key of the TLS server and signs handshakes with it.
//
// Trust: no byte of a client reaches this process but inside a hash. It has no file but the key's, which it
//        closes.
#include <sys/mman.h>
#include <sys/resource.h>

#include "libshared/base/log.h"
#include "libshared/fdmap.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "netd/keeper/confinement.h"
#include "netd/keeper/service.h"
#include "proto/config.h"

namespace {

using namespace virtgate;

// A little behind the gates: a storm of handshakes must not take the processor from sessions that exist.
constexpr int k_niceness = 5;

int fail(const Log& log, const Error& error, int status) {
    log.error("{}", error.text);
    return status;
}

}  // namespace

int main(int argc, char** argv) {
    if (confine::is_asked_to_show(argc, argv)) return confine::show(netd::keeper::make_plan());
    Log log;
    if (const auto done = spawn::close_to_others(); !done)
        return fail(log, done.error(), spawn::k_exit_system);
    const auto config = spawn::read_config<proto::config::KeeperConfig>(fdmap::k_config);
    if (!config) return fail(log, config.error(), spawn::k_exit_system);
    set_log_level(static_cast<Level>(config->log_level));

    UniqueFd key_file(fdmap::k_keeper_key);
    const auto signer = netd::keeper::Signer::load(key_file.get(), config->certificate);
    if (!signer) {
        log.error("{} and {}: {}", config->key_file, config->certificate_file, signer.error().text);
        return spawn::k_exit_config;
    }
    key_file.reset();
    // Best effort, both: an unprivileged process may lock little memory, and the key works without it.
    if (mlockall(MCL_CURRENT) < 0) log.debug("the key's memory cannot be kept from the swap");
    if (setpriority(PRIO_PROCESS, 0, k_niceness) < 0) log.debug("cannot lower the priority");
    log.debug("the key is {}", signer->describe());

    const auto loop = loop::make_event_loop();
    netd::keeper::Service service(*loop, UniqueFd(fdmap::k_control), *signer, "");
    if (!confine::confine(netd::keeper::make_plan(), static_cast<confine::Mode>(config->sandbox)))
        return spawn::k_exit_system;
    if (const auto done = service.report_ready(); !done) return fail(log, done.error(), spawn::k_exit_system);
    loop->run();
    return 0;
}
