// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate passwd".
//
// Exit status: 0; 1 if "check" finds that a password does not fit, or the user to check or to delete is not
// there; 64 for a command line, a name or a password that cannot be; 71 if the machine, or the file, was in
// the way.
#pragma once

#include <memory>

namespace CLI {
class App;
}

namespace virtgate::ctl::passwd {

class Command {
public:
    // Adds the command and its own commands to `app`, which has to live as long as this.
    explicit Command(CLI::App& app);
    ~Command();
    Command(const Command&) = delete;
    Command& operator=(const Command&) = delete;

    // Whether the command line was for this command.
    [[nodiscard]] bool parsed() const;
    // Does it. The result is an exit status; what went wrong has been said on standard error.
    [[nodiscard]] int run() const;

private:
    struct Words;
    std::unique_ptr<Words> words_;
};

}  // namespace virtgate::ctl::passwd
