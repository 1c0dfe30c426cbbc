// SPDX-License-Identifier: LGPL-2.1-or-later
// running - the processes of virtgate that run on this machine.
#include "ctl/sandbox/running.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>

#include "ctl/sandbox/statement.h"
#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"

namespace virtgate::ctl::sandbox {

namespace {

constexpr std::string_view k_title = "virtgate: ";
constexpr std::string_view k_prefix = "virtgate-";
constexpr std::string_view k_deleted = " (deleted)";  // behind the name of an executable that was replaced
constexpr std::uint64_t k_mode_filter = 2;            // SECCOMP_MODE_FILTER
constexpr std::size_t k_status_max = 16384;             // of a status file: a list of groups can be long
constexpr std::size_t k_name_max = 64;

// A file of /proc/PID; empty if the process is gone or closed to us.
std::string read_text(pid_t pid, const char* name) {
    const UniqueFd file{open(fmt::format("/proc/{}/{}", pid, name).c_str(), O_RDONLY | O_CLOEXEC)};
    std::string text(k_status_max, '\0');
    std::size_t size = 0;
    while (file && size < text.size()) {
        const ssize_t got = read(file.get(), text.data() + size, text.size() - size);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        size += static_cast<std::size_t>(got);
    }
    text.resize(size);
    return text;
}

// What follows the last slash.
std::string_view file_name(std::string_view path) noexcept {
    return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

bool is_program(std::string_view file) noexcept {
    return std::any_of(programs().begin(), programs().end(),
                       [&](const Program& program) { return file == program.file; });
}

// False if the executable can be seen and is none of ours.
bool may_be_ours(pid_t pid) {
    std::array<char, 4096> path{};
    const ssize_t size = readlink(fmt::format("/proc/{}/exe", pid).c_str(), path.data(), path.size());
    if (size < 0) return errno == EACCES || errno == EPERM;
    std::string_view whole(path.data(), static_cast<std::size_t>(size));
    if (whole.ends_with(k_deleted)) whole.remove_suffix(k_deleted.size());
    return is_program(file_name(whole));
}

std::optional<Running> look_at(pid_t pid) {
    const std::string line = read_text(pid, "cmdline");
    Running found{.pid = pid, .name = name_in(line.substr(0, line.find('\0'))), .status = {}};
    if (found.name.empty() || !may_be_ours(pid)) return {};
    const auto status = confine::parse_status(read_text(pid, "status"));
    if (!status) return {};  // it has just ended
    found.status = *status;
    return found;
}

}  // namespace

bool Running::is_confined() const noexcept {
    return status.seccomp_mode == k_mode_filter && status.no_new_privileges == 1;
}

std::string name_in(std::string_view title) {
    if (title.starts_with(k_title)) {
        title.remove_prefix(k_title.size());
    } else {
        title = file_name(title);
        if (!is_program(title)) return {};
        title.remove_prefix(k_prefix.size());
    }
    while (title.ends_with(' ')) title.remove_suffix(1);
    return escape(title, k_name_max);
}

Result<std::vector<Running>> find_running() {
    std::error_code failed;
    std::vector<Running> all;
    auto entry = std::filesystem::directory_iterator("/proc", failed);
    for (; !failed && entry != std::filesystem::directory_iterator(); entry.increment(failed)) {
        const std::string name = entry->path().filename().string();
        pid_t pid = 0;
        const auto [end, wrong] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (wrong != std::errc{} || end != name.data() + name.size()) continue;
        if (auto found = look_at(pid)) all.push_back(std::move(*found));
    }
    if (failed) return system_fault(failed.value(), "cannot read /proc");
    std::sort(all.begin(), all.end(), [](const Running& a, const Running& b) { return a.pid < b.pid; });
    return all;
}

}  // namespace virtgate::ctl::sandbox
