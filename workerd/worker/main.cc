// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-worker - carries the calls of one identity to the local libvirt daemons.
//
// Started by virtgate-workerd alone, with the descriptors of libshared/fdmap.h. It ends when the broker's
// channel closes, or on SIGTERM; its sessions end with it.
//
// Trust:  SERVE messages are believed; what comes on a session's descriptor may be hostile.
#include <malloc.h>
#include <unistd.h>

#include <csignal>

#include "libshared/fdmap.h"
#include "libshared/loop/terminator.h"
#include "libshared/programs/schemas.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "proto/config.h"
#include "workerd/worker/confinement.h"
#include "workerd/worker/worker.h"

namespace virtgate::workerd::worker {

namespace {

// A session has two descriptors, and of local clients each may have one more (names_directory.h); the loop, the channel
// and the like have a few, and those that local clients pass stay here only until the next socket takes them.
constexpr std::size_t k_descriptors_apart = 128;
constexpr std::size_t k_descriptors_per_session = 3;
// Memory that large calls needed goes back to the system.
constexpr int k_trim_threshold = 1 << 20;

// As many descriptors as the system allows; how many sessions fit them.
std::size_t find_sessions_max() noexcept {
    const std::size_t limit = spawn::raise_descriptor_limit();
    return limit > k_descriptors_apart ? (limit - k_descriptors_apart) / k_descriptors_per_session : 0;
}

Worker::Settings settings_of(const proto::config::WorkerConfig& config) {
    std::vector<UriRow> rows;
    for (const proto::config::Upstream& upstream : config.upstreams)
        rows.push_back({upstream.uri, upstream.socket, upstream.read_only_socket, upstream.program});
    return {.identity = config.identity,
            .uris = UriTable(std::move(rows), config.default_uri),
            .ours = find_own_process(),
            .upstream_timeout = Milliseconds{config.upstream_timeout},
            .sessions_max = find_sessions_max()};
}

}  // namespace

}  // namespace virtgate::workerd::worker

int main(int argc, char** argv) {
    using namespace virtgate;
    using namespace virtgate::workerd::worker;
    if (confine::is_asked_to_show(argc, argv)) return confine::show(make_plan());
    mallopt(M_TRIM_THRESHOLD, k_trim_threshold);
    if (const auto closed = spawn::close_to_others(); !closed) {
        Log{}.error("{}", closed.error().text);
        return spawn::k_exit_system;
    }
    const auto config = spawn::read_config<proto::config::WorkerConfig>(fdmap::k_config);
    if (!config) {
        Log{}.error("{}", config.error().text);
        return spawn::k_exit_usage;
    }
    set_log_level(static_cast<Level>(config->log_level));
    if (const auto added = programs::add_schemas(config->schemas); !added) {
        Log{}.error("{}", added.error().text);
        return spawn::k_exit_usage;
    }
    const auto loop = loop::make_event_loop();
    const loop::Terminator terminator(*loop);
    const Worker::Settings settings = settings_of(*config);
    Worker worker(*loop, settings, UniqueFd{fdmap::k_control});
    if (!confine::confine(make_plan(), static_cast<confine::Mode>(config->sandbox)))
        return spawn::k_exit_system;
    loop->run();
    // What is left ends with the process.
    _exit(0);
}
