// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-store - storage of virtgate's own, for machines without a libvirt daemon: virtgate:///.
//
// Started by virtgate-workerd alone, with the descriptors of libshared/fdmap.h. It ends on SIGTERM, or when the broker's
// channel closes.
//
// Trust:  every byte on the connections that the broker hands over is hostile.
#include <malloc.h>
#include <sys/stat.h>

#include <csignal>

#include "libshared/fdmap.h"
#include "libshared/loop/terminator.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "workerd/store/confinement.h"
#include "workerd/store/store.h"

namespace virtgate::workerd::store {

namespace {

// Of each kind: what waits for a disk does not use a processor.
constexpr unsigned k_swift_threads = 4, k_slow_threads = 4;

int run(const proto::config::StoreConfig& config) {
    umask(0);  // each mode is given as it is meant
    const auto loop = loop::make_event_loop();
    const Host host;
    Places places(config.directories);
    auto state = StateDirectory::open(config.state_directory, host.boot());
    if (!state) return spawn::complain(state.error(), spawn::k_exit_system);
    const loop::Terminator terminator(*loop);
    auto confinement =
        confine::Confinement::begin(make_plan(config), static_cast<confine::Mode>(config.sandbox));
    if (!confinement) return spawn::complain(confinement.error(), spawn::k_exit_system);
    // The threads come after what belongs to each of them, and before the filter, which lets nobody start one.
    Workshop swift(*loop, k_swift_threads), slow(*loop, k_slow_threads);
    Store store(*loop, {places, *state, swift, slow, host},
                {.is_on = config.locks, .lock_space = config.lock_space}, UniqueFd{fdmap::k_control});
    if (const auto served = confinement->serve(); !served)
        return spawn::complain(served.error(), spawn::k_exit_system);
    if (const auto started = store.start(config.default_pool); !started)
        return spawn::complain(started.error(), spawn::k_exit_system);
    loop->run();
    return 0;
}

}  // namespace

}  // namespace virtgate::workerd::store

int main(int argc, char** argv) {
    using namespace virtgate;
    using namespace virtgate::workerd::store;
    if (confine::is_asked_to_show(argc, argv)) return confine::show(make_plan({}));
    if (const auto closed = spawn::close_to_others(); !closed)
        return spawn::complain(closed.error(), spawn::k_exit_system);
    std::signal(SIGPIPE, SIG_IGN);
    // A file that is too large for its file system is an error like any other.
    std::signal(SIGXFSZ, SIG_IGN);
    spawn::raise_descriptor_limit();
    // The C library opens a file of /proc before it gives memory of a thread's own arena back.
    mallopt(M_ARENA_MAX, 1);
    const auto config = spawn::read_config<proto::config::StoreConfig>(fdmap::k_config);
    if (!config) return spawn::complain(config.error(), spawn::k_exit_system);
    set_log_level(static_cast<Level>(config->log_level));
    return run(*config);
}
