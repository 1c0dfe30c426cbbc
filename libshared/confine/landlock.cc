// SPDX-License-Identifier: LGPL-2.1-or-later
// landlock - which files a process can still name, and whom it can still reach without one.
#include "libshared/confine/landlock.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "libshared/base/fd.h"
#include "libshared/confine/privileges.h"

namespace virtgate::confine {

namespace {

// What came after the headers of the oldest system that we build on.
constexpr std::uint64_t k_truncate = 1U << 14;
constexpr std::uint64_t k_ioctl_device = 1U << 15;
constexpr std::uint64_t k_bind_tcp = 1U << 0;
constexpr std::uint64_t k_connect_tcp = 1U << 1;
constexpr std::uint64_t k_scope_abstract_socket = 1U << 0;
constexpr std::uint64_t k_scope_signal = 1U << 1;

constexpr int k_abi_refer = 2;
constexpr int k_abi_truncate = 3;
constexpr int k_abi_tcp = 4;
constexpr int k_abi_ioctl = 5;
constexpr int k_abi_scope = 6;

constexpr std::uint64_t k_read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t k_write = k_read | LANDLOCK_ACCESS_FS_WRITE_FILE | k_truncate;
constexpr std::uint64_t k_create = k_write | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE;
// A rule about a file may name these alone.
constexpr std::uint64_t k_of_files = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |
                                     LANDLOCK_ACCESS_FS_WRITE_FILE | k_truncate | k_ioctl_device;

constexpr std::uint64_t bits_of(PathAccess access) noexcept {
    switch (access) {
        case PathAccess::read: return k_read;
        case PathAccess::execute: return k_read | LANDLOCK_ACCESS_FS_EXECUTE;
        case PathAccess::write: return k_write;
        case PathAccess::create: return k_create;
        case PathAccess::listen: return k_create | LANDLOCK_ACCESS_FS_MAKE_SOCK;
        case PathAccess::grow: return k_create | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR;
    }
    return 0;
}

// struct landlock_ruleset_attr as it is since ABI 6. Older kernels take a longer one if what they do not know
// is 0.
struct RulesetAttributes {
    std::uint64_t files, tcp, scope;
};

Done add_path(int ruleset, const PathRule& rule, std::uint64_t handled) {
    const UniqueFd path{open(rule.path.c_str(), O_PATH | O_CLOEXEC)};
    struct stat about {};
    if (!path || fstat(path.get(), &about) < 0)
        return system_fault(errno, fmt::format("cannot open {}", rule.path));
    landlock_path_beneath_attr beneath{};
    beneath.allowed_access = bits_of(rule.access) & handled & (S_ISDIR(about.st_mode) ? ~0ULL : k_of_files);
    beneath.parent_fd = path.get();
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0U) < 0)
        return system_fault(errno, fmt::format("cannot allow {} by Landlock", rule.path));
    return {};
}

// Of the kernel's struct landlock_net_port_attr: its own header is newer than the oldest system that we build on.
struct PortRule {
    std::uint64_t allowed, port;
};
constexpr unsigned k_rule_net_port = 2;

Done add_port(int ruleset, std::uint16_t port) {
    const PortRule rule{.allowed = k_connect_tcp, .port = port};
    if (syscall(SYS_landlock_add_rule, ruleset, k_rule_net_port, &rule, 0U) < 0)
        return system_fault(errno, fmt::format("cannot allow TCP port {} by Landlock", port));
    return {};
}

Done note_result(int abi, const LandlockRules& rules, Report& report) {
    report.note_in_force(Layer::files, fmt::format("ABI {}", abi));
    // ABI 1 refuses all renaming between directories, which is more, not less.
    if (abi < k_abi_truncate)
        if (auto done = report.note_lack(Layer::files, "the kernel's Landlock does not cover truncate");
            !done)
            return done;
    if (!rules.tcp) {
        if (abi >= k_abi_tcp)
            report.note_in_force(Layer::tcp);
        else if (auto done = report.note_lack(Layer::tcp, "the kernel's Landlock does not cover TCP"); !done)
            return done;
    }
    if (!rules.signals || !rules.abstract_sockets) {
        if (abi >= k_abi_scope)
            report.note_in_force(Layer::scope);
        else if (auto done = report.note_lack(Layer::scope, "the kernel's Landlock does not cover them");
                 !done)
            return done;
    }
    return {};
}

}  // namespace

void LandlockRules::add_if_there(const std::string& path, PathAccess access) {
    if (!path.empty() && ::access(path.c_str(), F_OK) == 0) paths.push_back({path, access});
}

void LandlockRules::add_parents_of(const std::string& file, PathAccess access) {
    if (file.empty()) return;
    const std::filesystem::path given(file);
    add_if_there(given.parent_path().string(), access);
    std::error_code none;
    const auto real = std::filesystem::canonical(given, none);
    if (!none && real != given) add_if_there(real.parent_path().string(), access);
}

Result<int> find_landlock_abi() {
    const long abi = syscall(SYS_landlock_create_ruleset, nullptr, 0UL, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi > 0) return static_cast<int>(abi);
    // Not built in, or not among the modules that are switched on.
    if (abi < 0 && (errno == ENOSYS || errno == EOPNOTSUPP)) return 0;
    return system_fault(abi < 0 ? errno : 0, "cannot ask for the kernel's Landlock");
}

LandlockMask mask_for(int abi, const LandlockRules& rules) noexcept {
    LandlockMask mask;
    if (abi < 1) return mask;
    mask.files = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;  // all of ABI 1, which are the lowest bits
    if (abi >= k_abi_refer) mask.files |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= k_abi_truncate) mask.files |= k_truncate;
    if (abi >= k_abi_ioctl) mask.files |= k_ioctl_device;
    if (abi >= k_abi_tcp && !rules.tcp) mask.tcp = k_bind_tcp | k_connect_tcp;
    if (abi >= k_abi_scope && !rules.signals) mask.scope |= k_scope_signal;
    if (abi >= k_abi_scope && !rules.abstract_sockets) mask.scope |= k_scope_abstract_socket;
    return mask;
}

Done restrict_paths(const LandlockRules& rules, Report& report) {
    if (auto done = expect_one_thread("Landlock is in force"); !done) return done;
    const auto abi = find_landlock_abi();
    if (!abi) return tl::unexpected<Error>(abi.error());
    if (*abi == 0) {
        for (const auto layer : {Layer::files, Layer::tcp, Layer::scope})
            if (auto done = report.note_lack(layer, "the kernel has no Landlock"); !done) return done;
        return {};
    }
    const auto mask = mask_for(*abi, rules);
    const RulesetAttributes attributes{mask.files, mask.tcp, mask.scope};
    const UniqueFd ruleset{
        static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0U))};
    if (!ruleset) return system_fault(errno, "cannot make rules for Landlock");
    for (const auto& rule : rules.paths)
        if (auto done = add_path(ruleset.get(), rule, mask.files); !done) return done;
    if ((mask.tcp & k_connect_tcp) != 0)
        for (const std::uint16_t port : rules.connect_ports)
            if (auto done = add_port(ruleset.get(), port); !done) return done;
    if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0U) < 0)
        return system_fault(errno, "cannot put Landlock in force");
    return note_result(*abi, rules, report);
}

}  // namespace virtgate::confine
