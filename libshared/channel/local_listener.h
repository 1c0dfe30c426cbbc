// SPDX-License-Identifier: LGPL-2.1-or-later
// local_listener - a listening UNIX socket with a name in the file system.
//
// The name appears with its final mode and group before anybody can connect. A socket that a dead process left there
// is replaced; one that is served, or anything that is no socket, stays and is an error. At the end the name is
// removed, if it is still ours.
//
// Owns: the socket and its name.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "libshared/base/fd.h"

namespace virtgate::channel {

class LocalListener {
public:
    struct Options {
        int type = 0;     // SOCK_STREAM or SOCK_SEQPACKET
        mode_t mode = 0;  // of the name: who may connect needs w
        int backlog = 0;
        std::optional<gid_t> group{};  // to give the name to
    };
    // Listens at `path`; non-blocking, close-on-exec. Not while other threads create files: the umask is the
    // process's. Error: system's fault.
    [[nodiscard]] static Result<LocalListener> open(const std::string& path, const Options& options);

    // Owns `socket`, which listens already, and its name `path` in the file system; an empty `path` is somebody else's.
    [[nodiscard]] static LocalListener adopt(UniqueFd socket, std::string path);

    LocalListener() = default;
    LocalListener(LocalListener&& other) noexcept;
    LocalListener& operator=(LocalListener&& other) noexcept;
    ~LocalListener() { remove(); }

    [[nodiscard]] int get() const noexcept { return socket_.get(); }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    explicit operator bool() const noexcept { return static_cast<bool>(socket_); }

private:
    void note_name(std::string path);
    void remove() noexcept;

    std::string path_;
    UniqueFd socket_;
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

}  // namespace virtgate::channel
