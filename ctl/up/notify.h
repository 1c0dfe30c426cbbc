// SPDX-License-Identifier: LGPL-2.1-or-later
// notify - hears from daemons that they are ready, and takes descriptors that they leave, as systemd does (sd_notify(3)).
//
// Trust:  any process of this user may write to the socket; a notice carries the pid that the kernel vouches
//         for, and the caller believes its own children alone.
// Limits: a notice has at most 4,096 bytes and one descriptor; one with more is dropped.
// Owns:   the socket and its file, which it removes at the end.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libshared/base/fd.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::up {

struct Notice {
    pid_t pid = 0;
    bool ready = false;                     // READY=1
    std::optional<std::uint16_t> tls_port;  // X_VIRTGATE_TLS_PORT=N
    std::optional<std::uint16_t> tcp_port;  // X_VIRTGATE_TCP_PORT=N
    std::string status;                     // STATUS=text
    bool stores = false;                    // FDSTORE=1: keep `fd` as `name`
    bool removes = false;                   // FDSTOREREMOVE=1: close what is kept as `name`
    std::string name;                       // FDNAME=text; "stored" where that is missing, as with systemd
    UniqueFd fd;                            // that came along; with BARRIER=1 its end is the answer
};

// Reads the lines of one notice; what is unknown or wrong is left out. `pid` and `fd` are not set.
[[nodiscard]] Notice parse_notice(std::string_view text);

class NotifySocket {
public:
    // Binds to `path`; a file of that name, left by a process that was killed, is replaced.
    static Result<NotifySocket> make(const std::string& path);
    NotifySocket(NotifySocket&&) noexcept = default;
    NotifySocket& operator=(NotifySocket&&) = delete;
    ~NotifySocket();

    // To be watched for reading.
    [[nodiscard]] int fd() const noexcept { return socket_.get(); }
    // The next notice, or nothing when none waits.
    [[nodiscard]] std::optional<Notice> receive();

private:
    NotifySocket(UniqueFd socket, std::string path) : socket_(std::move(socket)), path_(std::move(path)) {}
    UniqueFd socket_;
    std::string path_;
};

}  // namespace virtgate::ctl::up
