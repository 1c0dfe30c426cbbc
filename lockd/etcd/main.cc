// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-leaser - has one lock space in etcd: keeps a lease, takes and lets go locks for the locker.
//
// Started by virtgate-lockd alone, with the descriptors of libshared/fdmap.h. It ends when its parent does,
// and may be killed at any time: all that it knows the locker or etcd can tell the next one.
//
// Trust:  what etcd answers comes from the network.
#include <csignal>
#include <ctime>

#include "libshared/base/boot_clock.h"
#include "libshared/base/log.h"
#include "libshared/fdmap.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "lockd/etcd/confinement.h"
#include "lockd/etcd/endpoints.h"
#include "lockd/etcd/leaser.h"
#include "lockd/etcd/url.h"

namespace {

using namespace virtgate;

int fail(const Error& error) {
    Log{}.error("{}", error.text);
    return spawn::k_exit_system;
}

std::vector<std::uint16_t> ports_of(const std::vector<std::string>& urls) {
    std::vector<std::uint16_t> ports;
    for (const std::string& url : urls)
        if (const auto parsed = lockd::etcd::parse_url(url)) ports.push_back(parsed->port);
    return ports;
}

}  // namespace

int main(int argc, char** argv) {
    using namespace virtgate::lockd::etcd;
    if (confine::is_asked_to_show(argc, argv)) return confine::show(make_plan({}));
    if (const auto closed = spawn::close_to_others(); !closed) return fail(closed.error());
    std::signal(SIGPIPE, SIG_IGN);
    const auto config = spawn::read_config<proto::config::LeaserConfig>(fdmap::k_config);
    if (!config) return fail(config.error());
    set_log_level(static_cast<Level>(config->log_level));

    // OpenSSL compares the dates of certificates: the C library reads a file for that, the first time.
    tzset();
    auto endpoints = find_endpoints({config->endpoints.begin(), config->endpoints.end()});
    if (!endpoints) return fail(endpoints.error());
    const auto loop = loop::make_event_loop();
    Leaser leaser(*loop, boot_clock(), *config, std::move(*endpoints), UniqueFd{fdmap::k_control});
    const auto ports = ports_of({config->endpoints.begin(), config->endpoints.end()});
    if (!confine::confine(make_plan(ports), static_cast<confine::Mode>(config->sandbox)))
        return spawn::k_exit_system;
    if (const auto said = leaser.start(); !said) return fail(said.error());
    loop->run();
    return 0;
}
