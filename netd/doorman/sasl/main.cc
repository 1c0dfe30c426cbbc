// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-sasl - knows passwords and keytabs, and forks a process for each client that logs in with one.
//
// Trust: no byte of a client reaches this process itself. Its children read tokens; they share its view of
//        the user database and the keytab, and no memory that was written for another client.
#include "libshared/base/log.h"
#include "libshared/fdmap.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "netd/doorman/sasl/service.h"

namespace {

using namespace virtgate;

int fail(const Error& error, int status) {
    Log().error("{}", error.text);
    return status;
}

}  // namespace

int main() {
    if (const auto done = spawn::close_to_others(); !done) return fail(done.error(), spawn::k_exit_system);
    auto config = spawn::read_config<proto::config::SaslConfig>(fdmap::k_config);
    if (!config) return fail(config.error(), spawn::k_exit_system);
    set_log_level(static_cast<Level>(config->log_level));
    const auto library = netd::doorman::sasl::Library::load(std::move(*config));
    if (!library) return fail(library.error(), spawn::k_exit_config);

    const auto loop = loop::make_event_loop();
    netd::doorman::sasl::Service service(*loop, UniqueFd(fdmap::k_control), **library);
    if (const auto done = service.report_ready(); !done) return fail(done.error(), spawn::k_exit_system);
    loop->run();
    return 0;
}
