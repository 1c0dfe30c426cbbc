// SPDX-License-Identifier: LGPL-2.1-or-later
// fd_store - descriptors that a daemon leaves here, so that they outlive it.
#include "ctl/up/fd_store.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace virtgate::ctl::up {

namespace {

constexpr int k_kcmp_file = 0;  // linux/kcmp.h

// Where the kernel does not say, they are two.
bool is_same_file(int a, int b) noexcept {
    return syscall(SYS_kcmp, getpid(), getpid(), k_kcmp_file, a, b) == 0;
}

bool is_name(const std::string& name) noexcept {
    return !name.empty() && name.size() <= FdStore::k_name_max &&
           std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f && c != ':'; });
}

}  // namespace

bool FdStore::keep(const std::string& name, UniqueFd fd) {
    if (!is_name(name)) return false;
    const auto [first, last] = kept_.equal_range(name);
    if (std::any_of(first, last, [&](const auto& one) { return is_same_file(one.second.get(), fd.get()); }))
        return true;
    if (kept_.size() >= k_fds_max) return false;
    kept_.emplace(name, std::move(fd));
    return true;
}

void FdStore::remove(const std::string& name) noexcept { kept_.erase(name); }

std::vector<spawn::ListenFd> FdStore::list() const {
    std::vector<spawn::ListenFd> fds;
    fds.reserve(kept_.size());
    for (const auto& [name, fd] : kept_) fds.push_back({name, fd.get()});
    return fds;
}

}  // namespace virtgate::ctl::up
