// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate up".
#include "ctl/up/command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "ctl/files.h"
#include "ctl/up/options.h"
#include "ctl/up/up.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::up {

namespace {

constexpr char k_footer[] =
    "Example, with a libvirt daemon that runs on this machine:\n"
    "  virtgate up --dir ~/try-virtgate --upstream qemu:///system=/run/libvirt/libvirt-sock\n"
    "The URI for libvirt's clients is printed when everything runs. Ctrl-C ends it. See virtgate-up(1).";

class UpCommand final : public Command {
public:
    explicit UpCommand(CLI::App& app);
    [[nodiscard]] bool parsed() const override { return up_->parsed(); }
    [[nodiscard]] int run() const override;

private:
    // From words to options. What is wrong with a word is said with the option's name, before anything is touched.
    [[nodiscard]] Result<Options> options() const;

    CLI::App* up_;
    std::string directory_, key_type_ = "ecdsa", log_level_ = "info";
    std::uint16_t tls_port_ = 0;
    std::vector<std::string> upstreams_, settings_;
};

// Values are taken as text here and read by options.h, which explains mistakes better than CLI11 does.
UpCommand::UpCommand(CLI::App& app)
    : up_(app.add_subcommand("up", "run virtgate from a directory, without systemd and without root")) {
    up_->footer(k_footer);
    up_->add_option("--dir", directory_,
                    "directory for certificates, configuration and sockets; made when missing")
        ->required()
        ->type_name("DIR");
    up_->add_option("--tls-port", tls_port_, "TCP port for clients on localhost (default: any free one)")
        ->type_name("N");
    up_->add_option("--upstream", upstreams_,
                    "the libvirt daemon behind a URI, and its UNIX socket; may be repeated")
        ->type_name("URI=SOCKET")
        ->allow_extra_args(false);
    up_->add_option("--key-type", key_type_, "kind of key, when certificates are made (default: ecdsa)")
        ->check(CLI::IsMember({"ecdsa", "rsa", "ed25519"}))
        ->type_name("TYPE");
    up_->add_option("--log-level", log_level_, "what is logged (default: info)")
        ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
        ->type_name("LEVEL");
    up_->add_option("--set", settings_, "one key of netd.toml, workerd.toml or lockd.toml; may be repeated")
        ->type_name("FILE.SECTION.KEY=VALUE")
        ->allow_extra_args(false);
}

Result<Options> UpCommand::options() const {
    Options options;
    options.tls_port = tls_port_;
    if (directory_.empty()) return peer_fault("--dir: a directory has a name");
    const Result<std::string> directory = absolute_path(directory_);
    if (!directory) return wrap(directory.error(), "--dir");
    options.directory = *directory;
    if (const auto type = pki::parse_key_type(key_type_)) options.key_type = *type;
    static_cast<void>(parse_level(log_level_, options.log_level));
    for (const std::string& word : upstreams_) {
        Result<Upstream> upstream = parse_upstream(word);
        if (!upstream) return wrap(upstream.error(), "--upstream");
        for (const Upstream& other : options.upstreams)
            if (other.uri == upstream->uri)
                return peer_fault(fmt::format("--upstream: {} is there twice", other.uri));
        options.upstreams.push_back(std::move(*upstream));
    }
    for (const std::string& word : settings_) {
        Result<Setting> setting = parse_setting(word);
        if (!setting) return wrap(setting.error(), "--set");
        options.settings.push_back(std::move(*setting));
    }
    return options;
}

int UpCommand::run() const {
    const Result<Options> wanted = options();
    if (wanted) return up::run(*wanted);
    fmt::print(stderr, "virtgate: {}\n", wanted.error().text);
    return spawn::k_exit_usage;
}

}  // namespace

std::unique_ptr<Command> add_command(CLI::App& app) { return std::make_unique<UpCommand>(app); }

}  // namespace virtgate::ctl::up
