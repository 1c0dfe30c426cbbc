// SPDX-License-Identifier: LGPL-2.1-or-later
// path_fault - what is wrong with a file or a directory, in words that say which one is in the way and what to do.
//
// The rule for everything that decides what a daemon does (configuration, policy, certificates, keys, users): it belongs to
// root or to the user that reads it (to root, who reads for virtgate's users: or to one of these), nobody else may write to
// it, and the same holds for its directory, unless that has the sticky bit. Of a secret, nobody else may read it, either.
//
// Trust:  a path is the administrator's. Owners are numbers here: a process that has confined itself cannot ask for names.
// Limits: only the directory that the path names is looked at, not those above it; access control lists and security
//         modules are not seen.
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>

#include "libshared/base/result.h"

namespace virtgate {

// Who may have a file besides its owner.
enum class Secrecy : unsigned char {
    readable,  // everybody may know what is in it
    shared,    // passwords or a keytab: for its owner, and a group to read
    secret,    // a private key: for its owner alone
};

// An Error of the machine: `what` was tried with `path` ("cannot open") and failed with errno `number`. The text has
// what `number` means for that path: the directory that is missing, or whose owner and mode are in the way.
[[nodiscard]] tl::unexpected<Error> path_fault(int number, std::string_view what, const std::string& path);

// An Error of the machine, EADDRINUSE: another process has what this one wants. `text` says which.
[[nodiscard]] tl::unexpected<Error> taken(std::string text);

// Whether `facts` of `path` are by the rule. Error: system's fault with number 0, which says how to put it right.
[[nodiscard]] Done check_owner(const struct stat& facts, const std::string& path, Secrecy secrecy);

// The same for the open file `fd` and for the directory of its `path`. What is no file (a pipe, /dev/null) is not judged.
[[nodiscard]] Done check_trusted(int fd, const std::string& path, Secrecy secrecy = Secrecy::readable);

// What an administrator can do about errno `number` when it is a bound of the machine that was reached (EMFILE, ENFILE,
// EAGAIN of a fork, ENOMEM, ENOSPC): " (…)", or nothing.
[[nodiscard]] std::string_view advice_for(int number) noexcept;

}  // namespace virtgate
