// SPDX-License-Identifier: LGPL-2.1-or-later
// path_fault - what is wrong with a file or a directory, and what to do.
#include "libshared/base/path_fault.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <vector>

#include "config.h"
#include "libshared/base/bytes.h"

namespace virtgate {

namespace {

constexpr mode_t k_permissions = 07777;
// Longer ones are shortened in messages.
constexpr std::size_t k_shown_max = 1024;

std::string show(std::string_view path) { return escape(path, k_shown_max); }

// Found out once, so that a process that has confined itself need not ask again. Nobody changes it after the start.
uid_t own_uid() noexcept {
    static const uid_t uid = geteuid();
    return uid;
}

// The users that a daemon of root's gives its processes, of those that there are. Root reads for them, also when it only checks. They
// are looked up once, for the same reason.
bool is_for_one_of_ours(uid_t uid) noexcept {
    static const std::vector<uid_t> ours = [] {
        std::vector<uid_t> found;
        if (own_uid() != 0) return found;
        for (const char* name : {VIRTGATE_NET_USER, VIRTGATE_KEY_USER, VIRTGATE_AUTH_USER, VIRTGATE_WORK_USER,
                                 VIRTGATE_AUDIT_USER, VIRTGATE_STORE_USER, VIRTGATE_LOCK_USER})
            if (const passwd* user = getpwnam(name)) found.push_back(user->pw_uid);
        return found;
    }();
    return std::find(ours.begin(), ours.end(), uid) != ours.end();
}

std::string name_user(uid_t uid) { return uid == 0 ? "root" : fmt::format("uid {}", uid); }

std::string directory_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

bool is_in_group(gid_t gid) {
    if (gid == getegid()) return true;
    std::array<gid_t, NGROUPS_MAX> groups{};
    const int count = getgroups(static_cast<int>(groups.size()), groups.data());
    return count > 0 && std::find(groups.begin(), groups.begin() + count, gid) != groups.begin() + count;
}

// Which of the bits rwx this process has, by the mode alone.
mode_t rights_in(const struct stat& facts) {
    if (facts.st_uid == own_uid()) return (facts.st_mode >> 6) & 7;
    if (is_in_group(facts.st_gid)) return (facts.st_mode >> 3) & 7;
    return facts.st_mode & 7;
}

std::string describe(const std::string& path, const struct stat& facts) {
    return fmt::format("{} belongs to {} and gid {} with mode {:04o}", show(path), name_user(facts.st_uid),
                       facts.st_gid, facts.st_mode & k_permissions);
}

// The first directory on the way to `path`, or `path` itself, that lacks what is needed; empty if none can be seen.
std::string find_obstacle(const std::string& path) {
    struct stat facts {};
    for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
        const std::string directory = path.substr(0, at);
        if (stat(directory.c_str(), &facts) < 0) return {};
        if ((rights_in(facts) & 1) == 0) return describe(directory, facts);
    }
    if (stat(path.c_str(), &facts) == 0) {
        const mode_t wanted = S_ISDIR(facts.st_mode) ? 7 : 6;
        return (rights_in(facts) & wanted) != wanted ? describe(path, facts) : "";
    }
    // It was to be made.
    const std::string directory = directory_of(path);
    if (stat(directory.c_str(), &facts) == 0 && (rights_in(facts) & 3) != 3)
        return describe(directory, facts);
    return {};
}

std::string explain_denial(const std::string& path) {
    const std::string obstacle = find_obstacle(path);
    if (obstacle.empty())
        return " (not because of its mode: look for an access control list, a security module or the "
               "sandbox)";
    return fmt::format(" ({}, and this process is {}: change the one or the other)", obstacle,
                       name_user(own_uid()));
}

std::string explain_absence(const std::string& path) {
    struct stat facts {};
    const std::string whole = directory_of(path);
    if (stat(whole.c_str(), &facts) == 0) return " (make it, or name another one)";
    for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
        if (const std::string directory = path.substr(0, at); stat(directory.c_str(), &facts) < 0)
            return fmt::format(" (there is no directory {}: make it, or name another one)", show(directory));
    return {};
}

std::string explain(int number, const std::string& path) {
    switch (number) {
        case EACCES:
        case EPERM: return explain_denial(path);
        case ENOENT: return explain_absence(path);
        case EISDIR: return " (name a file in it)";
        case ELOOP:
            return " (it is a symbolic link, which is not followed here, or one that leads to itself)";
        case EROFS: return " (make it writable, or name a place elsewhere)";
        default: return std::string(advice_for(number));
    }
}

}  // namespace

std::string_view advice_for(int number) noexcept {
    switch (number) {
        case EMFILE: return " (too many open files: raise \"ulimit -n\", LimitNOFILE= of the unit)";
        case ENFILE: return " (too many open files on this machine: raise the sysctl fs.file-max)";
        case EAGAIN:
            return " (too many processes, or no memory for one: see \"ulimit -u\", TasksMax= of the unit and "
                   "pids.max of its control group)";
        case ENOMEM:
            return " (no memory: see \"ulimit -v\", MemoryMax= of the unit, and what else runs here)";
        case ENOSPC:
        case EDQUOT: return " (make room there)";
        default: return {};
    }
}

tl::unexpected<Error> path_fault(int number, std::string_view what, const std::string& path) {
    auto error = system_fault(number, fmt::format("{} {}", what, show(path)));
    error.value().text += explain(number, path);
    return error;
}

tl::unexpected<Error> taken(std::string text) {
    return tl::unexpected<Error>(Error{Fault::system, EADDRINUSE, std::move(text)});
}

Done check_owner(const struct stat& facts, const std::string& path, Secrecy secrecy) {
    const unsigned mode = facts.st_mode & k_permissions;
    const auto refuse = [&](std::string_view flaw, std::string_view remedy) {
        return system_fault(
            0, fmt::format("{} is not used: {} (mode {:04o}, owner {}, gid {}): {} {}", show(path), flaw,
                           mode, name_user(facts.st_uid), facts.st_gid, remedy, show(path)));
    };
    if (facts.st_uid != 0 && facts.st_uid != own_uid() && !is_for_one_of_ours(facts.st_uid))
        return refuse(own_uid() == 0 ? "it belongs neither to root nor to one of virtgate's users"
                                     : fmt::format("it belongs neither to root nor to {}, who reads it",
                                                   name_user(own_uid())),
                      "chown root");
    if ((mode & (S_IWGRP | S_IWOTH)) != 0 && !(S_ISDIR(facts.st_mode) && (mode & S_ISVTX) != 0))
        return refuse("its group or others may write to it", "chmod go-w");
    if (secrecy == Secrecy::shared && (mode & S_IRWXO) != 0)
        return refuse("it is a secret, and others may read it", "chmod o=");
    if (secrecy == Secrecy::secret && (mode & (S_IRWXG | S_IRWXO)) != 0)
        return refuse("it is a secret, and its group or others may read it", "chmod 600");
    return {};
}

Done check_trusted(int fd, const std::string& path, Secrecy secrecy) {
    struct stat facts {};
    if (fstat(fd, &facts) < 0) return path_fault(errno, "cannot look at", path);
    if (!S_ISREG(facts.st_mode)) return {};
    if (auto done = check_owner(facts, path, secrecy); !done) return done;
    const std::string directory = directory_of(path);
    if (stat(directory.c_str(), &facts) < 0) return path_fault(errno, "cannot look at", directory);
    return check_owner(facts, directory, Secrecy::readable);
}

}  // namespace virtgate
