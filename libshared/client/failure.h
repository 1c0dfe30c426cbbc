// SPDX-License-Identifier: LGPL-2.1-or-later
// failure - why something that was asked of a server did not happen.
//
// A call can fail at the server, which says so with libvirt's error (Cause::remote and RemoteError), or on
// the way. What happened to a call that failed on the way is known for some causes only:
//   invalid, unsupported, busy    it was not sent
//   timeout, cancelled, closed    it may have been sent, and done or not
//   remote                        it was answered
// The library never repeats a call by itself.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "libshared/base/bytes.h"

namespace virtgate::client {

enum class Cause : unsigned char {
    remote,       // the server answered with an error
    invalid,      // a URI, an argument or a setting is wrong
    unsupported,  // this library or this server cannot do it
    system,       // a system call, a file or a library failed; `number` may have errno
    unreachable,  // there is nobody at that address, or the tunnel to it failed
    untrusted,    // the server could not prove who it is, or refused our certificate
    denied,       // no login: unknown user, wrong password, no mechanism in common
    protocol,     // the server broke the rules of the protocol; the connection is closed
    closed,       // the connection was closed, by either side, before the answer came
    timeout,      // the deadline passed
    cancelled,    // the caller gave it up
    busy,         // a limit of this library is reached (Limits in connection.h)
};

// "remote", "invalid", …
[[nodiscard]] std::string_view to_text(Cause cause) noexcept;

// What libvirt's error structure says. Absent texts are empty.
// Source: docs/protocol.md, error structure; the numbers are libvirt's public codes, domains and levels.
struct RemoteError {
    int code = 0;
    int domain = 0;
    int level = 2;        // 1 warning, 2 error
    std::string message;  // for people; the server's own words, not escaped
    std::string str1, str2, str3;
    int int1 = -1, int2 = -1;  // of code 38 (system error): int1 is errno

    bool operator==(const RemoteError&) const = default;
};

struct Failure {
    Cause cause = Cause::system;
    std::string text;      // one line without a final full stop; what a server said in it is escaped
    int number = 0;        // errno, or 0
    RemoteError remote{};  // of Cause::remote

    // True for libvirt's error `code` from the server.
    [[nodiscard]] bool is(int code) const noexcept { return cause == Cause::remote && remote.code == code; }
};

template <class T>
using Result = tl::expected<T, Failure>;
using Done = Result<void>;

// A failure as a Result takes it. fail_system() appends what errno `number` means.
[[nodiscard]] tl::unexpected<Failure> fail(Cause cause, std::string text);
[[nodiscard]] tl::unexpected<Failure> fail_system(int number, std::string text);
[[nodiscard]] tl::unexpected<Failure> fail(Failure failure);

// The failure in the payload of an error reply, or Cause::protocol if it is not libvirt's error structure. A
// "no such procedure" becomes code 3 (not supported), as libvirt's own client has it.
[[nodiscard]] Failure read_remote_error(ByteView payload);

}  // namespace virtgate::client
