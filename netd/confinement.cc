// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what netd's supervisor keeps: starting our programs, and reading what the configuration names.
#include "netd/confinement.h"

#include "libshared/confine/supervisor.h"

namespace virtgate::netd {

using confine::PathAccess;

confine::Plan make_plan(const Settings& settings, const std::string& programs) {
    confine::Plan plan = confine::make_supervisor_plan("netd", programs);
    confine::let_leave(plan);
    // libsasl2 asks for the host's name when virtgate-sasl loads it.
    plan.rows.push_back(confine::resolver_rows());
    // The next configuration may name certificates, keys and user databases anywhere.
    plan.paths.add_if_there("/", PathAccess::read);
    // Where the names of the UNIX sockets are removed at the end.
    for (const std::string& socket :
         {settings.local.path, settings.local.read_only_path, settings.admin.path, settings.metrics.path})
        plan.paths.add_parents_of(socket, PathAccess::create);
    for (const std::string& file : settings.log.files()) plan.paths.add_parents_of(file, PathAccess::create);
    return plan;
}

}  // namespace virtgate::netd
