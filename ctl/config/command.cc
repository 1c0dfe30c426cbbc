// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate config".
#include "ctl/config/command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "ctl/config/listing.h"
#include "ctl/output.h"
#include "ctl/programs.h"
#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::config {

namespace {

constexpr char k_footer[] =
    "Example, what is set on this machine:\n"
    "  virtgate config diff\n"
    "See virtgate-config(1).";

class ConfigCommand final : public Command {
public:
    explicit ConfigCommand(CLI::App& app);
    [[nodiscard]] bool parsed() const override { return config_->parsed(); }
    [[nodiscard]] int run() const override;

private:
    CLI::App* config_ = nullptr;
    CLI::App* check_ = nullptr;
    CLI::App* diff_ = nullptr;
    std::vector<std::string> names_{};
    std::string file_{};
    bool json_ = false;

    struct Asked {
        const Daemon* daemon;
        std::string file;
    };
    struct Refusal {
        std::string text;
        int status;
    };
    // Whom to ask. Error: what to say, and the exit status.
    [[nodiscard]] tl::expected<std::vector<Asked>, Refusal> choose(const std::string& programs) const;
    [[nodiscard]] int run_check(const std::vector<Asked>& asked, const std::string& programs) const;
    [[nodiscard]] int run_show(const std::vector<Asked>& asked, const std::string& programs) const;
};

ConfigCommand::ConfigCommand(CLI::App& app) {
    config_ = app.add_subcommand("config", "check, show and compare the settings of the daemons");
    config_->footer(k_footer);
    config_->require_subcommand(1);
    const auto add = [&](const char* name, const char* what) {
        CLI::App* command = config_->add_subcommand(name, what);
        command->add_option("DAEMON", names_, "netd, workerd or lockd (default: all that are installed)");
        command->add_option("--config", file_, "this file instead of the daemon's own; for one daemon")
            ->type_name("FILE");
        command->add_flag("--json", json_, "as JSON");
        command->footer("See virtgate-config(1).");
        return command;
    };
    check_ = add("check", "find what is wrong with configuration files and what they name");
    static_cast<void>(add("show", "show all settings, with the defaults"));
    diff_ = add("diff", "show what differs from the defaults");
}

tl::expected<std::vector<ConfigCommand::Asked>, ConfigCommand::Refusal> ConfigCommand::choose(
    const std::string& programs) const {
    const auto refuse = [](std::string text, int status) {
        return tl::unexpected(Refusal{std::move(text), status});
    };
    std::vector<Asked> asked;
    std::vector<std::string_view> known;
    for (const Daemon& daemon : daemons()) {
        known.push_back(daemon.name);
        const bool is_named = std::find(names_.begin(), names_.end(), daemon.name) != names_.end();
        if (is_named && !is_installed(daemon, programs))
            return refuse(fmt::format("{} is not installed", daemon.program), spawn::k_exit_unavailable);
        if (is_named || (names_.empty() && is_installed(daemon, programs)))
            asked.push_back({&daemon, file_.empty() ? std::string(daemon.file) : file_});
    }
    for (const std::string& name : names_)
        if (std::find(known.begin(), known.end(), name) == known.end())
            return refuse(fmt::format("there is no daemon \"{}\"{}", escape(name), did_you_mean(name, known)),
                          spawn::k_exit_usage);
    if (!file_.empty() && names_.size() != 1)
        return refuse("--config is for one daemon: name it", spawn::k_exit_usage);
    if (asked.empty()) return refuse("none of virtgate's daemons is installed", spawn::k_exit_unavailable);
    return asked;
}

int ConfigCommand::run_check(const std::vector<Asked>& asked, const std::string& programs) const {
    std::vector<Verdict> verdicts;
    int status = 0;  // of the first that is not good
    for (const auto& [daemon, file] : asked) {
        auto verdict = ask_verdict(*daemon, programs, file);
        if (!verdict) return say(verdict.error(), spawn::k_exit_system);
        if (status == 0) status = verdict->status;
        verdicts.push_back(std::move(*verdict));
    }
    return show(json_ ? verdicts_to_json(verdicts) : list_verdicts(verdicts), status);
}

int ConfigCommand::run_show(const std::vector<Asked>& asked, const std::string& programs) const {
    std::vector<Settings> all;
    for (const auto& [daemon, file] : asked) {
        auto settings = ask_settings(*daemon, programs, file);
        if (!settings) return say(settings.error(), spawn::k_exit_config);
        all.push_back(std::move(*settings));
    }
    return show(json_ ? settings_to_json(all, diff_->parsed()) : list_settings(all, diff_->parsed()), 0);
}

int ConfigCommand::run() const {
    const auto programs = find_programs();
    if (!programs) return say(programs.error(), spawn::k_exit_system);
    const auto asked = choose(*programs);
    if (!asked) return say(asked.error().text, asked.error().status);
    return check_->parsed() ? run_check(*asked, *programs) : run_show(*asked, *programs);
}

}  // namespace

std::unique_ptr<Command> add_command(CLI::App& app) { return std::make_unique<ConfigCommand>(app); }

}  // namespace virtgate::ctl::config
