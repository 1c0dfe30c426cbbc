// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-steward - serves administrators: virt-admin, and virtgate's own tools.
//
// Trust: started by virtgate-netd alone, with the descriptors of libshared/fdmap.h. Has no client, no key, no file.
#include <sys/stat.h>

#include <csignal>

#include "libshared/fdmap.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "netd/steward/confinement.h"
#include "netd/steward/service.h"

int main(int argc, char** argv) {
    using namespace virtgate;
    if (confine::is_asked_to_show(argc, argv)) return confine::show(netd::steward::make_plan());
    const auto fail = [](const Error& error) { return spawn::complain(error, spawn::k_exit_system); };
    if (const auto done = spawn::close_to_others(); !done) return fail(done.error());
    const auto config = spawn::read_config<proto::config::StewardConfig>(fdmap::k_config);
    if (!config) return fail(config.error());
    set_log_level(static_cast<Level>(config->log_level));
    std::signal(SIGPIPE, SIG_IGN);

    const auto loop = loop::make_event_loop();
    // Where nobody administers, /dev/null holds its place.
    struct stat status {};
    const bool has_listener = fstat(fdmap::k_steward_listener, &status) == 0 && S_ISSOCK(status.st_mode);
    netd::steward::Service service(*loop, *config, UniqueFd{fdmap::k_control},
                                   has_listener ? UniqueFd{fdmap::k_steward_listener} : UniqueFd{});
    if (!confine::confine(netd::steward::make_plan(), static_cast<confine::Mode>(config->sandbox)))
        return spawn::k_exit_system;
    if (const auto done = service.report_ready(); !done) return fail(done.error());
    loop->run();
    return 0;
}
