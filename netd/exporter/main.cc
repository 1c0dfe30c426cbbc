// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-exporter - shows what is counted, over HTTP, to this machine.
//
// Trust: started by virtgate-netd alone, with the descriptors of libshared/fdmap.h. Whoever may connect may read.
#include <fmt/format.h>

#include <csignal>
#include <ctime>

#include "libshared/fdmap.h"
#include "libshared/metrics/catalogue.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "netd/exporter/confinement.h"
#include "netd/exporter/service.h"
#include "proto/config.h"

int main(int argc, char** argv) {
    using namespace virtgate;
    if (confine::is_asked_to_show(argc, argv)) return confine::show(netd::exporter::make_plan());
    // For scripts/metrics, which makes the manual page.
    if (confine::is_asked_to_show(argc, argv, "--list")) {
        fmt::print("{}", metrics::list_catalogue());
        return 0;
    }
    const auto fail = [](const Error& error) { return spawn::complain(error, spawn::k_exit_system); };
    if (const auto done = spawn::close_to_others(); !done) return fail(done.error());
    const auto config = spawn::read_config<proto::config::ExporterConfig>(fdmap::k_config);
    if (!config) return fail(config.error());
    set_log_level(static_cast<Level>(config->log_level));
    std::signal(SIGPIPE, SIG_IGN);
    // The date of an answer: the C library reads the time zone's file before it first converts a time, even to UTC.
    tzset();

    const auto loop = loop::make_event_loop();
    netd::exporter::Service service(*loop, UniqueFd{fdmap::k_control}, UniqueFd{fdmap::k_exporter_listener});
    if (!confine::confine(netd::exporter::make_plan(), static_cast<confine::Mode>(config->sandbox)))
        return spawn::k_exit_system;
    if (const auto done = service.report_ready(); !done) return fail(done.error());
    loop->run();
    return 0;
}
