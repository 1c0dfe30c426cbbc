// SPDX-License-Identifier: LGPL-2.1-or-later
// roots - the configured directories beneath which something may be, and the way down from them.
#include "lockd/locker/roots.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace virtgate::lockd::locker {

Roots::Roots(std::vector<std::string> paths) : paths_(std::move(paths)) {
    for (std::string& path : paths_)
        while (path.size() > 1 && path.back() == '/') path.pop_back();
}

std::optional<Roots::Found> Roots::find(std::string_view path) const noexcept {
    std::optional<Found> best;
    for (const std::string& root : paths_) {
        if (!path.starts_with(root) || (best && best->root->size() >= root.size())) continue;
        std::string_view rest = path.substr(root.size());
        if (root != "/" && !rest.empty() && rest.front() != '/') continue;
        while (!rest.empty() && rest.front() == '/') rest.remove_prefix(1);
        best = Found{&root, rest};
    }
    return best;
}

namespace {

UniqueFd resolve(int directory, const std::string& name, int flags, unsigned mode,
                 std::uint64_t how_to) noexcept {
    open_how how{};
    how.flags = static_cast<unsigned>(flags) | O_CLOEXEC;
    how.mode = mode;
    how.resolve = how_to;
    for (;;) {
        const long fd = syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how);
        // EAGAIN: something was renamed while the kernel looked whether the way leads out.
        if (fd >= 0 || (errno != EINTR && errno != EAGAIN)) return UniqueFd{static_cast<int>(fd)};
    }
}

}  // namespace

UniqueFd open_beneath(int directory, const std::string& name, int flags, unsigned mode) noexcept {
    return resolve(directory, name, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

UniqueFd open_without_links(const std::string& path, int flags) noexcept {
    return resolve(AT_FDCWD, path, flags, 0, RESOLVE_NO_SYMLINKS);
}

std::string reason_of(int number) {
    switch (number) {
        case ELOOP: return "a symbolic link is in the path";
        case EXDEV: return "the path leads out of the configured directory";
        case EACCES: return "Permission denied, or a directory that was mounted or replaced after the start";
        default: return std::strerror(number);
    }
}

Answer<UniqueFd> open_directory(const Roots::Found& found, bool make, std::string_view what) {
    const auto fail = [&](int number) {
        return tl::make_unexpected(system_failure(number, what, reason_of(number)));
    };
    UniqueFd here{open(found.root->c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!here) return fail(errno);
    for (std::string_view rest = found.rest; !rest.empty();) {
        const std::string step(rest.substr(0, rest.find('/')));
        rest.remove_prefix(step.size());
        while (!rest.empty() && rest.front() == '/') rest.remove_prefix(1);
        if (step == "..") return fail(EXDEV);
        UniqueFd next = open_beneath(here.get(), step, O_PATH | O_DIRECTORY);
        if (!next && errno == ENOENT && make) {
            if (mkdirat(here.get(), step.c_str(), S_IRWXU) < 0 && errno != EEXIST) return fail(errno);
            next = open_beneath(here.get(), step, O_PATH | O_DIRECTORY);
        }
        // Somebody else's link is no directory for openat2, and is a link for us.
        if (!next) return fail(errno);
        here = std::move(next);
    }
    return here;
}

}  // namespace virtgate::lockd::locker
