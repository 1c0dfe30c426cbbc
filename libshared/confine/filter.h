// SPDX-License-Identifier: LGPL-2.1-or-later
// filter - the system calls that a process may make, as a table with a reason for each row.
//
// Trust:  what no row allows ends the process with SIGSYS. The kernel applies every filter that a process has
//         and takes the strictest answer: a second one (serving after starting, or ours below systemd's) can
//         only take away. So the rows for starting have to contain those that serving allows. A table must not
//         hold what starting allows and serving refuses with an errno: that row belongs to serving alone.
// Limits: a filter sees numbers, not what a pointer points to: no file names, no socket addresses, no
//         messages. On s390x that includes the arguments of mmap, and of all socket calls, which glibc makes
//         by socketcall. A foreign ABI of the same machine (i386 and x32 on x86-64) is refused as a whole.
#pragma once

#include <linux/filter.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "libshared/confine/report.h"

namespace virtgate::confine {

// What an argument has to be: (argument & mask) == value.
struct Where {
    unsigned argument = 0;  // 0..5
    std::uint64_t mask = 0;
    std::uint64_t value = 0;
    bool operator==(const Where&) const = default;
};

// The argument is an int or unsigned int for the kernel, which does not look at the upper half: neither do
// we.
constexpr Where is(unsigned argument, std::uint32_t value) { return {argument, 0xffffffffU, value}; }
// The argument is a pointer that has to be null, or a long that has to be 0.
constexpr Where is_null(unsigned argument) { return {argument, ~std::uint64_t{0}, 0}; }
// None of `bits` is set.
constexpr Where lacks(unsigned argument, std::uint64_t bits) { return {argument, bits, 0}; }
// Of the bits of `mask` exactly `bits` are set.
constexpr Where has_of(unsigned argument, std::uint64_t mask, std::uint64_t bits) {
    return {argument, mask, bits};
}

// One row: a call, in one way of calling it. Several rows about one call mean any of them.
struct Row {
    static constexpr std::size_t k_wheres_max = 4;

    const char* call = nullptr;    // the kernel's name for it
    const char* reason = nullptr;  // what needs it, for who reads the table
    int error = 0;                 // 0: allowed; else this errno is its answer
    unsigned where_count = 0;
    std::array<Where, k_wheres_max> wheres{};
};

constexpr Row answer(const char* call, int error, const char* reason, std::initializer_list<Where> wheres) {
    Row row{call, reason, error, 0, {}};
    for (const auto& where : wheres) row.wheres.at(row.where_count++) = where;
    return row;
}

// The call is allowed if all of `wheres` hold.
constexpr Row allow(const char* call, const char* reason, std::initializer_list<Where> wheres = {}) {
    return answer(call, 0, reason, wheres);
}

// The call fails with `error`, and the process lives. For what libraries try and do without alone.
constexpr Row refuse(const char* call, int error, const char* reason,
                     std::initializer_list<Where> wheres = {}) {
    return answer(call, error, reason, wheres);
}

// What happens at a call that no row speaks of.
enum class OnViolation : unsigned char {
    kill,  // the process ends with SIGSYS: whoever serves
    trap,  // the thread gets SIGSYS first: for tests, see violations.h
    log,   // the kernel's audit log has it and the call is made: to find out what is missing
};

enum class Architecture : unsigned char { native, x86_64, aarch64, ppc64le, s390x, riscv64 };

class Filter {
public:
    // Compiles the rows of all `tables`. A call that `architecture` does not have is left out. Takes two
    // descriptors for a moment and calls that few rows allow: all filters are made before the first one is
    // loaded.
    // Error: system's fault, for a name that libseccomp does not know, and for two rows about one call with
    // different answers of which one has no condition or both have the same.
    static Result<Filter> make(std::span<const std::span<const Row>> tables, OnViolation on_violation,
                               Architecture architecture = Architecture::native);
    static Result<Filter> make(std::initializer_list<std::span<const Row>> tables, OnViolation on_violation,
                               Architecture architecture = Architecture::native) {
        return make(std::span(tables.begin(), tables.size()), on_violation, architecture);
    }

    // Puts the filter in force, for good, in all threads. Takes prctl(PR_GET_NO_NEW_PRIVS) and seccomp(2)
    // alone. Where arguments are out of sight (s390x), that is noted as lacking.
    // Error: system's fault, also if no_new_privs is not set; the process has to end.
    Done load(Report& report) const;

    // The program as the kernel gets it, in this machine's byte order.
    [[nodiscard]] std::span<const sock_filter> program() const noexcept { return program_; }

private:
    explicit Filter(std::vector<sock_filter> program) noexcept : program_(std::move(program)) {}

    std::vector<sock_filter> program_;
};

// The library that compiles filters: "libseccomp 2.5.4".
[[nodiscard]] std::string library_version();

// The AUDIT_ARCH_ number of linux/audit.h.
[[nodiscard]] std::uint32_t audit_number(Architecture architecture) noexcept;

// The number of the call `name` there. Negative if that architecture does not have it.
[[nodiscard]] int call_number(Architecture architecture, const char* name) noexcept;

}  // namespace virtgate::confine
