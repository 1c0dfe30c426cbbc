// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate policy".
//
// Exit status: 0; 1 if the policy has errors, a call is refused, a test fails, policies differ or something
// is unused; 2 if there are warnings and --strict was given, or if there is nothing that could be answered;
// 64 for a command line that is wrong; 71 if the machine was in the way.
#pragma once

#include <memory>

namespace CLI {
class App;
}

namespace virtgate::ctl::policy {

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

}  // namespace virtgate::ctl::policy
