// SPDX-License-Identifier: LGPL-2.1-or-later
// follow - a file of records that grows, also while it is rotated.
//
// The file is looked at several times a second. When another file has its name, the rest of the old one is read first;
// when it has become shorter, it is read from its beginning.
//
// Owns: the descriptor of the file that is read now.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>

#include "ctl/audit/reader.h"
#include "libshared/base/fd.h"

namespace virtgate::ctl::audit {

class Follower {
public:
    // Reads the file `path` from its beginning. Error: system's fault, if it cannot be opened.
    [[nodiscard]] static Result<Follower> open(const std::string& path);

    // Calls `take` with each line that has come since the last call; false from it ends the call.
    // The result is how many lines were too long so far. Error: system's fault, if the file cannot be read.
    [[nodiscard]] Result<std::uint64_t> poll(const std::function<bool(std::string_view)>& take);

private:
    Follower(std::string path, UniqueFd file) : path_(std::move(path)), file_(std::move(file)) {}
    [[nodiscard]] Done read_on(const std::function<bool(std::string_view)>& take);
    [[nodiscard]] bool renew();

    std::string path_;
    UniqueFd file_;
    off_t offset_ = 0;
    Lines lines_{};
};

}  // namespace virtgate::ctl::audit
