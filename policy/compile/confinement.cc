// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the policy compiler keeps: the directories that it reads, for a moment.
#include "policy/compile/confinement.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libshared/confine/rows.h"
#include "libshared/fdmap.h"

namespace virtgate::policy {

namespace {

using confine::allow;
using confine::has_of;
using confine::is;
using confine::is_null;
using confine::lacks;
using confine::PathAccess;

constexpr confine::Row k_rows[] = {
    allow("openat", "policy files and their directories",
          {has_of(2, O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND, O_RDONLY)}),
    allow("getdents64", "the names of the files"),
    allow("newfstatat", "their kind and size"),
    allow("fstat", "their kind and size"),
    allow("statx", "their kind and size"),
    allow("lseek", "the streams of the C++ library"),
    allow("readv", "the streams of the C++ library"),
    allow("pread64", "the files"),
    allow("readlink", "names that point elsewhere"),
    allow("readlinkat", "names that point elsewhere"),
    // The C library asks the services that nsswitch.conf(5) names: nscd, sssd, systemd.
    allow("socket", "names of users and groups", {is(0, AF_UNIX)}),
    allow("connect", "names of users and groups"),
    allow("sendto", "names of users and groups", {is_null(4)}),
    allow("sendmsg", "names of users and groups"),
    allow("recvmsg", "names of users and groups"),
    allow("recvfrom", "names of users and groups", {is_null(4)}),
    allow("poll", "names of users and groups"),
    allow("ppoll", "names of users and groups"),
    allow("fcntl", "names of users and groups", {is(1, F_GETFD)}),
    allow("fcntl", "names of users and groups", {is(1, F_SETFD)}),
    allow("fcntl", "names of users and groups", {is(1, F_GETFL)}),
    allow("fcntl", "names of users and groups", {is(1, F_SETFL), confine::lacks(2, O_ASYNC)}),
    allow("getpid", "modules of name services"),
    allow("gettid", "modules of name services"),
    allow("getuid", "modules of name services"),
    allow("geteuid", "modules of name services"),
    allow("getsockopt", "modules of name services"),
    allow("getpeername", "modules of name services"),
    allow("uname", "modules of name services"),
    allow("mmap", "files that a module maps; no code", {lacks(2, PROT_EXEC)}),
};

// Names of users and groups in a policy are looked up by the C library, which reads what nsswitch.conf(5) says.
constexpr const char* k_accounts[] = {
    "/etc/nsswitch.conf", "/etc/userdb", "/run/systemd/userdb", "/var/lib/sss",
    "/etc/passwd",        "/etc/group",  "/etc/ld.so.cache",    "/lib",
    "/usr/lib",           "/lib64"};

// Modules of name services are code, which cannot be loaded later: a name that nobody has loads all of them.
void load_name_services() noexcept {
    static_cast<void>(getpwnam("virtgate no such user"));
    static_cast<void>(getgrnam("virtgate no such group"));
}

}  // namespace

confine::Plan make_plan(const std::vector<std::string>& directories) {
    using confine::FdKind;
    load_name_services();
    constexpr std::uint64_t k_memory_max = std::uint64_t{4} << 30;
    confine::Plan plan{
        .process = "policy compiler",
        .descriptors = confine::child_descriptors(FdKind::null, {{fdmap::k_policy_result, {FdKind::file}}}),
        .limits = {.file_size = {}, .address_space = k_memory_max},
        .rows = {confine::runtime_rows(), k_rows},
        .stays = "it looks whose policy files are"};
    for (const auto& directory : directories) plan.paths.add_if_there(directory, PathAccess::read);
    for (const char* path : k_accounts) plan.paths.add_if_there(path, PathAccess::read);
    return plan;
}

}  // namespace virtgate::policy
