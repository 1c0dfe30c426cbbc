// SPDX-License-Identifier: LGPL-2.1-or-later
// file_watch - notice that one of some files was changed or replaced.
#include "netd/file_watch.h"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <set>

namespace virtgate::netd {

FileWatch::FileWatch(loop::Loop& loop, loop::Target<> changed)
    : changed_(changed),
      inotify_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)),
      settled_(loop.timer(loop::to<&FileWatch::on_settled>(*this))),
      look_(loop.timer(loop::to<&FileWatch::on_look>(*this))) {
    if (inotify_)
        watch_ = loop.watch(inotify_.get(), loop::Want::read, loop::to<&FileWatch::on_event>(*this));
    else
        log_.warning("changed files are noticed late: the kernel has no inotify descriptor left");
}

FileWatch::State FileWatch::look_at(const std::string& path) noexcept {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) return {};
    return {.device = status.st_dev,
            .inode = status.st_ino,
            .size = static_cast<std::uint64_t>(status.st_size),
            .seconds = status.st_mtim.tv_sec,
            .nanoseconds = status.st_mtim.tv_nsec};
}

// The directories are watched, not the files: a file that is replaced by another one would take its watch along.
void FileWatch::set(std::vector<std::string> paths) {
    for (const int mark : marks_) inotify_rm_watch(inotify_.get(), mark);
    marks_.clear();
    paths_ = std::move(paths);
    states_.clear();
    std::set<std::string> directories;
    for (const std::string& path : paths_) {
        states_.push_back(look_at(path));
        directories.insert(path.substr(0, std::max<std::size_t>(path.rfind('/'), 1)));
    }
    constexpr std::uint32_t k_events = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB;
    for (const std::string& directory : directories) {
        const int mark = inotify_ ? inotify_add_watch(inotify_.get(), directory.c_str(), k_events) : -1;
        if (mark >= 0) marks_.push_back(mark);
    }
    look_->start(k_look);
}

void FileWatch::on_event(loop::Want) noexcept {
    alignas(inotify_event) std::array<char, 4096> events;
    while (read(inotify_.get(), events.data(), events.size()) > 0) {
    }
    settled_->start(k_settle);
}

void FileWatch::on_settled() noexcept { compare(); }

void FileWatch::on_look() noexcept {
    look_->start(k_look);
    // A change that is just being written is reported when it has settled.
    if (!settled_->running()) compare();
}

void FileWatch::compare() noexcept {
    bool is_changed = false;
    for (std::size_t i = 0; i < paths_.size(); ++i) {
        const State now = look_at(paths_[i]);
        if (now == states_[i]) continue;
        log_.info("{} has changed", paths_[i]);
        states_[i] = now;
        is_changed = true;
    }
    if (is_changed) changed_();
}

}  // namespace virtgate::netd
