// SPDX-License-Identifier: LGPL-2.1-or-later
// census - the processes that this one has started with wards, by kind, and what they use.
#include "libshared/spawn/census.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>

namespace virtgate::spawn {

namespace {

std::string kind_of(std::string_view name) { return std::string(name.substr(0, name.find('-'))); }

UniqueFd open_status(pid_t pid) noexcept {
    return UniqueFd{open(fmt::format("/proc/{}/stat", pid).c_str(), O_RDONLY | O_CLOEXEC)};
}

UniqueFd open_descriptors(pid_t pid) noexcept {
    return UniqueFd{open(fmt::format("/proc/{}/fd", pid).c_str(), O_PATH | O_CLOEXEC)};
}

struct Usage {
    std::uint64_t cpu = 0, memory = 0;
    bool is_known = false;
};

// proc_pid_stat(5): of the fields behind the name, which may hold anything but ends with the last parenthesis, the 12th and 13th
// are CPU time in clock ticks, the 22nd is resident memory in pages.
Usage read_usage(int status) noexcept {
    constexpr std::size_t k_user = 11, k_system = 12, k_resident = 21;
    std::array<char, 1024> text{};
    const ssize_t size = status >= 0 ? pread(status, text.data(), text.size(), 0) : -1;
    if (size <= 0) return {};
    std::string_view rest(text.data(), static_cast<std::size_t>(size));
    const std::size_t name_end = rest.rfind(')');
    if (name_end == rest.npos || name_end + 2 > rest.size()) return {};
    rest.remove_prefix(name_end + 2);
    std::array<std::uint64_t, k_resident + 1> fields{};
    for (auto& field : fields) {
        const std::size_t end = std::min(rest.find(' '), rest.size());
        static_cast<void>(std::from_chars(rest.data(), rest.data() + end, field));
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    const auto ticks = static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK));
    return {.cpu = (fields[k_user] + fields[k_system]) * 1000 / ticks,
            .memory = fields[k_resident] * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)),
            .is_known = true};
}

// Linux 6.2 says so with the size of the directory; before, that is 0.
std::uint64_t count_descriptors(int directory) noexcept {
    struct stat status {};
    return directory >= 0 && fstat(directory, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

void add_usage(Census::Kind& kind, int status, int descriptors) {
    const Usage usage = read_usage(status);
    kind.has_usage |= usage.is_known;
    kind.cpu += usage.cpu;
    kind.memory += usage.memory;
    kind.descriptors += count_descriptors(descriptors);
}

}  // namespace

Census& Census::of_this_process() noexcept {
    static Census census;
    return census;
}

void Census::begin(std::string_view name, pid_t pid) {
    const std::string kind = kind_of(name);
    ++kinds_[kind].starts;
    members_.insert_or_assign(
        pid, Member{.kind = kind, .status = open_status(pid), .descriptors = open_descriptors(pid)});
}

void Census::end(std::string_view name, pid_t pid) noexcept {
    const auto found = members_.find(pid);
    if (found == members_.end()) return;
    Kind& kind = kinds_[kind_of(name)];
    kind.cpu += read_usage(found->second.status.get()).cpu;
    members_.erase(found);
}

void Census::note_crash(std::string_view name) { ++kinds_[kind_of(name)].crashes; }

std::map<std::string, Census::Kind, std::less<>> Census::count() const {
    auto kinds = kinds_;
    for (const auto& [pid, member] : members_) {
        Kind& kind = kinds[member.kind];
        ++kind.running;
        add_usage(kind, member.status.get(), member.descriptors.get());
    }
    if (!self_.empty()) {
        Kind& kind = kinds[self_];
        kind.starts = kind.running = 1;
        add_usage(kind, open_status(getpid()).get(), open_descriptors(getpid()).get());
    }
    return kinds;
}

}  // namespace virtgate::spawn
