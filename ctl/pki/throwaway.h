// SPDX-License-Identifier: LGPL-2.1-or-later
// throwaway - a certificate authority with one server and one client, for trying things out on this machine.
//
// A store (store.h) like any other, so that "virtgate pki" can do more with it, with two short names:
//   DIR/ca/cacert.pem            DIR/ca/cakey.pem, and the rest of an authority
//   DIR/server                   -> servers/localhost, for localhost, 127.0.0.1 and ::1
//   DIR/client                   -> clients/admin, with the names that libvirt's clients look for in the
//                                directory of their URI's "pkipath"
//
// Limits: valid from five minutes ago, for thirty days. There is no renewal of the authority: the directory
//         is removed and made anew.
// Owns:   nothing. Keys have mode 0600 and lie in directories of mode 0700; a file that exists is never
//         written to.
#pragma once

#include <ctime>
#include <string>

#include "ctl/pki/key_type.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::pki {

// The subject of the client's certificate, which a policy has to know.
inline constexpr char k_client_name[] = "admin";
inline constexpr char k_organisation[] = "virtgate up";

struct Throwaway {
    bool made = false;        // by this call; else it was there
    KeyType key_type{};       // of the server's key
    std::time_t expires = 0;  // the last second in which all of its certificates are valid
};

// Makes the directory `directory` with everything in it, in one step; or, when it exists, checks that its
// certificates can be read, belong to its authority and are valid at `now` (seconds since 1970).
// `type` is the kind of the three keys when they are made. Error: system's fault; the text says what to do.
Result<Throwaway> ensure_throwaway(const std::string& directory, KeyType type, std::time_t now);

}  // namespace virtgate::ctl::pki
