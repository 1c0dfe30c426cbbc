// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate locks".
#include "ctl/locks/command.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <string>

#include "config.h"
#include "ctl/locks/link.h"
#include "ctl/locks/listing.h"
#include "ctl/output.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::locks {

namespace {

constexpr int k_exit_refused = 1;
constexpr char k_default_socket[] = VIRTGATE_RUNDIR "/lockd.sock";

constexpr char k_footer[] =
    "Example, free the disk of a machine that went down with another host:\n"
    "  virtgate locks break direct /srv/images/web --reason \"kvm3 burnt\"\n"
    "See virtgate-locks(1).";

int fail(const Error& error) {
    // Whoever does not answer is not available.
    return error.fault == Fault::peer ? say(error.text, k_exit_refused) : say(error, spawn::k_exit_system);
}

class LocksCommand final : public Command {
public:
    explicit LocksCommand(CLI::App& app);
    [[nodiscard]] bool parsed() const override { return locks_->parsed(); }
    [[nodiscard]] int run() const override;

private:
    CLI::App* locks_ = nullptr;
    CLI::App* list_ = nullptr;
    CLI::App* spaces_ = nullptr;
    CLI::App* break_ = nullptr;

    std::string socket_, directory_, space_, resource_, owner_, reason_;
    bool json_ = false, yes_ = false;

    void add_place(CLI::App& app);
    void add_list(CLI::App& app);
    [[nodiscard]] std::string socket() const;
    [[nodiscard]] int run_list(Link& link) const;
    [[nodiscard]] int run_spaces(Link& link) const;
    [[nodiscard]] int run_break(Link& link) const;
    [[nodiscard]] bool confirm(const Holds& holds) const;
};

void LocksCommand::add_place(CLI::App& app) {
    CLI::Option* socket =
        app.add_option("--socket", socket_,
                       fmt::format("socket of the lock daemon (default: {})", k_default_socket))
            ->type_name("PATH");
    app.add_option("--dir", directory_, "the directory of \"virtgate up\", whose lock daemon it is")
        ->type_name("DIR")
        ->excludes(socket);
}

void LocksCommand::add_list(CLI::App& app) {
    add_place(app);
    app.add_option("--space", space_, "only in this lock space; \"direct\": files that are locked themselves")
        ->type_name("SPACE");
    app.add_flag("--json", json_, "as JSON");
}

LocksCommand::LocksCommand(CLI::App& app) {
    locks_ = app.add_subcommand("locks", "who has locked what: list locks, break one");
    locks_->footer(k_footer);
    locks_->require_subcommand(0, 1);
    add_list(*locks_);
    list_ = locks_->add_subcommand("list", "show all locks that are held, the same as without a command");
    add_list(*list_);
    spaces_ = locks_->add_subcommand("spaces", "show the lock spaces");
    add_place(*spaces_);
    spaces_->add_flag("--json", json_, "as JSON");
    break_ = locks_->add_subcommand("break", "end a lock that its owner did not release");
    add_place(*break_);
    break_->add_option("SPACE", space_, "the lock space; \"direct\": files that are locked themselves")
        ->required();
    break_->add_option("RESOURCE", resource_, "what is locked in it")->required();
    break_->add_option("--owner", owner_, "only of the owner with this UUID")->type_name("UUID");
    break_->add_option("--reason", reason_, "why: for the log")->type_name("TEXT")->required();
    break_->add_flag("--yes", yes_, "do not ask");
}

std::string LocksCommand::socket() const {
    if (!directory_.empty()) return directory_ + "/run/lockd.sock";
    return socket_.empty() ? k_default_socket : socket_;
}

int LocksCommand::run() const {
    if (break_->parsed() && !owner_.empty() && !parse_uuid(owner_))
        return say("--owner: a UUID has 32 hexadecimal digits", spawn::k_exit_usage);
    if (break_->parsed() && reason_.find_first_not_of(' ') == reason_.npos)
        return say("--reason: a lock is broken for a reason", spawn::k_exit_usage);
    if (break_->parsed() && !yes_ && isatty(STDIN_FILENO) == 0)
        return say("nobody is there to be asked whether that is meant: say --yes", spawn::k_exit_usage);
    auto link = Link::open(socket());
    if (!link) return fail(link.error());
    if (break_->parsed()) return run_break(*link);
    return spaces_->parsed() ? run_spaces(*link) : run_list(*link);
}

int LocksCommand::run_list(Link& link) const {
    const std::string space = space_ == k_direct ? std::string{} : space_;
    if (!space.empty()) {
        // A misspelt one would look like one without locks.
        const auto spaces = link.list_spaces();
        if (!spaces) return fail(spaces.error());
        if (std::none_of(spaces->begin(), spaces->end(),
                         [&](const auto& one) { return as_text(one.path) == space; }))
            return say(fmt::format("there is no lock space \"{}\"", escape(space)), k_exit_refused);
    }
    const auto holds = link.list(space_.empty() ? nullptr : &space);
    if (!holds) return fail(holds.error());
    fmt::print("{}", json_ ? list_json(*holds) : list_text(*holds, std::time(nullptr)));
    return 0;
}

int LocksCommand::run_spaces(Link& link) const {
    const auto spaces = link.list_spaces();
    if (!spaces) return fail(spaces.error());
    fmt::print("{}", json_ ? list_json(*spaces) : list_text(*spaces));
    return 0;
}

bool LocksCommand::confirm(const Holds& holds) const {
    fmt::print("{}", list_text(holds, std::time(nullptr)));
    for (const auto& hold : holds)
        if (hold.connected)
            fmt::print("Its owner, {}, lives: it may go on writing.\n",
                       describe_owner(hold.kind, hold.process));
    fmt::print("Break {} [y/N] ", holds.size() == 1 ? "this lock?" : "these locks?");
    std::fflush(stdout);
    std::string answer;
    return std::getline(std::cin, answer) && (answer == "y" || answer == "yes");
}

int LocksCommand::run_break(Link& link) const {
    const std::string space = space_ == k_direct ? std::string{} : space_;
    const auto bytes = [](std::string_view text) {
        const ByteView view = as_bytes(text);
        return ByteVector{view.begin(), view.end()};
    };
    const auto owner = parse_uuid(owner_);
    if (!yes_) {
        auto holds = link.list(&space);
        if (!holds) return fail(holds.error());
        std::erase_if(*holds, [&](const auto& hold) {
            return as_text(hold.name) != resource_ || (owner && hold.uuid != *owner);
        });
        if (!holds->empty() && !confirm(*holds)) return say("nothing was done", k_exit_refused);
        // Of none, the daemon says why.
    }
    const auto broken =
        link.break_lock({.space = bytes(space),
                         .name = bytes(resource_),
                         .uuid = owner ? ByteVector(owner->begin(), owner->end()) : ByteVector{},
                         .reason = bytes(reason_)});
    if (!broken) return fail(broken.error());
    for (const auto& hold : broken->holds)
        fmt::print("broken: the lock of \"{}\" ({}), {}{}\n", escape(as_text(hold.owner)), to_text(hold.uuid),
                   describe_owner(hold.kind, hold.process),
                   hold.connected ? ", which lives and may go on writing" : "");
    if (broken->count > broken->holds.size())
        fmt::print("and {} more\n", broken->count - broken->holds.size());
    return 0;
}

}  // namespace

std::unique_ptr<Command> add_command(CLI::App& app) { return std::make_unique<LocksCommand>(app); }

}  // namespace virtgate::ctl::locks
