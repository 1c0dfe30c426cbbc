// SPDX-License-Identifier: LGPL-2.1-or-later
// files - small text files that are there completely or not at all.
//
// Limits: a file that is read has at most k_file_max bytes.
// Owns:   nothing; a path is always absolute or relative to the working directory of the process.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <string>
#include <string_view>

#include "libshared/base/result.h"

namespace virtgate::ctl {

inline constexpr std::size_t k_file_max = 1048576;

// Makes the directory `path` with `mode` (less the umask) unless it exists.
// Error: system's fault, also when something that is no directory has the name.
Done make_directory(const std::string& path, mode_t mode);

// Makes the file `path` with exactly `mode`, and waits until its bytes are on the disk. A file that exists is
// never touched.
// Error: system's fault; its number is EEXIST when the file exists.
Done write_new_file(const std::string& path, std::string_view text, mode_t mode);

// Gives `path` the content `text` and `mode`, in one step: a reader sees the old file or the new one.
Done replace_file(const std::string& path, std::string_view text, mode_t mode);

// The same for a file whose owner, group and mode shall stay those of `like`, which it had before.
Done replace_file(const std::string& path, std::string_view text, const struct stat& like);

// Waits until the names in the directory `path` are on the disk.
Done sync_directory(const std::string& path);

// The text of the file `path`. Error: system's fault; number is ENOENT when there is none, EFBIG when it is
// too long.
Result<std::string> read_file(const std::string& path);

// `path` made absolute, without "." and "..", as far as it exists with symbolic links followed.
Result<std::string> absolute_path(const std::string& path);

}  // namespace virtgate::ctl
