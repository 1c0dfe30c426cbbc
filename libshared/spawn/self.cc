// SPDX-License-Identifier: LGPL-2.1-or-later
// self - what a program of ours finds out about itself when it starts.
#include "libshared/spawn/self.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>

namespace virtgate::spawn {

Result<std::string> program_directory() {
    std::array<char, PATH_MAX> path;
    const ssize_t size = readlink("/proc/self/exe", path.data(), path.size());
    if (size < 0) return system_fault(errno, "cannot find my own executable in /proc");
    const std::string_view text{path.data(), static_cast<std::size_t>(size)};
    return std::string(text.substr(0, text.rfind('/')));
}

Done close_to_others() noexcept {
    const rlimit none{0, 0};
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        setrlimit(RLIMIT_CORE, &none) < 0)
        return system_fault(errno, "cannot close this process to others");
    return {};
}

Result<ByteVector> read_file(int fd, std::size_t limit) {
    ByteVector bytes;
    std::array<std::byte, 16384> buffer;
    for (;;) {
        const ssize_t n = pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(bytes.size()));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_fault(errno, "cannot read");
        if (n == 0) return bytes;
        if (bytes.size() + static_cast<std::size_t>(n) > limit)
            return system_fault(0, fmt::format("more than {} bytes", limit));
        bytes.insert(bytes.end(), buffer.begin(), buffer.begin() + n);
    }
}

}  // namespace virtgate::spawn
