// SPDX-License-Identifier: LGPL-2.1-or-later
// filter - the system calls that a process may make.
#include "libshared/confine/filter.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>

#include "libshared/base/fd.h"
#include "libshared/base/handle.h"
#include "libshared/base/path_fault.h"

namespace virtgate::confine {

namespace {

constexpr int k_numbers = 512;  // of system calls, over all architectures; more than there are

std::uint32_t token_of(Architecture architecture) noexcept {
    switch (architecture) {
        case Architecture::native: return seccomp_arch_native();
        case Architecture::x86_64: return SCMP_ARCH_X86_64;
        case Architecture::aarch64: return SCMP_ARCH_AARCH64;
        case Architecture::ppc64le: return SCMP_ARCH_PPC64LE;
        case Architecture::s390x: return SCMP_ARCH_S390X;
        case Architecture::riscv64: return SCMP_ARCH_RISCV64;
    }
    return seccomp_arch_native();
}

std::uint32_t default_action(OnViolation on_violation) noexcept {
    switch (on_violation) {
        case OnViolation::kill: return SCMP_ACT_KILL_PROCESS;
        case OnViolation::trap: return SCMP_ACT_TRAP;
        case OnViolation::log: return SCMP_ACT_LOG;
    }
    return SCMP_ACT_KILL_PROCESS;
}

// Its mmap has one argument, a pointer to a structure with the others.
bool hides_arguments(std::uint32_t token, const Row& row) noexcept {
    return token == SCMP_ARCH_S390X && std::strcmp(row.call, "mmap") == 0;
}

// There the first two arguments of clone have changed places.
unsigned place_of(std::uint32_t token, const Row& row, const Where& where) noexcept {
    const bool changed =
        token == SCMP_ARCH_S390X && std::strcmp(row.call, "clone") == 0 && where.argument < 2;
    return changed ? 1 - where.argument : where.argument;
}

// Calls that are newer than the libseccomp of the oldest system that we build on; these have one number everywhere.
int newer_call(const char* name) noexcept { return std::strcmp(name, "mseal") == 0 ? 462 : __NR_SCMP_ERROR; }

Done add_row(scmp_filter_ctx context, std::uint32_t token, const Row& row) {
    int number = seccomp_syscall_resolve_name(row.call);
    if (number == __NR_SCMP_ERROR) {
        number = newer_call(row.call);
        // Without its name the library cannot find it on another machine. There it is allowed on that machine itself.
        if (number != __NR_SCMP_ERROR && token != seccomp_arch_native()) return {};
    }
    if (number == __NR_SCMP_ERROR)
        return system_fault(0, fmt::format("libseccomp knows no call {}", row.call));
    // Negative: that architecture does not have it under a number of its own.
    if (call_number(Architecture::native, row.call) < 0 && token == seccomp_arch_native()) return {};
    std::array<scmp_arg_cmp, Row::k_wheres_max> compare{};
    unsigned count = 0;
    if (!hides_arguments(token, row))
        for (; count < row.where_count; ++count) {
            const auto& where = row.wheres.at(count);
            compare.at(count) = {place_of(token, row, where), SCMP_CMP_MASKED_EQ, where.mask, where.value};
        }
    const std::uint32_t action =
        row.error == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(static_cast<std::uint32_t>(row.error));
    const int failed = seccomp_rule_add_array(context, action, number, count, compare.data());
    // The same row in two tables.
    if (failed != 0 && failed != -EEXIST)
        return system_fault(-failed, fmt::format("cannot make a rule for the call {}", row.call));
    return {};
}

// The library keeps the first of two such rows and says the same as for a row that is there twice.
bool contradict(const Row& one, const Row& other) noexcept {
    if (one.error == other.error || std::strcmp(one.call, other.call) != 0) return false;
    if (one.where_count == 0 || other.where_count == 0) return true;
    return one.where_count == other.where_count &&
           std::equal(one.wheres.begin(), one.wheres.end(), other.wheres.begin());
}

// All rows, in their order. Error: system's fault, if two contradict each other.
Result<std::vector<Row>> collect(std::span<const std::span<const Row>> tables) {
    std::vector<Row> rows;
    for (const auto& table : tables)
        for (const auto& row : table) {
            if (std::any_of(rows.begin(), rows.end(),
                            [&](const Row& other) { return contradict(row, other); }))
                return system_fault(
                    0, fmt::format("two rows about the call {} contradict each other", row.call));
            rows.push_back(row);
        }
    return rows;
}

// SYSRAWRC: the kernel's errno instead of the library's summary of it.
Done set_attributes(scmp_filter_ctx context) {
    const struct {
        scmp_filter_attr attribute;
        std::uint32_t value;
    } rows[] = {
        {SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS},
        {SCMP_FLTATR_API_SYSRAWRC, 1},
        {SCMP_FLTATR_CTL_OPTIMIZE, 2},  // a search tree: a list would be walked in every call
    };
    for (const auto& row : rows)
        if (const int failed = seccomp_attr_set(context, row.attribute, row.value); failed != 0)
            return system_fault(-failed, "cannot set up the filter of system calls");
    return {};
}

// Where each call of sockets exists a second time as a part of socketcall, which has its arguments behind a
// pointer, the library lets that pass without looking at them: socket(AF_INET) would be possible where only
// AF_UNIX is allowed. So socketcall is refused before anything else. (Not on s390x, where a glibc that is
// built for kernels before 4.3, as Debian's is, makes no other calls.)
void refuse_socketcall(std::vector<sock_filter>& program, std::uint32_t action) {
    constexpr std::uint32_t k_socketcall = 102;  // on ppc64le
    const sock_filter first[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, k_socketcall},
        {BPF_RET | BPF_K, 0, 0, action},
    };
    program.insert(program.begin(), std::begin(first), std::end(first));
}

bool is_swapped(Architecture architecture) noexcept {
    const bool big = architecture == Architecture::s390x ||
                     (architecture == Architecture::native && std::endian::native == std::endian::big);
    return big != (std::endian::native == std::endian::big);
}

using Context = std::unique_ptr<void, FreeWith<seccomp_release>>;

// The library writes to a descriptor only. A pipe, since a file may be against the limits that are set
// already.
Result<std::vector<sock_filter>> export_program(scmp_filter_ctx context) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        const int number = errno;
        auto error = system_fault(number, "cannot make a pipe");
        error.value().text += advice_for(number);
        return error;
    }
    const UniqueFd reading{ends[0]};
    const UniqueFd writing{ends[1]};
    std::vector<sock_filter> program(BPF_MAXINSNS);
    const auto most = static_cast<ssize_t>(program.size() * sizeof(sock_filter));
    const int capacity = fcntl(writing.get(), F_GETPIPE_SZ);
    if (const int failed = seccomp_export_bpf(context, writing.get()); failed != 0)
        return system_fault(-failed, "cannot compile the filter of system calls");
    const ssize_t size = read(reading.get(), program.data(), static_cast<std::size_t>(most));
    // The library does not look whether all of it was written: what fills the pipe may have been cut.
    if (size <= 0 || size >= capacity || size >= most ||
        size % static_cast<ssize_t>(sizeof(sock_filter)) != 0)
        return system_fault(size < 0 ? errno : 0, "cannot take over the filter of system calls");
    program.resize(static_cast<std::size_t>(size) / sizeof(sock_filter));
    return program;
}

// It comes in the byte order of its architecture, apart from the long jumps and the returns that libseccomp 2.5 puts in
// between where a jump would be too far: those are in ours. (Where it makes a filter for the machine that it runs on,
// there is one order.)
bool is_swapped_already(const sock_filter& one, std::size_t size) noexcept {
    if (one.code == (BPF_JMP | BPF_JA)) return one.k < size;
    if (one.code != (BPF_RET | BPF_K)) return false;
    constexpr std::uint32_t k_actions[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
                                           SECCOMP_RET_LOG, SECCOMP_RET_ALLOW};
    return std::find(std::begin(k_actions), std::end(k_actions), one.k & SECCOMP_RET_ACTION_FULL) !=
           std::end(k_actions);
}

void swap_bytes(std::vector<sock_filter>& program) noexcept {
    for (auto& one : program) {
        one.code = __builtin_bswap16(one.code);
        if (!is_swapped_already(one, program.size())) one.k = __builtin_bswap32(one.k);
    }
}

}  // namespace

Result<Filter> Filter::make(std::span<const std::span<const Row>> tables, OnViolation on_violation,
                            Architecture architecture) {
    const Context context{seccomp_init(default_action(on_violation))};
    if (context == nullptr) return system_fault(0, "cannot begin a filter of system calls");
    const std::uint32_t token = token_of(architecture);
    if (token != seccomp_arch_native()) {
        // In this order, since one context cannot have architectures of both byte orders.
        int failed = seccomp_arch_remove(context.get(), seccomp_arch_native());
        if (failed == 0) failed = seccomp_arch_add(context.get(), token);
        if (failed != 0) return system_fault(-failed, "cannot make a filter for another architecture");
    }
    if (auto done = set_attributes(context.get()); !done)
        return tl::unexpected<Error>(std::move(done.error()));
    const auto rows = collect(tables);
    if (!rows) return tl::unexpected<Error>(rows.error());
    for (const auto& row : *rows)
        if (auto done = add_row(context.get(), token, row); !done)
            return tl::unexpected<Error>(std::move(done.error()));
    auto program = export_program(context.get());
    if (!program) return tl::unexpected<Error>(std::move(program.error()));
    if (is_swapped(architecture)) swap_bytes(*program);
    if (token == SCMP_ARCH_PPC64LE) refuse_socketcall(*program, default_action(on_violation));
    return Filter{std::move(*program)};
}

Done Filter::load(Report& report) const {
    // With CAP_SYS_ADMIN the kernel would take the filter without it.
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return system_fault(0, "the filter of system calls comes after no_new_privs");
    // Not by the library, so that what is simulated is what is loaded, to the bit. The kernel does not write
    // to it.
    const sock_fprog all{static_cast<unsigned short>(program_.size()),
                         const_cast<sock_filter*>(program_.data())};
    const long failed = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &all);
    if (failed < 0) return system_fault(errno, "cannot put the filter of system calls in force");
    if (failed > 0)
        return system_fault(0, fmt::format("thread {} has another filter of system calls", failed));
    report.note_in_force(Layer::filter);
    if (seccomp_arch_native() == SCMP_ARCH_S390X)
        return report.note_lack(Layer::filter,
                                "a filter cannot see the arguments of mmap and of socket calls here");
    return {};
}

std::string library_version() {
    const scmp_version* version = seccomp_version();
    return fmt::format("libseccomp {}.{}.{}", version->major, version->minor, version->micro);
}

std::uint32_t audit_number(Architecture architecture) noexcept { return token_of(architecture); }

int call_number(Architecture architecture, const char* name) noexcept {
    const std::uint32_t token = token_of(architecture);
    const int number = seccomp_syscall_resolve_name_arch(token, name);
    if (number >= 0) return number;
    if (const int newer = newer_call(name); newer >= 0) return newer;
    // Where socketcall exists as well, the library names its parts by negative numbers; the calls have
    // others.
    for (int one = 0; one < k_numbers; ++one) {
        const std::unique_ptr<char, FreeWith<std::free>> found{seccomp_syscall_resolve_num_arch(token, one)};
        if (found != nullptr && std::strcmp(found.get(), name) == 0) return one;
    }
    return number;
}

}  // namespace virtgate::confine
