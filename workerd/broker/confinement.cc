// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the broker keeps: starting our programs, its socket's directory, and the way to libvirt's sockets.
#include "workerd/broker/confinement.h"

#include <linux/capability.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "libshared/confine/rows.h"

namespace virtgate::workerd::broker {

using confine::PathAccess;

namespace {

std::string directory_of(const std::string& file) {
    return std::filesystem::path(file).parent_path().string();
}

// The service manager's socket may be abstract: sd_notify(3).
bool notifies_abstract_socket() noexcept {
    const char* name = std::getenv("NOTIFY_SOCKET");
    return name != nullptr && *name == '@';
}

}  // namespace

confine::Plan make_plan(const Settings& settings, const std::string& programs) {
    confine::Plan plan{.process = "broker",
                       .limits = {.processes = {}, .file_size = {}, .locked_memory = {}},
                       .rows = {confine::supervisor_rows()},
                       .says_lacks = true};
    // To start workers as other users, and to end them.
    plan.capabilities = {CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL};
    plan.paths.abstract_sockets = notifies_abstract_socket();
    const auto add = [&](const std::string& path, PathAccess access) {
        if (!path.empty() && ::access(path.c_str(), F_OK) == 0) plan.paths.paths.push_back({path, access});
    };
    // The rules hold for all that is started from here, too, until it gives up more.
    add(programs, PathAccess::execute);
    for (const char* libraries : {"/usr/lib", "/lib", "/lib64", "/usr/lib64"})
        add(libraries, PathAccess::execute);
    for (const char* files : {"/etc", "/proc", "/dev/urandom", "/usr/share/zoneinfo"})
        add(files, PathAccess::read);
    for (const auto& directory : settings.policy_directories) add(directory, PathAccess::read);
    add("/dev/null", PathAccess::write);
    add(directory_of(settings.socket), PathAccess::listen);
    add(directory_of(settings.audit_file), PathAccess::create);
    return plan;
}

}  // namespace virtgate::workerd::broker
