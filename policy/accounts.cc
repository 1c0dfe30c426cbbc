// SPDX-License-Identifier: LGPL-2.1-or-later
// accounts - the numbers of users and groups that a policy calls by name.
#include "policy/accounts.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

namespace virtgate::policy {

namespace {

using Number = std::optional<std::uint32_t>;

// A group's members are part of its entry, so no size fits all.
constexpr std::size_t k_buffer_min = 16384;
constexpr std::size_t k_buffer_max = std::size_t{1} << 24;

// Calls one of the getXXnam_r functions with a buffer that is large enough.
template <class Entry, class Get, class NumberOf>
Result<Number> look_up(const std::string& name, Get get, NumberOf number_of) {
    for (std::size_t size = k_buffer_min;; size = std::min(4 * size, k_buffer_max)) {
        std::vector<char> buffer(size);
        Entry entry{};
        Entry* found = nullptr;
        const int failed = get(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
        if (found != nullptr) return Number{number_of(entry)};
        if (failed == EINTR || (failed == ERANGE && size < k_buffer_max)) continue;
        // POSIX lets "no such name" look like several errors; these are those that name services report for
        // it.
        if (failed == 0 || failed == ENOENT || failed == ESRCH) return Number{};
        return system_fault(failed, "the user database cannot be read");
    }
}

}  // namespace

Result<Number> find_user(const std::string& name) {
    return look_up<passwd>(name, getpwnam_r, [](const passwd& entry) { return entry.pw_uid; });
}

Result<Number> find_group(const std::string& name) {
    return look_up<group>(name, getgrnam_r, [](const group& entry) { return entry.gr_gid; });
}

}  // namespace virtgate::policy
