// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate audit".
//
// Exit status: 0 if a record was shown; 1 if there is none that fits; 64 for a command line that is wrong; 71 if the file
// cannot be read. With --follow it runs until a signal ends it.
#pragma once

#include <memory>

namespace CLI {
class App;
}

namespace virtgate::ctl::audit {

class Command {
public:
    // Adds the command to `app`, which has to live as long as this.
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

}  // namespace virtgate::ctl::audit
