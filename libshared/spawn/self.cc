// SPDX-License-Identifier: LGPL-2.1-or-later
// self - what a program of ours finds out about itself when it starts.
#include "libshared/spawn/self.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "libshared/base/log.h"
#include "libshared/base/path_fault.h"
#include "libshared/spawn/exit.h"

namespace virtgate::spawn {

Result<std::string> program_path() {
    std::array<char, PATH_MAX> path;
    const ssize_t size = readlink("/proc/self/exe", path.data(), path.size());
    if (size < 0) return system_fault(errno, "cannot find my own executable in /proc");
    return std::string(path.data(), static_cast<std::size_t>(size));
}

Result<std::string> program_directory() {
    auto path = program_path();
    if (path) path->resize(path->rfind('/'));
    return path;
}

Done close_to_others() noexcept {
    const rlimit none{0, 0};
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        setrlimit(RLIMIT_CORE, &none) < 0)
        return system_fault(errno, "cannot close this process to others");
    return {};
}

std::size_t raise_descriptor_limit() noexcept {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    limit.rlim_cur = limit.rlim_max;
    static_cast<void>(setrlimit(RLIMIT_NOFILE, &limit));
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

int complain(const Error& error, int status) {
    std::string text = error.text;
    // Those of a file have it already.
    if (const auto advice = advice_for(error.number);
        (error.number == EMFILE || error.number == ENFILE || error.number == ENOMEM) &&
        !text.ends_with(advice))
        text += advice;
    std::string_view rest = text;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        Log{}.error("{}", rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return status_of(error, status);
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
