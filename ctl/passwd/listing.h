// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - the users of a file, for people and for programs.
#pragma once

#include <string>

#include "libshared/userdb/users.h"

namespace virtgate::ctl::passwd {

// What `user` can log in with: "SCRAM-SHA-256", …, "PLAIN", "DIGEST-MD5 (REALM)".
[[nodiscard]] std::vector<std::string> list_mechanisms(const userdb::User& user);

// A table with one line for each user.
[[nodiscard]] std::string list_text(const userdb::Users& users);

// {"users": [{"name", "mechanisms": [], "realm" (of DIGEST-MD5, or null), "iterations", "changed"}]}
[[nodiscard]] std::string list_json(const userdb::Users& users);

}  // namespace virtgate::ctl::passwd
