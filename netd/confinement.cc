// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what netd's supervisor keeps: starting our programs, and reading what the configuration names.
#include "netd/confinement.h"

#include <linux/capability.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "libshared/confine/rows.h"

namespace virtgate::netd {

using confine::PathAccess;

confine::Plan make_plan(const Settings& settings, const std::string& programs) {
    confine::Plan plan{.process = "netd",
                       .limits = {.processes = {}, .file_size = {}, .locked_memory = {}},
                       .rows = {confine::supervisor_rows()},
                       .says_lacks = true};
    // To start children as other users, and to end them. Keeper may lock its key's memory.
    plan.capabilities = {CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL};
    const char* notify = std::getenv("NOTIFY_SOCKET");
    plan.paths.abstract_sockets = notify != nullptr && *notify == '@';
    const auto add = [&](const std::string& path, PathAccess access) {
        if (!path.empty() && ::access(path.c_str(), F_OK) == 0) plan.paths.paths.push_back({path, access});
    };
    // The next configuration may name certificates, keys and user databases anywhere.
    add("/", PathAccess::read);
    add(programs, PathAccess::execute);
    for (const char* libraries : {"/usr/lib", "/lib", "/lib64", "/usr/lib64"})
        add(libraries, PathAccess::execute);
    add("/dev/null", PathAccess::write);
    // Where the names of the UNIX sockets are removed at the end.
    for (const std::string& socket : {settings.local.path, settings.local.read_only_path})
        if (!socket.empty()) add(std::filesystem::path(socket).parent_path().string(), PathAccess::create);
    return plan;
}

}  // namespace virtgate::netd
