// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the broker keeps: starting our programs, its socket's directory, and the way to libvirt's sockets.
#include "workerd/broker/confinement.h"

#include "libshared/confine/rows.h"
#include "libshared/confine/supervisor.h"

namespace virtgate::workerd::broker {

namespace {

using confine::PathAccess;

// For the broker, and for those that it starts: names of users and groups, random numbers, the local time.
constexpr const char* k_files[] = {
    "/etc", "/proc", "/dev/urandom", "/usr/share/zoneinfo", "/var/lib/sss", "/run/systemd/userdb"};

// The filter of a supervisor stays with what it starts.
constexpr confine::Row k_of_store[] = {
    confine::allow("fallocate", "the store: room on the disk, and holes"),
    confine::allow("preadv2", "the store: content of volumes that is in memory"),
    confine::allow("sync_file_range", "the store: what was written sets out for the disk"),
    confine::allow("sync_file_range2", "the same, where the kernel has it by that name"),
};

}  // namespace

confine::Plan make_plan(const Settings& settings, const std::string& programs) {
    confine::Plan plan = confine::make_supervisor_plan("broker", programs);
    confine::let_leave(plan);
    for (const char* path : k_files) plan.paths.add_if_there(path, PathAccess::read);
    for (const auto& directory : settings.policy_directories)
        plan.paths.add_if_there(directory, PathAccess::read);
    plan.paths.add_parents_of(settings.socket, PathAccess::create);  // its name is removed at the end
    plan.paths.add_parents_of(settings.audit_file, PathAccess::create);
    for (const programs::Announced& one : settings.programs) {
        plan.paths.add_if_there(one.executable, PathAccess::execute);
        for (const std::string& directory : one.directories)
            plan.paths.add_if_there(directory, PathAccess::grow);
    }
    for (const std::string& log : settings.log.files()) plan.paths.add_parents_of(log, PathAccess::create);
    if (settings.store.directories.empty()) return plan;
    for (const std::string& directory : settings.store.directories)
        plan.paths.add_if_there(directory, PathAccess::grow);
    plan.paths.add_if_there(settings.store.state_directory, PathAccess::create);
    plan.paths.add_if_there("/sys/devices/system/cpu", PathAccess::read);
    plan.rows.push_back(k_of_store);
    return plan;
}

}  // namespace virtgate::workerd::broker
