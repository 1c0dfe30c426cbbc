// SPDX-License-Identifier: LGPL-2.1-or-later
// plan - what one kind of process keeps, as data, and the steps that take everything else from it.
//
// Each process has a function that returns its Plan; the order of the steps is written once, in plan.cc.
//
//     (loads, opens, starts its loops) → begin() → (threads) → serve() → (the first byte of a client)
//
// begin() does what belongs to a thread and has to come before the second one, and what opens files. serve() puts the
// filter in force in all threads, and looks at what the kernel says of the process.
//
// Trust:  between main() and serve() a process reads what its parent and the administrator wrote, no byte of a peer. So
//         there is one filter and not two: each one in force costs time in every system call.
// Limits: a step that fails ends the process (status 71). What the kernel lacks is left out and said, or ends it too:
//         Mode. A build with sanitizers is not confined, since these make calls of their own.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libshared/confine/descriptors.h"
#include "libshared/confine/filter.h"
#include "libshared/confine/landlock.h"
#include "libshared/confine/limits.h"
#include "libshared/confine/namespaces.h"
#include "libshared/confine/report.h"

namespace virtgate::confine {

// How earnest it is. The numbers are those of sandbox_mode in proto/config.x.
enum class Mode : unsigned char {
    best_effort,  // what the kernel lacks is left out and said
    strict,       // then the process does not run
    report,       // best effort, and a call that is not allowed is named before it ends the process
    off,          // nothing is done: for measuring, and for finding out whose fault something is
};

// A build with sanitizers is never confined, whatever is asked for.
[[nodiscard]] Mode effective(Mode mode) noexcept;

// From "best-effort", "strict", "report" or "off". False for anything else.
[[nodiscard]] bool parse_mode(std::string_view text, Mode& mode) noexcept;

// What the filter of that mode does; not for Mode::off.
[[nodiscard]] OnViolation on_violation(Mode mode) noexcept;

struct Plan {
    std::string_view process;            // "gate": for messages
    std::vector<MeantFd> descriptors{};  // that are open when it begins; none: not looked at
    LandlockRules paths{};               // what it may still reach by name
    // That it keeps if it has them: who starts processes as other users.
    std::vector<unsigned> capabilities{};
    std::vector<unsigned> passed_on{};       // of these, what its children have too, until they drop it
    Limits limits{};                         // set in serve(), when its threads are there
    std::vector<std::span<const Row>> rows;  // the system calls that it may make
    bool says_lacks = false;  // warns of what the kernel lacks: the first process, for all that it starts
    // Why it stays in the namespaces of its parent. Empty: it leaves them, and has an empty root directory, too, if there is
    // nothing that it reaches by name.
    std::string_view stays{};
    bool connects = false;  // to a UNIX socket by its name, of which `paths` knows nothing
    // It stays, but some of those do not that it starts: it looks whether they could.
    bool starts_leavers = false;
};

class Confinement {
public:
    // The steps of begin(). `plan` is kept. Error: system's fault; the process has to end with status 71.
    static Result<Confinement> begin(Plan plan, Mode mode);

    // The rest; once. Error: as above.
    Done serve();

    // What is in force, after serve(). Empty if Mode::off.
    [[nodiscard]] const Report& report() const noexcept { return report_; }

private:
    Confinement(Plan plan, Mode mode);
    [[nodiscard]] Done prepare();
    [[nodiscard]] Result<std::optional<EmptyRoot>> leave();

    Plan plan_;
    Mode mode_;
    Report report_;
    std::optional<Filter> filter_;
    UniqueFd self_;
};

// begin() and serve() for a process of one thread. Logs what is wrong. Returns false if the process has to end.
[[nodiscard]] bool confine(Plan plan, Mode mode);

// For "virtgate sandbox": confines this process by `plan`, apart from the descriptors, which are another program's, and
// writes to standard output one line for each finding and each row:
//
//     layer<TAB>files<TAB>in force<TAB>ABI 7
//     call<TAB>read<TAB>channels, eventfd
//
// Returns the exit status.
int show(Plan plan);

// True if a child was started for show(): `argument` ("--sandbox") is all that its command line says.
[[nodiscard]] bool is_asked_to_show(int argc, char** argv, std::string_view argument = "--sandbox") noexcept;

}  // namespace virtgate::confine
