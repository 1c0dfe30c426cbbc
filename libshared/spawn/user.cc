// SPDX-License-Identifier: LGPL-2.1-or-later
// user - become another user, for good.
#include "libshared/spawn/user.h"

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "libshared/base/handle.h"

namespace virtgate::spawn {

Result<std::optional<User>> find_user(const std::string& name) {
    std::array<char, 16384> buffer;
    passwd entry{};
    passwd* found = nullptr;
    const int failed = getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    // POSIX lets "no such user" look like several errors; these are those that name services report for it.
    if (found == nullptr && (failed == 0 || failed == ENOENT || failed == ESRCH))
        return std::optional<User>{};
    if (found == nullptr) return system_fault(failed, fmt::format("cannot look up user {}", name));
    User user{.name = name, .uid = entry.pw_uid, .gid = entry.pw_gid, .groups = {}};
    int count = 64;
    user.groups.resize(static_cast<std::size_t>(count));
    if (getgrouplist(name.c_str(), user.gid, user.groups.data(), &count) < 0) {
        user.groups.resize(static_cast<std::size_t>(count));
        if (getgrouplist(name.c_str(), user.gid, user.groups.data(), &count) < 0)
            return system_fault(0, fmt::format("cannot read the groups of user {}", name));
    }
    user.groups.resize(static_cast<std::size_t>(count));
    return std::optional<User>{std::move(user)};
}

namespace {

using File = std::unique_ptr<std::FILE, FreeWith<std::fclose>>;

}  // namespace

std::string name_of_user(uid_t uid) {
    const File file{std::fopen("/etc/passwd", "re")};
    std::array<char, 4096> buffer;
    passwd entry{};
    for (passwd* found = nullptr;
         file && fgetpwent_r(file.get(), &entry, buffer.data(), buffer.size(), &found) == 0;)
        if (found->pw_uid == uid) return found->pw_name;
    return {};
}

std::string name_of_group(gid_t gid) {
    const File file{std::fopen("/etc/group", "re")};
    std::array<char, 65'536> buffer;
    group entry{};
    for (group* found = nullptr;
         file && fgetgrent_r(file.get(), &entry, buffer.data(), buffer.size(), &found) == 0;)
        if (found->gr_gid == gid) return found->gr_name;
    return {};
}

namespace {

// No capability is left, whatever the secure bits say that a change of the user takes.
int drop_capabilities() noexcept {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    const std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
    return syscall(SYS_capset, &header, none.data()) < 0 ? errno : 0;
}

}  // namespace

int switch_user(const User& user) noexcept {
    // The system calls themselves: glibc's wrappers speak to the other threads, which a forked child does not
    // have.
    if (syscall(SYS_setgroups, user.groups.size(), user.groups.data()) < 0 ||
        syscall(SYS_setresgid, user.gid, user.gid, user.gid) < 0 ||
        syscall(SYS_setresuid, user.uid, user.uid, user.uid) < 0)
        return errno;
    // A confined supervisor has locked the secure bits: then root's capabilities outlive its uid.
    if (user.uid != 0)
        if (const int number = drop_capabilities(); number != 0) return number;
    uid_t uid[3];
    gid_t gid[3];
    if (getresuid(&uid[0], &uid[1], &uid[2]) < 0 || getresgid(&gid[0], &gid[1], &gid[2]) < 0) return errno;
    for (int i = 0; i < 3; ++i)
        if (uid[i] != user.uid || gid[i] != user.gid) return EPERM;
    if (user.uid != 0 && syscall(SYS_setresuid, 0, 0, 0) == 0) return EPERM;
    return 0;
}

}  // namespace virtgate::spawn
