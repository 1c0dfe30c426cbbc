// SPDX-License-Identifier: LGPL-2.1-or-later
// process - facts about processes that only /proc has.
#include "libshared/base/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <string_view>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"

namespace virtgate {

// The name in field 2 may contain anything, so the count starts behind it.
std::uint64_t read_start_time(pid_t pid) noexcept {
    constexpr int k_fields_behind_name = 20;
    std::array<char, 64> path{};
    fmt::format_to_n(path.data(), path.size() - 1, "/proc/{}/stat", pid);
    const UniqueFd file{open(path.data(), O_RDONLY | O_CLOEXEC)};
    std::array<char, 1024> text;
    const ssize_t size = file ? read(file.get(), text.data(), text.size()) : -1;
    if (size <= 0) return 0;
    std::string_view rest(text.data(), static_cast<std::size_t>(size));
    const std::size_t name_end = rest.rfind(')');
    if (name_end == std::string_view::npos) return 0;
    rest.remove_prefix(name_end + 1);
    for (int field = 0; field < k_fields_behind_name; ++field) {
        const std::size_t space = rest.find(' ', 1);
        if (space == std::string_view::npos) return 0;
        rest.remove_prefix(space);
    }
    std::uint64_t ticks = 0;
    rest.remove_prefix(1);
    return std::from_chars(rest.data(), rest.data() + rest.size(), ticks).ec == std::errc{} ? ticks : 0;
}

std::string name_process(pid_t pid) {
    const UniqueFd file{open(fmt::format("/proc/{}/comm", pid).c_str(), O_RDONLY | O_CLOEXEC)};
    std::array<char, 64> name;
    const ssize_t size = file ? read(file.get(), name.data(), name.size()) : -1;
    if (size <= 1) return fmt::format("pid {}", pid);
    // A process names itself as it likes; the last byte is a line's end.
    return fmt::format("{} (pid {})", escape({name.data(), static_cast<std::size_t>(size) - 1}, name.size()),
                       pid);
}

}  // namespace virtgate
