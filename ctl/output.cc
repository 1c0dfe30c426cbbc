// SPDX-License-Identifier: LGPL-2.1-or-later
// output - what a command tells its user.
#include "ctl/output.h"

#include <fmt/format.h>

#include <cstdio>

#include "libshared/spawn/exit.h"

namespace virtgate::ctl {

int say(std::string_view text, int status) {
    fmt::print(stderr, "virtgate: {}\n", text);
    return status;
}

int say(const Error& error, int otherwise) { return say(error.text, spawn::status_of(error, otherwise)); }

int show(std::string_view text, int status) {
    const bool good =
        std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
    return good ? status : say("cannot write to standard output", spawn::k_exit_input_output);
}

}  // namespace virtgate::ctl
