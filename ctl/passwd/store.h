// SPDX-License-Identifier: LGPL-2.1-or-later
// store - the file of users on the disk: read, and replaced in one step.
//
// A process that reads it just then gets the whole old file or the whole new one. Two that change it wait
// for each other: the lock is on the directory, since the file itself is a new one each time.
//
// Limits: userdb::k_file_max bytes.
// Owns:   while it lives, the lock.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "libshared/base/fd.h"
#include "libshared/userdb/users.h"

namespace virtgate::ctl::passwd {

class Store {
public:
    // Reads the file `path`, and takes the lock first if `change`. A file that does not exist is one
    // without users if `change`, and an error otherwise. Error: system's fault, also for a damaged file.
    static Result<Store> open(const std::string& path, bool change);

    [[nodiscard]] const userdb::Users& users() const noexcept { return users_; }
    userdb::Users& users() noexcept { return users_; }
    [[nodiscard]] bool is_new() const noexcept { return !keep_; }

    // Puts what users() has on the disk, with the owner, group and mode of the file that was there. A new
    // one is for its owner and, when root makes it and there is such a group, for the processes that check
    // passwords.
    Done save();

private:
    struct Access {
        uid_t uid;
        gid_t gid;
        mode_t mode;
    };
    Store(std::string path, userdb::Users users) : path_(std::move(path)), users_(std::move(users)) {}

    std::string path_;
    userdb::Users users_;
    UniqueFd directory_;
    std::optional<Access> keep_;
};

}  // namespace virtgate::ctl::passwd
