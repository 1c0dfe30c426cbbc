// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-sasl - knows passwords and keytabs, and forks a process for each client that logs in with one.
//
// Trust: no byte of a client reaches this process itself. Its children read tokens; they share its view of
//        the user database and the keytab, and no memory that was written for another client.
#include "libshared/base/log.h"
#include "libshared/fdmap.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "netd/doorman/sasl/confinement.h"
#include "netd/doorman/sasl/service.h"

namespace {

using namespace virtgate;

int fail(const Error& error, int status) {
    Log().error("{}", error.text);
    return status;
}

// The process of an exchange has the filter of its parent, too, which allows all of this.
confine::Plan make_exchange_plan() {
    auto plan = netd::doorman::sasl::make_plan({});
    plan.process = "sasl exchange";
    plan.rows = netd::doorman::sasl::exchange_rows();
    return plan;
}

}  // namespace

int main(int argc, char** argv) {
    namespace sasl = netd::doorman::sasl;
    if (confine::is_asked_to_show(argc, argv)) return confine::show(sasl::make_plan({}));
    if (confine::is_asked_to_show(argc, argv, "--sandbox=exchange"))
        return confine::show(make_exchange_plan());
    if (const auto done = spawn::close_to_others(); !done) return fail(done.error(), spawn::k_exit_system);
    auto config = spawn::read_config<proto::config::SaslConfig>(fdmap::k_config);
    if (!config) return fail(config.error(), spawn::k_exit_system);
    set_log_level(static_cast<Level>(config->log_level));
    const auto mode = confine::effective(static_cast<confine::Mode>(config->sandbox));
    auto plan = sasl::make_plan(*config);
    const auto library = sasl::Library::load(std::move(*config));
    if (!library) return fail(library.error(), spawn::status_of(library.error(), spawn::k_exit_config));

    std::optional<confine::Filter> exchange_filter;
    if (mode != confine::Mode::off) {
        auto filter = confine::Filter::make(sasl::exchange_rows(), confine::on_violation(mode));
        if (!filter) return fail(filter.error(), spawn::k_exit_system);
        exchange_filter = std::move(*filter);
    }
    const auto loop = loop::make_event_loop();
    sasl::Service service(*loop, UniqueFd(fdmap::k_control), **library, std::move(exchange_filter));
    if (!confine::confine(std::move(plan), mode)) return spawn::k_exit_system;
    if (const auto done = service.report_ready(); !done) return fail(done.error(), spawn::k_exit_system);
    loop->run();
    return 0;
}
