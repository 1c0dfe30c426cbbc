// SPDX-License-Identifier: LGPL-2.1-or-later
// pid_file - one instance of a daemon, and a file that says which process it is.
//
// What counts is not that the file exists, nor the number in it, but a lock on it, which the kernel gives up when the
// process ends, however that happens. So a file that was left behind is taken over, whatever is in it, and there is no
// moment in which two processes have it: who has the lock looks whether the file still has its name.
//
// Trust:  the directory is the administrator's: who may rename in it can have two daemons run.
// Owns:   the file, its lock and its name. The lock is the process's (fcntl(2)): no other code of this process may open
//         the file.
// Source: fcntl(2), F_SETLK; hier(7) for the contents: the number in decimal digits and a line end.
#pragma once

#include <sys/types.h>

#include <string>

#include "libshared/base/fd.h"

namespace virtgate::spawn {

class PidFile {
public:
    // Error: system's fault: the directory is missing or not writable; what is there is no file; another process has it,
    // which the message names.
    [[nodiscard]] static Result<PidFile> claim(const std::string& path);

    PidFile(PidFile&& other) noexcept : path_(std::move(other.path_)), file_(std::move(other.file_)) {}
    PidFile& operator=(PidFile&&) = delete;
    ~PidFile();

private:
    PidFile(std::string path, UniqueFd file) : path_(std::move(path)), file_(std::move(file)) {}
    std::string path_;
    UniqueFd file_;
};

}  // namespace virtgate::spawn
