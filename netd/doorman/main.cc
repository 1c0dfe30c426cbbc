// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-doorman - decides who comes in: checks proofs of TLS handshakes and asks the broker for sessions.
//
// Trust: certificates are hostile until they are judged. This process can claim any identity to the broker;
//        it has no key, no listener and no RPC frame of a client.
#include "libshared/base/log.h"
#include "libshared/fdmap.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "netd/doorman/service.h"
#include "proto/config.h"

namespace {

using namespace virtgate;

int fail(const Error& error, int status) {
    Log().error("{}", error.text);
    return status;
}

}  // namespace

int main() {
    if (const auto done = spawn::close_to_others(); !done) return fail(done.error(), spawn::k_exit_system);
    auto config = spawn::read_config<proto::config::DoormanConfig>(fdmap::k_config);
    if (!config) return fail(config.error(), spawn::k_exit_system);
    set_log_level(static_cast<Level>(config->log_level));
    const auto examiner =
        netd::doorman::Examiner::make(config->authorities, config->revoked, config->certificate);
    if (!examiner) return fail(examiner.error(), spawn::k_exit_config);

    const auto loop = loop::make_event_loop();
    netd::doorman::Service service(*loop, UniqueFd(fdmap::k_control), *examiner,
                                   std::move(config->broker_socket));
    if (const auto done = service.report_ready(); !done) return fail(done.error(), spawn::k_exit_system);
    loop->run();
    return 0;
}
