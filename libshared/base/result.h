// SPDX-License-Identifier: LGPL-2.1-or-later
// result - the outcome of a call that can fail, and whose fault a failure is.
//
// There are three kinds of failure, and they are never mixed:
//   peer's fault    what somebody sent is wrong: refuse it, log at `info`.
//   system's fault  the machine or its configuration is in the way: log at `error` with errno.
//   our bug         panic(): the process ends, its parent restarts it.
// A Result carries the first two. The third is not a value, since nobody could handle it.
//
// Limits: an Error's text is for an administrator's log or a peer's error reply; it is built only on failure.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace virtgate {

// Who has to act on a failure.
enum class Fault : unsigned char {
    peer,    // the other side of a connection broke a rule
    system,  // a system call, file, library or the configuration failed
};

struct Error {
    Fault fault = Fault::system;
    int number = 0;    // errno of the failed system call, or 0
    std::string text;  // one line, without a final newline or full stop
};

// tl::expected until the compilers that we support have std::expected in C++20's successor.
template <class T>
using Result = tl::expected<T, Error>;

using Done = Result<void>;

// An Error that a peer caused. `text` says what it did wrong.
[[nodiscard]] tl::unexpected<Error> peer_fault(std::string text);

// An Error of the machine: `text` says what was tried, `number` is errno (its description is appended) or 0.
[[nodiscard]] tl::unexpected<Error> system_fault(int number, std::string text);

// Puts `context` and ": " before the text of `error`, and passes it on.
[[nodiscard]] tl::unexpected<Error> wrap(Error error, std::string_view context);

// Says that an invariant of our own does not hold and aborts. Never for anything that a peer or the
// machine can cause.
[[noreturn]] void panic(std::string_view text) noexcept;

// panic() unless `holds`.
inline void require(bool holds, std::string_view text) noexcept {
    if (!holds) [[unlikely]]
        panic(text);
}

}  // namespace virtgate
