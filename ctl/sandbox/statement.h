// SPDX-License-Identifier: LGPL-2.1-or-later
// statement - what a program of ours says when it has confined itself.
//
// Each program has an option "--sandbox": it takes from itself what it would take before it serves, writes to standard
// output what is in force then and which system calls are left, and ends. So the word is that of the program which
// runs, on this machine, and not that of a list.
//
// Source: show() in libshared/confine/plan.h writes the lines.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libshared/confine/report.h"

namespace virtgate::ctl::sandbox {

// One that can be asked.
struct Program {
    const char* name;      // "gate"
    const char* file;      // "virtgate-gate"
    const char* argument;  // "--sandbox"
    bool starts_others;    // as other users, where it is root's: it keeps what that takes
};

// All of them, those that start others before what they start.
[[nodiscard]] std::span<const Program> programs() noexcept;

struct Call {
    std::string name, reason;
    bool refused;  // its answer is an error, and the process lives
    bool operator==(const Call&) const = default;
};

struct Statement {
    std::string process;                     // Program::name
    std::vector<confine::Finding> findings;  // in the order of the steps; empty in a build with sanitizers
    std::vector<Call> calls;                 // one for each call and reason
};

enum class State : unsigned char {
    none,
    partly,
    whole,
    unmeant,  // this program is to do without
};

// What the findings come to for `layer`. None, too, if nothing is said of it.
[[nodiscard]] State state_of(const Statement& statement, confine::Layer layer) noexcept;

// Reads what a program wrote. Error: system's fault, at a line of another form: another version's program.
Result<Statement> parse_statement(std::string_view process, std::string_view text);

// Starts the program in `directory` as its supervisor would, apart from the user, and waits for its end, at most some
// seconds. Error: system's fault, with what it complained about.
Result<Statement> ask(const Program& program, const std::string& directory);

}  // namespace virtgate::ctl::sandbox
