// SPDX-License-Identifier: LGPL-2.1-or-later
// bundle - the directory with a key, its certificate and the authority's certificate.
//
//   PARENT/NAME/cacert.pem, servercert.pem, serverkey.pem     of a server
//   PARENT/NAME/cacert.pem, clientcert.pem, clientkey.pem     of a client: what libvirt's "pkipath" wants
//
// Owns:   nothing. The directory has mode 0700, the key 0600; it is there completely or not at all. What an
//         interrupted run leaves has a name with a dot in front.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "ctl/pki/certificate.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::pki {

inline constexpr mode_t k_key_mode = 0600, k_certificate_mode = 0644, k_directory_mode = 0700;

// Whom a certificate of an authority is for.
enum class Kind : unsigned char { server, client };
inline constexpr std::array k_kinds{Kind::server, Kind::client};

[[nodiscard]] constexpr std::string_view name_of(Kind kind) noexcept {
    return kind == Kind::server ? "server" : "client";
}
[[nodiscard]] constexpr Purpose purpose_of(Kind kind) noexcept {
    return kind == Kind::server ? Purpose::server : Purpose::client;
}

// The names of the files in the bundle, without directory.
[[nodiscard]] std::string certificate_file(Kind kind);
[[nodiscard]] std::string key_file(Kind kind);
inline constexpr char k_authority_file[] = "cacert.pem";

struct Bundle {
    Kind kind{};
    std::string_view key, certificate, authority;  // PEM
};

// Makes the directory PARENT/NAME. Error: system's fault; number is EEXIST when the name is taken.
Done write_bundle(const std::string& parent, const std::string& name, const Bundle& bundle);

// Puts a new directory in the place of PARENT/NAME, in one step, and moves the old one to `aside`.
Done exchange_bundle(const std::string& parent, const std::string& name, const Bundle& bundle,
                     const std::string& aside);

// Moves `from` to `to`, which must not exist; the two directories above it are made. Error: system's fault.
Done move_directory(const std::string& from, const std::string& to);

// Removes what interrupted runs left in `parent`. Nobody else may be at work there.
void remove_leavings(const std::string& parent) noexcept;

}  // namespace virtgate::ctl::pki
