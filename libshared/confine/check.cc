// SPDX-License-Identifier: LGPL-2.1-or-later
// check - the last step before a process serves.
#include "libshared/confine/check.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string>

namespace virtgate::confine {

namespace {

constexpr std::size_t k_status_max = 8192;  // about 1,500 bytes are usual; a list of groups can be longer
constexpr std::uint64_t k_mode_filter = 2;  // SECCOMP_MODE_FILTER

// Reads numbers after the line beginning `name`, as many as `values` has.
bool read_line(std::string_view text, std::string_view name, int base,
               std::span<std::uint64_t> values) noexcept {
    const std::string_view line_start = "\n";
    std::size_t at = 0;
    for (; at < text.size(); at = text.find(line_start, at) + 1) {
        if (text.substr(at).starts_with(name)) break;
        if (text.find(line_start, at) == text.npos) return false;
    }
    if (at >= text.size()) return false;
    std::string_view rest = text.substr(at + name.size());
    for (auto& value : values) {
        while (!rest.empty() && (rest.front() == '\t' || rest.front() == ' ')) rest.remove_prefix(1);
        const auto [end, failed] = std::from_chars(rest.data(), rest.data() + rest.size(), value, base);
        if (failed != std::errc{}) return false;
        rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    }
    return rest.empty() || rest.front() == '\n';
}

}  // namespace

Result<Status> parse_status(std::string_view text) {
    Status status;
    const struct {
        std::string_view name;
        int base;
        std::span<std::uint64_t> values;
        bool optional;
    } rows[] = {
        {"Uid:", 10, status.uids, false},
        {"Gid:", 10, status.gids, false},
        {"Threads:", 10, {&status.threads, 1}, false},
        {"CapInh:", 16, {&status.inheritable, 1}, false},
        {"CapPrm:", 16, {&status.permitted, 1}, false},
        {"CapEff:", 16, {&status.effective, 1}, false},
        {"CapBnd:", 16, {&status.bounding, 1}, false},
        {"CapAmb:", 16, {&status.ambient, 1}, false},
        {"NoNewPrivs:", 10, {&status.no_new_privileges, 1}, false},
        {"Seccomp:", 10, {&status.seccomp_mode, 1}, false},
        {"Seccomp_filters:", 10, {&status.filters, 1}, true},
    };
    for (const auto& row : rows)
        if (!read_line(text, row.name, row.base, row.values) && !row.optional)
            return system_fault(0, fmt::format("/proc/self/status has no line {}", row.name));
    return status;
}

Done compare(const Status& status, const Meant& meant) {
    std::string differences;
    const auto expect = [&](bool holds, std::string_view text) {
        if (holds) return;
        if (!differences.empty()) differences += "; ";
        differences += text;
    };
    if (meant.uid)
        expect(
            std::all_of(status.uids.begin(), status.uids.end(), [&](auto one) { return one == *meant.uid; }),
            fmt::format("a user ID is not {}", *meant.uid));
    expect((status.permitted & ~meant.capabilities) == 0 && (status.effective & ~meant.capabilities) == 0,
           fmt::format("capabilities {:#x} are permitted", status.permitted | status.effective));
    expect((status.inheritable & ~meant.passed_on) == 0 && (status.ambient & ~meant.passed_on) == 0,
           "capabilities can be inherited");
    expect(!meant.bounding_empty || status.bounding == 0, "the bounding set is not empty");
    expect(status.no_new_privileges == 1, "new privileges are possible");
    expect(status.seccomp_mode == k_mode_filter, "there is no filter of system calls");
    // A kernel that does not count them says so by the mode alone.
    expect(status.filters == 0 || status.filters >= meant.filters_min,
           fmt::format("there are only {} filters of system calls", status.filters));
    if (!differences.empty())
        return system_fault(0, "this process is not confined as it is meant: " + differences);
    return {};
}

Result<UniqueFd> open_self() {
    UniqueFd self{open("/proc/self/status", O_RDONLY | O_CLOEXEC)};
    if (!self) return system_fault(errno, "cannot open /proc/self/status");
    return self;
}

Done check_self(UniqueFd self, const Meant& meant) {
    std::array<char, k_status_max> buffer;
    std::size_t size = 0;
    while (size < buffer.size()) {
        const ssize_t got = read(self.get(), buffer.data() + size, buffer.size() - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return system_fault(errno, "cannot read /proc/self/status");
        if (got == 0) break;
        size += static_cast<std::size_t>(got);
    }
    self.reset();
    const auto status = parse_status({buffer.data(), size});
    if (!status) return tl::unexpected<Error>(status.error());
    return compare(*status, meant);
}

}  // namespace virtgate::confine
