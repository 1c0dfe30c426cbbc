// SPDX-License-Identifier: LGPL-2.1-or-later
// state_directory - the descriptions of pools, as they have to be there after a restart.
//
// One file UUID.xml for each pool. It is replaced as a whole: written under another name, on the disk, then renamed. That a
// pool is active counts until the machine is started again: the file has the boot's id with it.
//
// Trust:  the directory is this process's own; a file that does not say what it should is passed over, and said.
// Limits: k_pools_max pools.
// Owns:   the directory.
#pragma once

#include <vector>

#include "workerd/store/pool.h"

namespace virtgate::workerd::store {

// As many as a list in libvirt's protocol may have would be more than anybody has.
inline constexpr std::size_t k_pools_max = 1024;

class StateDirectory {
public:
    // Opens or makes it. `boot`: the id of this boot. Error: system's fault.
    static Result<StateDirectory> open(const std::string& path, std::string boot);

    struct Kept {
        Pool pool;
        bool was_active = false;  // since this boot
    };
    [[nodiscard]] std::vector<Kept> load() const;

    // For worker threads. `text`: what write() made of the pool, in the loop.
    [[nodiscard]] std::string write(const Pool& pool, bool is_active) const;
    [[nodiscard]] Answer<void> keep(const Uuid& uuid, const std::string& text) const;
    [[nodiscard]] Answer<void> forget(const Uuid& uuid) const;

private:
    StateDirectory(UniqueFd directory, std::string boot)
        : directory_(std::move(directory)), boot_(std::move(boot)) {}
    UniqueFd directory_;
    std::string boot_;
};

}  // namespace virtgate::workerd::store
