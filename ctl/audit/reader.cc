// SPDX-License-Identifier: LGPL-2.1-or-later
// reader - the records in a file of the auditor, one after the other.
#include "ctl/audit/reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"
#include "libshared/base/path_fault.h"
#include "policy/glob.h"

namespace virtgate::ctl::audit {

namespace {

// KIND=GLOB, or a GLOB for any kind. A kind is a word, so that a name with "=" in it can be asked for with "*=…".
bool matches_object(std::string_view wanted, const Object& object) {
    const std::size_t equals = wanted.find('=');
    if (equals != std::string_view::npos &&
        wanted.substr(0, equals).find_first_of("*?") == std::string_view::npos) {
        if (wanted.substr(0, equals) != object.kind) return false;
        wanted.remove_prefix(equals + 1);
    }
    return policy::matches_glob(wanted, object.name) || policy::matches_glob(wanted, object.uuid);
}

}  // namespace

bool Filter::matches(const Entry& entry) const {
    if (identity && entry.identity != identity) return false;
    if (since && entry.time < *since) return false;
    if (until && entry.time >= *until) return false;
    if (refused && entry.verdict != "refused" && entry.verdict != "shadowed") return false;
    if (session && entry.session != session) return false;
    if (!procedure.empty() &&
        (!entry.procedure || !policy::matches_glob(to_upper(procedure), to_upper(*entry.procedure))))
        return false;
    return object.empty() || std::any_of(entry.objects.begin(), entry.objects.end(),
                                         [&](const Object& one) { return matches_object(object, one); });
}

bool Lines::feed(std::string_view piece, const std::function<bool(std::string_view)>& take) {
    for (;;) {
        const std::size_t end = piece.find('\n');
        const std::string_view part = piece.substr(0, end);
        if (!skipping_ && partial_.size() + part.size() > k_line_max) {
            skipping_ = true;
            ++too_long_;
            partial_.clear();
        }
        if (end == std::string_view::npos) {
            if (!skipping_) partial_ += part;
            return true;
        }
        const bool go_on = finish(part, take);
        piece.remove_prefix(end + 1);
        if (!go_on) return false;
    }
}

bool Lines::finish(std::string_view line, const std::function<bool(std::string_view)>& take) {
    if (skipping_) {
        skipping_ = false;
        return true;
    }
    if (partial_.empty()) return take(line);  // no copy
    partial_ += line;
    const bool go_on = take(partial_);
    partial_.clear();
    return go_on;
}

std::string Lines::take_rest() {
    skipping_ = false;
    return std::exchange(partial_, {});
}

Result<std::uint64_t> read_lines(const std::string& path, const std::function<bool(std::string_view)>& take) {
    UniqueFd file;
    if (path != "-") {
        file = UniqueFd{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)};
        if (!file) return path_fault(errno, "cannot open", path);
    }
    const int fd = file ? file.get() : STDIN_FILENO;
    Lines lines;
    std::array<char, 65536> buffer;
    for (;;) {
        const ssize_t size = read(fd, buffer.data(), buffer.size());
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return path_fault(errno, "cannot read", path);
        if (size == 0) break;
        if (!lines.feed({buffer.data(), static_cast<std::size_t>(size)}, take)) return lines.too_long();
    }
    if (const std::string rest = lines.take_rest(); !rest.empty()) static_cast<void>(take(rest));
    return lines.too_long();
}

Result<Summary> read_entries(const std::string& path, const Filter& filter,
                             const std::function<bool(const Entry&)>& take) {
    Summary summary;
    const auto too_long = read_lines(path, [&](std::string_view line) {
        if (line.empty()) return true;
        const auto entry = parse_entry(line);
        if (!entry) {
            ++summary.broken;
            return true;
        }
        ++summary.records;
        if (!filter.matches(*entry)) return true;
        ++summary.matched;
        return take(*entry);
    });
    if (!too_long) return tl::unexpected(too_long.error());
    summary.broken += *too_long;
    return summary;
}

}  // namespace virtgate::ctl::audit
