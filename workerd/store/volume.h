// SPDX-License-Identifier: LGPL-2.1-or-later
// volume - a file in a pool's directory, as a volume: what it is, found by looking at it.
//
// Trust:  a file's content may be anybody's; its header says which format it has, as in libvirt's directory pools.
// Limits: k_volumes_max of one pool; more are not listed.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <ctime>
#include <map>
#include <optional>
#include <string>

#include "workerd/store/failures.h"

namespace virtgate::workerd::store {

enum class Format : unsigned char { raw, qcow2 };
[[nodiscard]] std::string_view to_text(Format format) noexcept;

struct Volume {
    std::string name{};
    Format format = Format::raw;
    std::uint64_t capacity = 0;    // bytes that a guest sees
    std::uint64_t allocation = 0;  // bytes on the disk
    std::uint64_t physical = 0;    // bytes that the file ends at
    unsigned mode = 0;
    uid_t uid = 0;
    gid_t gid = 0;
    timespec read{}, written{}, changed{};
    std::string compat{};  // of qcow2: "1.1"
    bool has_backing_file = false;
};

// As many as a list in libvirt's protocol may have.
inline constexpr std::size_t k_volumes_max = 16384;
using Volumes = std::map<std::string, Volume, std::less<>>;

// The volume that the file `name` of `directory` is now. No value if there is none, or it is none. For a worker thread.
[[nodiscard]] std::optional<Volume> look_at(int directory, const std::string& name);

// All of them. `tidies`: nothing is under way there, so that what is not finished never will be, and is removed. For a worker
// thread.
[[nodiscard]] Answer<Volumes> look_around(int directory, bool tidies);

// Of the file system that the directory is in.
struct Space {
    std::uint64_t capacity = 0, allocation = 0, available = 0;
};
[[nodiscard]] Answer<Space> measure(int directory);

}  // namespace virtgate::workerd::store
