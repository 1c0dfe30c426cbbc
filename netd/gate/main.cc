// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-gate - faces the network: TLS, frames, and nothing else.
//
// Two threads: this one has the front (whoever is not let in yet) and the channels to our other processes; the other
// one has the sessions. They share a mailbox and a counter.
//
// Trust:  started by virtgate-netd alone, with the descriptors of libshared/fdmap.h. All client input is hostile.
#include <malloc.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include <latch>
#include <thread>

#include "libshared/fdmap.h"
#include "libshared/programs/schemas.h"
#include "libshared/spawn/self.h"
#include "netd/gate/confinement.h"
#include "netd/gate/overseen.h"
#include "netd/gate/parent.h"
#include "netd/gate/sessions.h"
#include "proto/config.h"

namespace virtgate::netd::gate {

namespace {

// Handshakes give way to sessions: who is in is served before who wants in.
constexpr int k_front_niceness = 10;
// One arena for each thread is enough, and memory that large calls needed goes back to the system.
constexpr int k_trim_threshold = 1 << 20;

Settings settings_of(const proto::config::GateConfig& config) {
    return {.handshake = Milliseconds{config.limits.handshake},
            .authentication = Milliseconds{config.limits.authentication},
            .login = Milliseconds{config.limits.login},
            .partial_frame = Milliseconds{config.limits.partial_frame},
            .keepalive_interval = Milliseconds{config.keepalive.interval},
            .keepalive_count = config.keepalive.count,
            .calls_in_flight = config.limits.calls_in_flight,
            .connections = config.limits.connections,
            .arrivals = config.limits.arrivals,
            .tls = config.tls};
}

int fail(const Error& error) {
    Log{}.error("{}", error.text);
    return EX_OSERR;
}

int serve(const proto::config::GateConfig& config) {
    const Settings settings = settings_of(config);
    Signer signer;
    auto credentials = Credentials::make(config.certificate, config.authorities, config.priority, signer);
    if (!credentials) {
        Log{}.error("{}", credentials.error().text);
        return EX_CONFIG;
    }

    std::atomic<std::size_t> live{0};
    Sources sources(config.sources.connections, config.sources.arrivals);
    Roll roll;
    const auto session_loop = loop::make_event_loop();
    Sessions sessions(*session_loop, settings, live);
    const auto front_loop = loop::make_event_loop();
    const bool has_tcp = config.tcp != proto::config::LoginMode::login_off;
    Front front(*front_loop, settings, **credentials, signer,
                {.tls = fdmap::k_gate_tls_listener, .tcp = has_tcp ? fdmap::k_gate_tcp_listener : -1}, live,
                sources, roll, sessions.arrivals());
    Overseen overseen(*front_loop, roll, front, sessions);
    Parent parent(*front_loop, UniqueFd{fdmap::k_control}, front, signer, overseen, live);

    auto confinement = confine::Confinement::begin(make_plan(), static_cast<confine::Mode>(config.sandbox));
    if (!confinement) return fail(confinement.error());
    // The first calls of a thread are the C library's, and the filter does not allow them.
    std::latch runs{1};
    std::thread session_thread([&] {
        runs.count_down();
        session_loop->run();
    });
    runs.wait();
    // After the sessions' thread was made: it would inherit the priority.
    static_cast<void>(setpriority(PRIO_PROCESS, 0, k_front_niceness));
    if (const auto done = confinement->serve(); !done) {
        Log{}.error("{}", done.error().text);
        _exit(EX_OSERR);  // the thread runs
    }
    front_loop->run();
    // What is left ends with the process: sessions that a lost supervisor leaves behind are cut like by a crash.
    _exit(EX_OK);
}

}  // namespace

}  // namespace virtgate::netd::gate

int main(int argc, char** argv) {
    using namespace virtgate;
    mallopt(M_TRIM_THRESHOLD, netd::gate::k_trim_threshold);
    mallopt(M_ARENA_MAX, 2);
    if (confine::is_asked_to_show(argc, argv)) return confine::show(netd::gate::make_plan());
    if (const auto closed = spawn::close_to_others(); !closed) return netd::gate::fail(closed.error());
    const auto config = spawn::read_config<proto::config::GateConfig>(fdmap::k_config);
    if (!config) {
        Log{}.error("{}", config.error().text);
        return EX_USAGE;
    }
    set_log_level(static_cast<Level>(config->log_level));
    if (const auto added = programs::add_schemas(config->schemas); !added)
        return netd::gate::fail(added.error());
    return netd::gate::serve(*config);
}
