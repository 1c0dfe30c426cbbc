// SPDX-License-Identifier: LGPL-2.1-or-later
// command - one command of virtgate: "up", "pki", "policy" and so on.
//
// The room of a command has a file "command" with add_command(), which adds the command, its options and its own
// commands to the command line, and makes the object that does what was asked for.
#pragma once

#include <memory>

namespace CLI {
class App;
}

namespace virtgate::ctl {

class Command {
public:
    Command() = default;
    Command(const Command&) = delete;
    Command& operator=(const Command&) = delete;
    virtual ~Command() = default;

    // Whether the command line, which has been read, was for this command.
    [[nodiscard]] virtual bool parsed() const = 0;
    // Does it. The result is an exit status; what went wrong has been said on standard error.
    [[nodiscard]] virtual int run() const = 0;
};

}  // namespace virtgate::ctl
