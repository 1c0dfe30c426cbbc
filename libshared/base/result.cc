// SPDX-License-Identifier: LGPL-2.1-or-later
// result - building errors, and ending on a bug.
#include "libshared/base/result.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace virtgate {

tl::unexpected<Error> peer_fault(std::string text) {
    return tl::unexpected<Error>(Error{Fault::peer, 0, std::move(text)});
}

tl::unexpected<Error> system_fault(int number, std::string text) {
    if (number != 0) {
        char buffer[128];
        text += ": ";
        text += strerror_r(number, buffer, sizeof buffer);
    }
    return tl::unexpected<Error>(Error{Fault::system, number, std::move(text)});
}

tl::unexpected<Error> wrap(Error error, std::string_view context) {
    error.text = fmt::format("{}: {}", context, error.text);
    return tl::unexpected<Error>(std::move(error));
}

void panic(std::string_view text) noexcept {
    // No allocation and no formatting here: the state of the process is not to be trusted any more.
    static constexpr std::string_view k_head = "<2>panic: ";
    static_cast<void>(!write(STDERR_FILENO, k_head.data(), k_head.size()));
    static_cast<void>(!write(STDERR_FILENO, text.data(), text.size()));
    static_cast<void>(!write(STDERR_FILENO, "\n", 1));
    std::abort();
}

}  // namespace virtgate
