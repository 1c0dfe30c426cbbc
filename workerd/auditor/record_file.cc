// SPDX-License-Identifier: LGPL-2.1-or-later
// record_file - records as lines of JSON at the end of a file.
#include "workerd/auditor/record_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace virtgate::workerd::auditor {

namespace {

// True if the file at `path`, which is the one of `ours`, ends in the middle of a line, or if that cannot be found out:
// an empty line too many is no harm. What is written to is not open for reading.
bool ends_torn(const std::string& path, const struct stat& ours) noexcept {
    if (ours.st_size == 0) return false;
    const UniqueFd file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK)};
    struct stat status {};
    if (!file || fstat(file.get(), &status) < 0) return true;
    if (status.st_dev != ours.st_dev || status.st_ino != ours.st_ino) return true;
    char last = 0;
    return pread(file.get(), &last, 1, ours.st_size - 1) != 1 || last != '\n';
}

}  // namespace

Done RecordFile::reopen() {
    // O_NONBLOCK: a pipe without a reader would never be opened.
    constexpr int k_flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
    UniqueFd file{open(path_.c_str(), k_flags, 0640)};
    struct stat status {};
    if (!file || fstat(file.get(), &status) < 0) return system_fault(errno, "cannot open it");
    if (!S_ISREG(status.st_mode) && !S_ISCHR(status.st_mode)) return system_fault(0, "it is not a file");
    is_torn_ = S_ISREG(status.st_mode) && ends_torn(path_, status);
    file_ = std::move(file);
    return {};
}

Done RecordFile::put_line(std::string_view line) {
    if (!file_)
        if (Done done = reopen(); !done) return done;
    const std::string repaired = is_torn_ ? "\n" + std::string{line} : std::string{};
    if (is_torn_) line = repaired;
    ssize_t size;
    do {
        size = write(file_.get(), line.data(), line.size());
    } while (size < 0 && errno == EINTR);
    if (size < 0) return system_fault(errno, "cannot write");
    const auto written = static_cast<std::size_t>(size);
    if (written == line.size()) {
        is_torn_ = false;
        return {};
    }
    // Of a line that was torn before, the newline is there unless nothing is.
    if (written != 0) is_torn_ = true;
    return system_fault(ENOSPC, "only a part could be written");
}

}  // namespace virtgate::workerd::auditor
