// SPDX-License-Identifier: LGPL-2.1-or-later
// user - become another user, for good.
//
// Trust:  only a process that runs as root can switch. After switch_user() no way leads back, and it checks
//         that.
// Owns:   nothing.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "libshared/base/result.h"

namespace virtgate::spawn {

// A user of this machine with all groups that the group database gives it.
struct User {
    std::string name;
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;  // supplementary, the primary one among them
};

// Looks `name` up. Empty if there is no such user. Error: system's fault, if the user database cannot be
// read.
Result<std::optional<User>> find_user(const std::string& name);

// What a number is called by this machine's own files; empty if they do not know it. Name services are not asked: they may
// let one wait.
[[nodiscard]] std::string name_of_user(uid_t uid);
[[nodiscard]] std::string name_of_group(gid_t gid);

// Becomes `user`: groups, then gid, then uid, real, effective and saved; gives up all capabilities, unless it is root;
// then makes sure that it happened and that root cannot be had back. Only async-signal-safe calls, so it may run between fork() and exec().
// Returns 0, or the errno of the step that failed; then the process is in between and has to end.
[[nodiscard]] int switch_user(const User& user) noexcept;

}  // namespace virtgate::spawn
