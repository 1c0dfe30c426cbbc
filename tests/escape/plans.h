// SPDX-License-Identifier: LGPL-2.1-or-later
// plans - what each kind of process keeps, all of them in one list.
#pragma once

#include <vector>

#include "libshared/confine/plan.h"
#include "libshared/service/confinement.h"
#include "lockd/locker/confinement.h"
#include "netd/announcer/confinement.h"
#include "netd/doorman/confinement.h"
#include "netd/doorman/sasl/confinement.h"
#include "netd/exporter/confinement.h"
#include "netd/gate/confinement.h"
#include "netd/keeper/confinement.h"
#include "netd/steward/confinement.h"
#include "policy/compile/confinement.h"
#include "workerd/auditor/confinement.h"
#include "workerd/store/confinement.h"
#include "workerd/worker/confinement.h"

namespace virtgate::escape {

// Those that clients' bytes can reach, and the others that are confined by a table of their own.
[[nodiscard]] inline std::vector<confine::Plan> make_plans() {
    namespace sasl = netd::doorman::sasl;
    confine::Plan exchange = sasl::make_plan({});
    exchange.process = "exchange";
    exchange.rows = sasl::exchange_rows();
    proto::config::LockerConfig locker;
    locker.fencing = true;
    // A program of others: one that owns files (none is there) stays where its parent is.
    proto::config::ServiceConfig owner;
    owner.directories = {"/nonexistent/virtgate-escape"};
    confine::Plan program_with_files = service::make_plan(owner, {});
    program_with_files.process = "program with files";
    return {netd::gate::make_plan(),
            netd::keeper::make_plan(),
            netd::doorman::make_plan(true),
            sasl::make_plan({}),
            std::move(exchange),
            netd::announcer::make_plan(),
            netd::steward::make_plan(),
            netd::exporter::make_plan(),
            workerd::worker::make_plan(),
            workerd::auditor::make_plan(""),
            workerd::store::make_plan({}),
            service::make_plan({}, {}),
            std::move(program_with_files),
            lockd::locker::make_plan(locker),
            policy::make_plan({})};
}

}  // namespace virtgate::escape
