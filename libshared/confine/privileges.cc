// SPDX-License-Identifier: LGPL-2.1-or-later
// privileges - what the kernel lets a process do because of who it is.
#include "libshared/confine/privileges.h"

#include <cap-ng.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <vector>

namespace virtgate::confine {

namespace {

// Every bit that takes rights from uid 0, and its lock.
constexpr unsigned long k_secure_bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                        SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                        SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

bool names(std::span<const unsigned> some, unsigned one) noexcept {
    return std::find(some.begin(), some.end(), one) != some.end();
}

bool add(std::span<const unsigned> some, capng_type_t set) noexcept {
    return std::all_of(some.begin(), some.end(),
                       [&](unsigned one) { return capng_update(CAPNG_ADD, set, one) == 0; });
}

// Makes `passed_on`, which are permitted, inheritable and the whole of the ambient set.
Done set_ambient(std::span<const unsigned> passed_on) {
    if (!passed_on.empty() && (!add(passed_on, CAPNG_INHERITABLE) || capng_apply(CAPNG_SELECT_CAPS) != 0))
        return system_fault(errno, "cannot make a capability inheritable");
    for (unsigned long one = 0;; ++one) {
        const int is_set = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, one, 0, 0);
        if (is_set < 0) return {};  // behind the last one that the kernel knows
        const bool passes = names(passed_on, static_cast<unsigned>(one));
        if (passes == (is_set == 1)) continue;
        if (prctl(PR_CAP_AMBIENT, passes ? PR_CAP_AMBIENT_RAISE : PR_CAP_AMBIENT_LOWER, one, 0, 0) < 0)
            return system_fault(errno, "cannot change the ambient set");
    }
}

// Compares the sets of this thread with what they were to become.
Done read_back(std::span<const unsigned> kept, std::span<const unsigned> passed_on, bool bounding) {
    if (capng_get_caps_process() != 0) return system_fault(0, "cannot read the capabilities");
    for (unsigned one = 0; capng_capability_to_name(one) != nullptr; ++one) {
        const bool keep = names(kept, one), passes = names(passed_on, one);
        const auto has = [&](capng_type_t set) { return capng_have_capability(set, one) != 0; };
        if (has(CAPNG_EFFECTIVE) != keep || has(CAPNG_PERMITTED) != keep ||
            has(CAPNG_INHERITABLE) != passes || has(CAPNG_AMBIENT) != passes ||
            (bounding && has(CAPNG_BOUNDING_SET)))
            return system_fault(
                0, fmt::format("capability {} is not as it was to be", capng_capability_to_name(one)));
    }
    return {};
}

Done drop_bounding_set() {
    // In this thread alone, as all of it; the kernel says EINVAL behind the last capability that it knows.
    for (unsigned long one = 0; prctl(PR_CAPBSET_READ, one, 0, 0, 0) >= 0; ++one)
        if (prctl(PR_CAPBSET_DROP, one, 0, 0, 0) < 0)
            return system_fault(errno, "cannot drop a capability from the bounding set");
    const int before = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
    // What is set and locked already cannot be taken away, not even by not naming it.
    if (before < 0 ||
        prctl(PR_SET_SECUREBITS, static_cast<unsigned long>(before) | k_secure_bits, 0, 0, 0) < 0)
        return system_fault(errno, "cannot lock the secure bits");
    return {};
}

}  // namespace

Done expect_one_thread(const char* before) {
    struct stat about {};
    // One directory for each thread; "." and ".." count as links, too.
    if (stat("/proc/self/task", &about) < 0)
        return system_fault(errno, "cannot count the threads in /proc/self/task");
    if (about.st_nlink != 3) return system_fault(0, fmt::format("a second thread runs before {}", before));
    return {};
}

Done forbid_new_privileges(Report& report) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return system_fault(errno, "cannot forbid new privileges");
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return system_fault(0, "new privileges are still possible");
    report.note_in_force(Layer::no_new_privileges);
    return {};
}

Done close_memory(Report& report) {
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return system_fault(errno, "cannot close the memory to others");
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) return system_fault(0, "the memory is still open to others");
    report.note_in_force(Layer::dumpable);
    return {};
}

Done drop_capabilities(std::span<const unsigned> keep, Report& report, std::span<const unsigned> pass_on) {
    if (auto done = expect_one_thread("capabilities are dropped"); !done) return done;
    if (capng_get_caps_process() != 0) return system_fault(0, "cannot read the capabilities");
    const bool may_narrow = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) != 0;
    const bool bounding_empty = capng_have_capabilities(CAPNG_SELECT_BOUNDS) == CAPNG_NONE;
    std::vector<unsigned> kept, passed_on;
    for (const unsigned one : keep)
        if (capng_have_capability(CAPNG_PERMITTED, one) != 0) kept.push_back(one);
    std::copy_if(kept.begin(), kept.end(), std::back_inserter(passed_on),
                 [&](unsigned one) { return names(pass_on, one); });
    // First, since it takes the bounding set, and what is locked with that raises nothing any more.
    if (auto done = set_ambient(passed_on); !done) return done;
    if (may_narrow)
        if (auto done = drop_bounding_set(); !done) return done;
    // Where there is nothing to drop, nothing is asked for: the service manager may have forbidden that call already.
    const bool has_none = capng_have_capabilities(CAPNG_SELECT_CAPS) == CAPNG_NONE;
    capng_clear(CAPNG_SELECT_CAPS);
    if (!has_none && (!add(kept, CAPNG_EFFECTIVE) || !add(kept, CAPNG_PERMITTED) ||
                      !add(passed_on, CAPNG_INHERITABLE) || capng_apply(CAPNG_SELECT_CAPS) != 0))
        return system_fault(errno, "cannot drop the capabilities");
    if (auto done = read_back(kept, passed_on, may_narrow); !done) return done;
    report.note_in_force(Layer::capabilities);
    if (!may_narrow && !bounding_empty)
        return report.note_lack(Layer::bounding_set, "started without CAP_SETPCAP, which it takes");
    report.note_in_force(Layer::bounding_set);
    return {};
}

}  // namespace virtgate::confine
