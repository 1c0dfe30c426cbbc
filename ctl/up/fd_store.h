// SPDX-License-Identifier: LGPL-2.1-or-later
// fd_store - descriptors that a daemon leaves here, so that they outlive it; as systemd's descriptor store does.
//
// Source: sd_pid_notify_with_fds(3), "FDSTORE". Several descriptors may have one name; a name is removed as a whole.
//
// Trust:  the daemon is ours; what it leaves is not looked at, only counted.
// Limits: k_fds_max descriptors; what is more is closed, as systemd does it.
// Owns:   the descriptors.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "libshared/base/fd.h"
#include "libshared/spawn/child.h"

namespace virtgate::ctl::up {

class FdStore {
public:
    // All slots of the lock daemon's holder, its listeners, and the queue from its locker.
    static constexpr std::size_t k_fds_max = 32'768 + 2 + 1;
    // As systemd's own; there may be no colon in it.
    static constexpr std::size_t k_name_max = 255;

    // Keeps `fd` as `name`. What is kept as `name` and is the same open file already is not
    // kept twice. False: it is one too many, or the
    // name cannot be one.
    bool keep(const std::string& name, UniqueFd fd);
    // Closes all that are kept as `name`.
    void remove(const std::string& name) noexcept;
    void clear() noexcept { kept_.clear(); }

    [[nodiscard]] std::size_t count() const noexcept { return kept_.size(); }
    // What the daemon gets when it is started again; borrowed, until anything here changes.
    [[nodiscard]] std::vector<spawn::ListenFd> list() const;

private:
    std::multimap<std::string, UniqueFd> kept_;
};

}  // namespace virtgate::ctl::up
