// SPDX-License-Identifier: LGPL-2.1-or-later
// places - the configured directories beneath which pools may be, and files in the directories of pools.
//
// A configured directory is the administrator's word: symbolic links in it are followed, once, when the process starts.
// Beneath it everything may have been made by somebody else: no symbolic link is followed, no path leads out, and only
// regular files are opened.
//
// Trust:  paths and names are clients'.
// Source: openat2(2), Linux 5.6: RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS.
// Owns:   a descriptor (O_PATH) of each configured directory.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libshared/base/fd.h"
#include "workerd/store/failures.h"

namespace virtgate::workerd::store {

// An open directory that jobs in other threads may still need.
using Directory = std::shared_ptr<const UniqueFd>;

class Places {
public:
    // Opens the directories; one that is missing is made, and if that fails, left out and said.
    explicit Places(const std::vector<std::string>& directories);

    // The path in the one spelling that is used here: no final slash, no empty part. Error: it is not absolute, has a part
    // "." or "..", control characters, or lies beneath no configured directory.
    [[nodiscard]] Answer<std::string> check(std::string_view path) const;

    // Opens the directory at `path`, which check() has returned. With `make` what is missing is made (mode 0711, the last
    // one with `mode`).
    [[nodiscard]] Answer<Directory> open(const std::string& path, bool make = false,
                                         unsigned mode = 0711) const;
    // Removes that directory, which has to be empty; not a configured one.
    [[nodiscard]] Answer<void> remove(const std::string& path) const;

private:
    struct Root {
        std::string path;
        UniqueFd directory;
    };
    struct Found {
        const Root* root = nullptr;
        std::string_view rest;
    };
    [[nodiscard]] Found find(std::string_view path) const noexcept;
    std::vector<Root> roots_;
};

// Opens the file `name` in `directory`, over no symbolic link and to no device: it does not block on a FIFO, and is closed
// again if it is not a regular file (errno EINVAL). `flags` as of open(2). Invalid on failure; errno says why.
[[nodiscard]] UniqueFd open_file(int directory, const std::string& name, int flags,
                                 unsigned mode = 0) noexcept;

// What was done in a directory is on the disk. False: errno.
[[nodiscard]] bool sync_directory(int directory) noexcept;

// What is wrong with a name for a pool or a volume, for people; empty if nothing is.
[[nodiscard]] std::string_view flaw_of_name(std::string_view name) noexcept;

// Names of the store's own. An upload that was interrupted is a volume NAME.virtgate-partial; what begins with the other is
// not finished, and no volume.
inline constexpr std::string_view k_partial = ".virtgate-partial";
inline constexpr std::string_view k_unfinished = ".virtgate-new-";

// A name for something unfinished, that nobody can guess.
[[nodiscard]] std::string make_unfinished_name();

}  // namespace virtgate::workerd::store
