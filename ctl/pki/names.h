// SPDX-License-Identifier: LGPL-2.1-or-later
// names - the names that certificates are made for, checked before anything is made.
//
// Trust:  names come from an administrator's command line. What could be read in two ways by somebody who
//         compares subjects as text is refused all the same.
// Limits: a common name has at most 64 bytes (X.520), a host name 253.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libshared/base/result.h"

namespace virtgate::ctl::pki {

// What a server is called, sorted by what it is in a certificate.
struct ServerNames {
    std::string common_name;             // the first name
    std::vector<std::string> dns;        // lower case ASCII
    std::vector<std::string> addresses;  // IPv4 and IPv6 in their usual text form
};

// Sorts host names and addresses; brackets around an address are dropped, names of other alphabets get their
// ASCII form, and what is there twice is there once. Error: system's fault, with the name that is no name.
Result<ServerNames> parse_server_names(const std::vector<std::string>& words);

// Checks a part of a subject, such as an organisation; `what` begins the message. Error: system's fault.
Done check_subject_part(std::string_view what, std::string_view value);

// Checks the common name of a client, which also names a directory. Error: system's fault.
Done check_client_name(std::string_view name);

// The name of the directory for a certificate: the common name, but "_" for the star of "*.example.org".
// Empty if there can be none, which no name that passed the checks above has.
[[nodiscard]] std::string directory_name(std::string_view common_name);

}  // namespace virtgate::ctl::pki
