// SPDX-License-Identifier: LGPL-2.1-or-later
// roots - the configured directories beneath which something may be, and the way down from them.
//
// A root itself is the administrator's word: symbolic links in it are followed. Beneath it everything may have been made by
// somebody else: no symbolic link is followed, and no path leads out again.
//
// Trust:  paths are clients'.
// Source: openat2(2), Linux 5.6: RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libshared/base/fd.h"
#include "lockd/locker/failures.h"

namespace virtgate::lockd::locker {

class Roots {
public:
    // `paths`: absolute; a final slash does not matter.
    explicit Roots(std::vector<std::string> paths);

    struct Found {
        const std::string* root = nullptr;
        std::string_view rest;  // of the path, without a slash in front; empty: it is the root
    };
    // The longest root that `path` is or lies beneath, by its letters alone. The result lives as long as both.
    [[nodiscard]] std::optional<Found> find(std::string_view path) const noexcept;
    [[nodiscard]] bool empty() const noexcept { return paths_.empty(); }

private:
    std::vector<std::string> paths_;
};

// Opens what `name` leads to from `directory`, beneath it and over no symbolic link. `flags` and `mode` as of open(2);
// close-on-exec is added. The descriptor is invalid on failure, and errno says why: ELOOP for a symbolic link, EXDEV for
// a way out.
[[nodiscard]] UniqueFd open_beneath(int directory, const std::string& name, int flags,
                                    unsigned mode = 0) noexcept;

// The same for an absolute path: no symbolic link is anywhere on the way.
[[nodiscard]] UniqueFd open_without_links(const std::string& path, int flags) noexcept;

// Opens the directory `found` leads to (O_PATH), with all that is missing beneath the root made (mode 0700) if `make`.
// Failure: `what` and the reason in words.
[[nodiscard]] Answer<UniqueFd> open_directory(const Roots::Found& found, bool make, std::string_view what);

// The reason for a failed open_beneath(), for people.
[[nodiscard]] std::string reason_of(int number);

}  // namespace virtgate::lockd::locker
