// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - what was found out about the confinement, for people and for programs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ctl/sandbox/machine.h"
#include "ctl/sandbox/running.h"
#include "ctl/sandbox/statement.h"

namespace virtgate::ctl::sandbox {

struct Findings {
    Machine machine;
    std::vector<Statement> statements;
    std::vector<Running> running;

    // Nothing is missing that this kernel could do, neither of what the programs take from themselves nor of a process
    // that runs.
    [[nodiscard]] bool is_complete() const noexcept;
};

// Tables, and below them what is missing and why. Ends with a newline.
[[nodiscard]] std::string list_findings(const Findings& findings);

// For each of the statements, the system calls that are left, with the reasons; by name.
[[nodiscard]] std::string list_calls(const std::vector<Statement>& statements);

// One JSON object, and a newline. See virtgate-sandbox(1).
[[nodiscard]] std::string to_json(const Findings& findings);

// Only the calls of these: a JSON object with a key for each.
[[nodiscard]] std::string calls_to_json(const std::vector<Statement>& statements);

}  // namespace virtgate::ctl::sandbox
