// SPDX-License-Identifier: LGPL-2.1-or-later
// main - the virtgate command: reads the command line and calls what does the work.
//
// Exit status: that of the subcommand; 64 for a command line that is wrong.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "config.h"
#include "ctl/admin/command.h"
#include "ctl/audit/command.h"
#include "ctl/config/command.h"
#include "ctl/discover/command.h"
#include "ctl/locks/command.h"
#include "ctl/migrate/command.h"
#include "ctl/passwd/command.h"
#include "ctl/pki/command.h"
#include "ctl/policy/command.h"
#include "ctl/sandbox/command.h"
#include "ctl/tools/command.h"
#include "ctl/trace/command.h"
#include "ctl/up/command.h"
#include "libshared/base/suggest.h"
#include "libshared/spawn/exit.h"

namespace {

using namespace virtgate;

// What follows the first "--" of `word`, up to "=".
std::string option_name(const std::string& word) { return word.substr(0, word.find('=')); }

// What there is to suggest: only what really exists, so that a suggestion always works.
std::vector<std::string> subcommand_names(const CLI::App& app) {
    std::vector<std::string> names;
    for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
        names.push_back(sub->get_name());
    return names;
}

std::vector<std::string> option_names(const CLI::App& app) {
    std::vector<std::string> names;
    for (const CLI::Option* option : app.get_options())
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    return names;
}

int complain(const std::string& text) {
    fmt::print(stderr, "virtgate: {}\n", text);
    return spawn::k_exit_usage;
}

// The command that the words before the mistake name, and how they name it: "pki init".
struct Place {
    const CLI::App* app;
    std::string name;
};

Place chosen_command(const CLI::App& app) {
    Place place{&app, {}};
    for (std::vector<CLI::App*> chosen = app.get_subcommands(); !chosen.empty();
         chosen = place.app->get_subcommands()) {
        place.app = chosen.front();
        place.name += (place.name.empty() ? "" : " ") + place.app->get_name();
    }
    return place;
}

// CLI11's error in our words: which word was not understood, and what was probably meant.
int explain(const CLI::App& app, const CLI::ParseError& error) {
    const auto& [where, name] = chosen_command(app);
    const std::vector<std::string> commands = subcommand_names(*where);
    const std::string hint = fmt::format("\nTry \"virtgate help{}{}\".", name.empty() ? "" : " ", name);
    // Without words that nobody understood it is a missing or malformed value, which CLI11 has described.
    const std::vector<std::string> extra = app.remaining(true);
    if (extra.empty() && !commands.empty()) {
        fmt::print(stderr, "{}", app.help());
        return spawn::k_exit_usage;
    }
    if (extra.empty()) return complain(std::string{error.what()} + hint);
    const std::string& word = extra.front();
    if (word.starts_with("-"))
        return complain(fmt::format("unknown option \"{}\"{}{}", option_name(word),
                                    did_you_mean(option_name(word), option_names(*where)), hint));
    if (!commands.empty())
        return complain(fmt::format("unknown command \"{}{}{}\"{}{}", name, name.empty() ? "" : " ", word,
                                    did_you_mean(word, commands), hint));
    return complain(fmt::format("\"{}\" does not belong here{}", word, hint));
}

// "virtgate help pki init": each word is a command of the one before.
int run_help(const CLI::App& app, const std::vector<std::string>& topics) {
    const CLI::App* where = &app;
    std::string name = "virtgate";  // how the command is called, without its last word
    for (const std::string& topic : topics) {
        const auto found =
            where->get_subcommands([&](const CLI::App* sub) { return sub->get_name() == topic; });
        if (found.empty())
            return complain(fmt::format("there is no command \"{}\"{}", topic,
                                        did_you_mean(topic, subcommand_names(*where))));
        if (where != &app) name += " " + where->get_name();
        where = found.front();
    }
    fmt::print("{}", where == &app ? app.get_formatter()->make_help(&app, name, CLI::AppFormatMode::Normal)
                                   : where->help(name));
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"virtgate, a front door for libvirt", "virtgate"};
    app.set_version_flag("--version", std::string{"virtgate "} + VIRTGATE_VERSION);
    app.set_help_flag("-h,--help", "show this text");
    app.require_subcommand(1);
    app.footer("\"virtgate help COMMAND\" tells more about a command. See virtgate(1).");
    std::vector<std::unique_ptr<ctl::Command>> commands;
    for (const auto add : {ctl::up::add_command, ctl::pki::add_command, ctl::passwd::add_command,
                           ctl::policy::add_command, ctl::audit::add_command, ctl::locks::add_command, ctl::admin::add_command,
                           ctl::config::add_command, ctl::migrate::add_command, ctl::discover::add_command,
                           ctl::sandbox::add_command, ctl::tools::add_command, ctl::trace::add_command})
        commands.push_back(add(app));
    std::vector<std::string> topics;  // of "help": a command, and a command of it
    CLI::App* help = app.add_subcommand("help", "show the commands, or the options of one");
    help->add_option("COMMAND", topics, "the command to tell about, and a command of it");
    if (argc < 2) {
        fmt::print(stderr, "{}", app.help());
        return spawn::k_exit_usage;
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& success) {  // --help, --version
        return app.exit(success);
    } catch (const CLI::ParseError& error) {
        return explain(app, error);
    }
    if (help->parsed()) return run_help(app, topics);
    for (const auto& command : commands)
        if (command->parsed()) return command->run();
    return spawn::k_exit_usage;
}
