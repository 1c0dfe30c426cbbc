// SPDX-License-Identifier: LGPL-2.1-or-later
// main - the virtgate command: reads the command line and calls what does the work.
//
// Exit status: that of the subcommand; 64 for a command line that is wrong.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <string>
#include <vector>

#include "config.h"
#include "ctl/audit/command.h"
#include "ctl/files.h"
#include "ctl/passwd/command.h"
#include "ctl/pki/command.h"
#include "ctl/policy/command.h"
#include "ctl/up/options.h"
#include "ctl/up/up.h"
#include "libshared/base/suggest.h"
#include "libshared/spawn/exit.h"

namespace {

using namespace virtgate;

// The words of the command line, before they are understood.
struct Words {
    std::vector<std::string> help_topic;  // a command, and a command of it
    std::string directory, key_type = "ecdsa", log_level = "info";
    std::uint16_t tls_port = 0;
    std::vector<std::string> upstreams, settings;
};

constexpr char k_up_footer[] =
    "Example, with a libvirt daemon that runs on this machine:\n"
    "  virtgate up --dir ~/try-virtgate --upstream qemu:///system=/run/libvirt/libvirt-sock\n"
    "The URI for libvirt's clients is printed when everything runs. Ctrl-C ends it. See virtgate-up(1).";

// Values are taken as text here and read by the room of the command, which explains mistakes better than
// CLI11 does.
CLI::App* add_up(CLI::App& app, Words& words) {
    CLI::App* up =
        app.add_subcommand("up", "run virtgate from a directory, without systemd and without root");
    up->footer(k_up_footer);
    up->add_option("--dir", words.directory,
                   "directory for certificates, configuration and sockets; made when missing")
        ->required()
        ->type_name("DIR");
    up->add_option("--tls-port", words.tls_port, "TCP port for clients on localhost (default: any free one)")
        ->type_name("N");
    up->add_option("--upstream", words.upstreams,
                   "the libvirt daemon behind a URI, and its UNIX socket; may be repeated")
        ->type_name("URI=SOCKET")
        ->allow_extra_args(false);
    up->add_option("--key-type", words.key_type, "kind of key, when certificates are made (default: ecdsa)")
        ->check(CLI::IsMember({"ecdsa", "rsa", "ed25519"}))
        ->type_name("TYPE");
    up->add_option("--log-level", words.log_level, "what is logged (default: info)")
        ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
        ->type_name("LEVEL");
    up->add_option("--set", words.settings, "one key of netd.toml or workerd.toml; may be repeated")
        ->type_name("FILE.SECTION.KEY=VALUE")
        ->allow_extra_args(false);
    return up;
}

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
int run_help(const CLI::App& app, const Words& words) {
    const CLI::App* where = &app;
    std::string name = "virtgate";  // how the command is called, without its last word
    for (const std::string& topic : words.help_topic) {
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

// From words to options. What is wrong with a word is said with the option's name, before anything is
// touched.
int run_up(const Words& words) {
    ctl::up::Options options;
    options.tls_port = words.tls_port;
    if (words.directory.empty()) return complain("--dir: a directory has a name");
    const Result<std::string> directory = ctl::absolute_path(words.directory);
    if (!directory) return complain("--dir: " + directory.error().text);
    options.directory = *directory;
    if (const auto type = ctl::pki::parse_key_type(words.key_type)) options.key_type = *type;
    static_cast<void>(parse_level(words.log_level, options.log_level));
    for (const std::string& word : words.upstreams) {
        Result<ctl::up::Upstream> upstream = ctl::up::parse_upstream(word);
        if (!upstream) return complain("--upstream: " + upstream.error().text);
        for (const ctl::up::Upstream& other : options.upstreams)
            if (other.uri == upstream->uri)
                return complain(fmt::format("--upstream: {} is there twice", other.uri));
        options.upstreams.push_back(std::move(*upstream));
    }
    for (const std::string& word : words.settings) {
        Result<ctl::up::Setting> setting = ctl::up::parse_setting(word);
        if (!setting) return complain("--set: " + setting.error().text);
        options.settings.push_back(std::move(*setting));
    }
    return ctl::up::run(options);
}

}  // namespace

int main(int argc, char** argv) {
    Words words;
    CLI::App app{"virtgate, a front door for libvirt", "virtgate"};
    app.set_version_flag("--version", std::string{"virtgate "} + VIRTGATE_VERSION);
    app.set_help_flag("-h,--help", "show this text");
    app.require_subcommand(1);
    app.footer("\"virtgate help COMMAND\" tells more about a command. See virtgate(1).");
    CLI::App* up = add_up(app, words);
    const ctl::pki::Command pki{app};
    const ctl::passwd::Command passwd{app};
    const ctl::policy::Command policy{app};
    const ctl::audit::Command audit{app};
    CLI::App* help = app.add_subcommand("help", "show the commands, or the options of one");
    help->add_option("COMMAND", words.help_topic, "the command to tell about, and a command of it");
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
    if (help->parsed()) return run_help(app, words);
    if (up->parsed()) return run_up(words);
    if (pki.parsed()) return pki.run();
    if (passwd.parsed()) return passwd.run();
    if (policy.parsed()) return policy.run();
    if (audit.parsed()) return audit.run();
    return spawn::k_exit_usage;
}
