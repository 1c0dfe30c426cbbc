// SPDX-License-Identifier: LGPL-2.1-or-later
// error - RPC errors as libvirt's clients expect them.
//
// Source: the numbers are libvirt's public error codes and domains; a client shows the text and may act on the code
//         (3 means "not supported by this server", for example).
#pragma once

#include <string>
#include <string_view>

#include "libshared/rpc/header.h"

namespace virtgate::rpc {

// Codes and domains that our own processes use.
inline constexpr int k_code_internal = 1;
inline constexpr int k_code_no_support = 3;
inline constexpr int k_code_invalid_argument = 8;
inline constexpr int k_code_operation_failed = 9;
inline constexpr int k_code_operation_denied = 29;
inline constexpr int k_code_system = 38;
inline constexpr int k_code_rpc = 39;
inline constexpr int k_code_auth_failed = 45;
inline constexpr int k_code_operation_invalid = 55;
inline constexpr int k_code_resource_busy = 87;
inline constexpr int k_code_access_denied = 88;

inline constexpr int k_domain_none = 0;
inline constexpr int k_domain_rpc = 7;
inline constexpr int k_domain_lock_space = 51;
inline constexpr int k_domain_access = 55;

// All that an error reply says. libvirt's own errors have a template of their code ("resource busy: %s") and what was
// filled in; a client may look at either.
struct Failure {
    int code = k_code_internal;
    int domain = k_domain_rpc;
    std::string message{};       // for people, whole
    std::string pattern = "%s";  // str1
    std::string detail{};        // str2; empty: the message
    int int1 = -1;               // of k_code_system: errno
    int int2 = -1;
};

// The payload of an error reply; texts are cut at 4 KiB.
[[nodiscard]] ByteVector make_error_payload(const Failure& failure);

// The payload of an error reply: `text` as the message and as the detail, level "error".
[[nodiscard]] ByteVector make_error_payload(int code, std::string_view text, int domain = k_domain_rpc);

// A whole frame: the error reply to `call`.
[[nodiscard]] ByteVector make_error_reply(const Header& call, int code, std::string_view text,
                                          int domain = k_domain_rpc);

// The error frame that ends the stream which `stream` (program, procedure, serial) names.
[[nodiscard]] ByteVector make_stream_error(const Header& stream, int code, std::string_view text,
                                           int domain = k_domain_rpc);

// The message of an error payload, for logs; "unreadable error" if it is not one. Not escaped.
[[nodiscard]] std::string read_error_text(ByteView payload);

// What was filled into the template of its code (str2), or the message where there is none of that. As hostile as it was.
[[nodiscard]] std::string read_error_detail(ByteView payload);

// The code of an error payload; k_code_internal if it is not one.
[[nodiscard]] int read_error_code(ByteView payload) noexcept;

}  // namespace virtgate::rpc
