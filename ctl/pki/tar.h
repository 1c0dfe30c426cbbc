// SPDX-License-Identifier: LGPL-2.1-or-later
// tar - an archive of a few small files.
//
// The format is ustar (POSIX.1-1988, in IEEE Std 1003.1 under pax), which every tar unpacks.
//
// Limits: names of at most 100 bytes, without directories; contents of less than 8 GiB.
#pragma once

#include <sys/types.h>

#include <ctime>
#include <string>
#include <string_view>
#include <vector>

namespace virtgate::ctl::pki {

struct TarMember {
    std::string name;
    mode_t mode = 0600;
    std::string_view content;
};

// The archive; the files in it belong to nobody in particular (user 0) and were changed at `when`, in seconds
// since 1970. Whoever unpacks it owns them, unless he is root.
[[nodiscard]] std::string make_tar(const std::vector<TarMember>& members, std::time_t when);

}  // namespace virtgate::ctl::pki
