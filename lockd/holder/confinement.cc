// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the holder keeps.
#include "lockd/holder/confinement.h"

#include <linux/capability.h>

#include <iterator>

#include "libshared/base/log.h"
#include "libshared/confine/check.h"
#include "libshared/confine/memory.h"
#include "libshared/confine/privileges.h"
#include "libshared/confine/supervisor.h"

namespace virtgate::lockd::holder {

using confine::PathAccess;

namespace {

// Names of users, the locker's libraries, its processes' start times, random numbers, the local time.
constexpr const char* k_files[] = {"/etc", "/proc", "/dev/urandom", "/usr/share/zoneinfo"};

// Beside what every supervisor of ours does.
constexpr confine::Row k_rows[] = {
    confine::allow("flock", "one holder for each directory of state, also after it has executed itself"),
    confine::allow("fallocate", "room in the journal for what is on its way"),
    confine::allow("recvmmsg", "what is done is taken out of a locker's queue"),
};

// Of name servers, for answers that are too long for a datagram.
constexpr std::uint16_t k_domain_port = 53;

// To end owners, and to lock files, of other users; if the service manager gives them.
constexpr unsigned k_for_the_locker[] = {CAP_KILL, CAP_DAC_OVERRIDE};

Done repeat() {
    confine::Report report(confine::Demand::best_effort);
    if (auto done = confine::drop_capabilities(k_for_the_locker, report, k_for_the_locker); !done)
        return done;
    if (auto done = confine::close_memory(report); !done) return done;
    if (auto done = confine::forbid_new_privileges(report); !done) return done;
    if (auto done = confine::forbid_writable_code(report); !done) return done;
    if (auto done = confine::seal_image(report); !done) return done;
    auto self = confine::open_self();
    if (!self) return tl::unexpected(std::move(self.error()));
    std::uint64_t kept = 0;
    for (const unsigned one : k_for_the_locker) kept |= std::uint64_t{1} << one;
    return confine::check_self(std::move(*self), {.uid = {}, .capabilities = kept, .passed_on = kept});
}

}  // namespace

std::vector<std::string> reach_of(const Settings& settings) {
    std::vector<std::string> reach = settings.lock_spaces;
    reach.insert(reach.end(), settings.direct.begin(), settings.direct.end());
    return reach;
}

confine::Plan make_plan(const Settings& settings, const std::string& file, const std::string& programs) {
    confine::Plan plan = confine::make_supervisor_plan("lockd", programs);
    plan.rows.push_back(k_rows);
    plan.capabilities.assign(std::begin(k_for_the_locker), std::end(k_for_the_locker));
    plan.passed_on = plan.capabilities;
    plan.paths.signals = true;  // the locker ends owners that live on
    for (const char* path : k_files) plan.paths.add_if_there(path, PathAccess::read);
    plan.paths.add_parents_of(file, PathAccess::read);
    // The rules hold for lockers, too.
    for (const auto& directory : settings.lock_spaces) plan.paths.add_if_there(directory, PathAccess::grow);
    for (const auto& directory : settings.direct) plan.paths.add_if_there(directory, PathAccess::create);
    for (const EtcdSettings& one : settings.etcd) {
        for (const auto* name : {&one.ca_file, &one.certificate_file, &one.key_file, &one.password_file})
            plan.paths.add_parents_of(*name, PathAccess::read);
        for (const std::uint16_t port : one.ports()) plan.paths.connect_ports.push_back(port);
        if (one.has_names()) plan.paths.connect_ports.push_back(k_domain_port);
    }
    if (!settings.etcd.empty()) plan.rows.push_back(confine::resolver_rows());
    plan.paths.add_if_there(settings.state_directory, PathAccess::create);
    plan.paths.add_parents_of(settings.socket, PathAccess::listen);
    plan.paths.add_parents_of(settings.libvirt_socket, PathAccess::listen);
    for (const std::string& log : settings.log.files())
        plan.paths.add_parents_of(log, PathAccess::create);
    return plan;
}

bool confine_again() {
    const auto done = repeat();
    if (!done) Log{}.error("the holder cannot be confined: {}", done.error().text);
    return done.has_value();
}

}  // namespace virtgate::lockd::holder
