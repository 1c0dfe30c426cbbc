// SPDX-License-Identifier: LGPL-2.1-or-later
// file_watch - notice that one of some files was changed or replaced.
//
// Files that belong together are written one after the other, so the change is reported when nothing has happened for
// k_settle. A look at the files themselves every k_look finds what the kernel does not report: changes behind
// symbolic links, and on network file systems.
//
// Trust:  the files are the administrator's.
// Owns:   the inotify descriptor.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libshared/base/fd.h"
#include "libshared/base/log.h"
#include "libshared/loop/loop.h"

namespace virtgate::netd {

class FileWatch {
public:
    static constexpr Milliseconds k_settle{500};
    static constexpr Milliseconds k_look{60'000};

    // `changed` is called from the loop, at most once for each change.
    FileWatch(loop::Loop& loop, loop::Target<> changed);

    // Watches `paths` (absolute) from now on, as they are now. Files that are not there count, too.
    void set(std::vector<std::string> paths);

private:
    // What tells one state of a file from another.
    struct State {
        std::uint64_t device = 0, inode = 0, size = 0;
        std::int64_t seconds = 0, nanoseconds = 0;
        bool operator==(const State&) const = default;
    };
    static State look_at(const std::string& path) noexcept;
    void on_event(loop::Want ready) noexcept;
    void on_settled() noexcept;
    void on_look() noexcept;
    void compare() noexcept;

    Log log_{"files"};
    loop::Target<> changed_;
    UniqueFd inotify_;
    std::vector<int> marks_;
    std::vector<std::string> paths_;
    std::vector<State> states_;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> settled_, look_;
};

}  // namespace virtgate::netd
