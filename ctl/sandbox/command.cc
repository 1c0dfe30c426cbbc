// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate sandbox".
#include "ctl/sandbox/command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "ctl/output.h"
#include "ctl/programs.h"
#include "ctl/sandbox/listing.h"
#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::sandbox {

namespace {

constexpr int k_exit_incomplete = 1;

constexpr char k_footer[] =
    "Example, which system calls a gate can make, and what for:\n"
    "  virtgate sandbox --calls gate\n"
    "See virtgate-sandbox(1).";

class SandboxCommand final : public Command {
public:
    explicit SandboxCommand(CLI::App& app);
    [[nodiscard]] bool parsed() const override { return sandbox_->parsed(); }
    [[nodiscard]] int run() const override;

private:
    CLI::App* sandbox_ = nullptr;
    CLI::Option* calls_ = nullptr;
    std::string program_;
    bool json_ = false;

    [[nodiscard]] Result<std::vector<Statement>> ask_programs() const;
    [[nodiscard]] int run_calls() const;
};

SandboxCommand::SandboxCommand(CLI::App& app) {
    sandbox_ = app.add_subcommand("sandbox", "what each process is kept from, on this machine");
    sandbox_->footer(k_footer);
    calls_ = sandbox_
                 ->add_option("--calls", program_,
                              "list the system calls that are left, of each program or of one: gate")
                 ->type_name("[PROGRAM]")
                 ->expected(0, 1);
    sandbox_->add_flag("--json", json_, "as JSON");
}

// All of them, or the one that was named.
Result<std::vector<Statement>> SandboxCommand::ask_programs() const {
    const auto directory = find_programs();
    if (!directory) return tl::unexpected(directory.error());
    std::vector<Statement> statements;
    for (const Program& program : programs()) {
        if (!program_.empty() && program_ != program.name) continue;
        auto statement = ask(program, *directory);
        if (!statement) return tl::unexpected(statement.error());
        statements.push_back(std::move(*statement));
    }
    return statements;
}

int SandboxCommand::run_calls() const {
    std::vector<std::string_view> names;
    for (const Program& program : programs()) names.emplace_back(program.name);
    if (!program_.empty() && std::find(names.begin(), names.end(), program_) == names.end())
        return say(
            fmt::format("there is no program \"{}\"{}", escape(program_), did_you_mean(program_, names)),
            spawn::k_exit_usage);
    const auto statements = ask_programs();
    if (!statements) return say(statements.error(), spawn::k_exit_system);
    return show(json_ ? calls_to_json(*statements) : list_calls(*statements), 0);
}

int SandboxCommand::run() const {
    if (calls_->count() != 0) return run_calls();
    auto machine = find_machine();
    if (!machine) return say(machine.error(), spawn::k_exit_system);
    auto statements = ask_programs();
    if (!statements) return say(statements.error(), spawn::k_exit_system);
    auto running = find_running();
    if (!running) return say(running.error(), spawn::k_exit_system);
    const Findings findings{std::move(*machine), std::move(*statements), std::move(*running)};
    return show(json_ ? to_json(findings) : list_findings(findings),
                findings.is_complete() ? 0 : k_exit_incomplete);
}

}  // namespace

std::unique_ptr<Command> add_command(CLI::App& app) { return std::make_unique<SandboxCommand>(app); }

}  // namespace virtgate::ctl::sandbox
