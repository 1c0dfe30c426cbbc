// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command lines of "virtgate status", "top", "sessions", "disconnect", "drain" and "log".
#include "ctl/admin/command.h"

#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "ctl/admin/daemon.h"
#include "ctl/admin/log.h"
#include "ctl/admin/look.h"
#include "ctl/admin/top.h"
#include "ctl/output.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::admin {

namespace {

constexpr int k_exit_refused = 1;

constexpr char k_log_footer[] =
    "Example, all that the gates have to say:\n"
    "  virtgate log netd --filters debug:gate\n"
    "See virtgate-log(1).";

constexpr char k_disconnect_footer[] =
    "Example, end all that a person has open:\n"
    "  virtgate disconnect --identity alice --reason \"left the company\"\n"
    "See virtgate-sessions(1).";

int fail(const Error& error) {
    // Whoever does not answer is not available.
    return error.fault == Fault::peer ? say(error.text, k_exit_refused) : say(error, spawn::k_exit_system);
}

using Json = nlohmann::ordered_json;

std::string write(const Json& document) { return document.dump(2) + "\n"; }

class AdminCommand final : public Command {
public:
    explicit AdminCommand(CLI::App& app);
    [[nodiscard]] bool parsed() const override {
        return std::any_of(commands_.begin(), commands_.end(),
                           [](const CLI::App* one) { return one->parsed(); });
    }
    [[nodiscard]] int run() const override;

private:
    CLI::App* add(CLI::App& app, const char* name, const char* what);
    void add_log(CLI::App& app);
    [[nodiscard]] int run_status() const;
    [[nodiscard]] int run_sessions() const;
    [[nodiscard]] int run_disconnect() const;
    [[nodiscard]] int show_ended(const std::vector<std::uint64_t>& ended) const;
    [[nodiscard]] int run_drain() const;
    [[nodiscard]] int show_drained(bool drained, std::uint32_t clients, std::string_view text) const;
    [[nodiscard]] int wait_for_drain(Daemon& steward) const;

    std::vector<CLI::App*> commands_;
    CLI::App *status_ = nullptr, *top_ = nullptr, *sessions_ = nullptr, *disconnect_ = nullptr,
             *drain_ = nullptr, *log_ = nullptr;
    std::string directory_, identity_, source_, reason_;
    std::vector<std::uint64_t> numbers_;
    unsigned interval_ = 2, timeout_ = 0, look_ = 0;
    LogOrder log_order_;
    bool json_ = false, end_ = false, no_wait_ = false;
};

CLI::App* AdminCommand::add(CLI::App& app, const char* name, const char* what) {
    CLI::App* const command = app.add_subcommand(name, what);
    command->add_option("--dir", directory_, "the directory of \"virtgate up\", whose daemons they are")
        ->type_name("DIR");
    commands_.push_back(command);
    return command;
}

AdminCommand::AdminCommand(CLI::App& app) {
    constexpr unsigned k_interval_max = 3'600, k_timeout_max = 604'800;
    status_ = add(app, "status", "what runs, and how much there is to do");
    status_->add_flag("--json", json_, "as JSON");
    status_->add_option("--interval", look_, "look twice, so many seconds apart, and show rates")
        ->type_name("N")
        ->check(CLI::Range(1U, k_interval_max));
    status_->footer("See virtgate-status(1).");

    top_ = add(app, "top", "the busiest sessions, live");
    top_->add_option("--interval", interval_, "seconds between two looks")
        ->type_name("N")
        ->check(CLI::Range(1U, k_interval_max))
        ->capture_default_str();
    top_->footer("\"q\" ends it. See virtgate-status(1).");

    sessions_ = add(app, "sessions", "who is there");
    sessions_->add_option("--identity", identity_, "only of this identity of the policy")->type_name("NAME");
    sessions_->add_option("--source", source_, "only from this address")->type_name("ADDRESS");
    sessions_->add_flag("--json", json_, "as JSON");
    sessions_->footer("See virtgate-sessions(1).");

    disconnect_ = add(app, "disconnect", "end sessions");
    disconnect_->add_option("SESSION", numbers_, "their numbers, as \"virtgate sessions\" lists them");
    disconnect_
        ->add_option("--identity", identity_, "all of this identity; with numbers: only if they are its")
        ->type_name("NAME");
    disconnect_->add_option("--reason", reason_, "why: for the clients, and for the log")->type_name("TEXT");
    disconnect_->add_flag("--json", json_, "as JSON");
    disconnect_->footer(k_disconnect_footer);

    drain_ = add(app, "drain", "let nobody in any more, and wait until all have gone");
    CLI::Option* const timeout =
        drain_->add_option("--timeout", timeout_, "end those that are still here after so many seconds")
            ->type_name("N")
            ->check(CLI::Range(1U, k_timeout_max));
    CLI::Option* const no_wait = drain_->add_flag("--no-wait", no_wait_, "do not wait");
    drain_->add_flag("--end", end_, "let clients in again")->excludes(timeout)->excludes(no_wait);
    drain_->add_flag("--json", json_, "what came of it as JSON");
    drain_->footer("See virtgate-drain(1).");
    add_log(app);
}

void AdminCommand::add_log(CLI::App& app) {
    log_ = add(app, "log", "what the daemons log, shown and changed while they run");
    log_->add_option("DAEMON", log_order_.daemons, "netd or workerd (default: both)");
    CLI::Option* const reset = log_->add_flag("--reset", log_order_.reset, "as their files say");
    log_->add_option("--level", log_order_.level,
                     "of all processes without a filter: debug, info, warning, error")
        ->type_name("LEVEL")
        ->excludes(reset);
    log_->add_option(
            "--filters", log_order_.filters,
            "levels of some processes, instead of those before: \"debug:gate error:keeper\"; empty: none")
        ->type_name("LIST")
        ->excludes(reset);
    log_->add_option(
            "--outputs", log_order_.outputs,
            "where it goes, instead of where it went: \"journald warning:syslog:NAME\"; empty: as without "
            "any in the file")
        ->type_name("LIST")
        ->excludes(reset);
    log_->add_flag("--json", log_order_.json, "as JSON");
    log_->footer(k_log_footer);
}

int AdminCommand::run() const {
    if (status_->parsed()) return run_status();
    if (top_->parsed()) return run_top(find_sockets(directory_), interval_);
    if (sessions_->parsed()) return run_sessions();
    if (log_->parsed()) return run_log(find_sockets(directory_), log_order_);
    return disconnect_->parsed() ? run_disconnect() : run_drain();
}

int AdminCommand::run_status() const {
    const Sockets sockets = find_sockets(directory_);
    std::optional<proto::control::Counters> before;
    const auto began = std::chrono::steady_clock::now();
    if (look_ != 0) {
        before = look_at_status(sockets, false).counters;
        std::this_thread::sleep_for(std::chrono::seconds(look_));
    }
    Status status = look_at_status(sockets, true);
    if (before && status.counters)
        status.rates =
            find_rates(*before, *status.counters,
                       std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    const std::int64_t now = std::time(nullptr);
    // Not everybody needs locks.
    const bool all_run =
        status.netd && status.workerd && (status.lockd || status.workerd->lockd_socket.empty());
    return show(json_ ? status_json(status, now) : status_text(status, now), all_run ? 0 : k_exit_refused);
}

int AdminCommand::run_sessions() const {
    std::string problem;
    auto sessions = look_at_sessions(find_sockets(directory_), problem);
    if (!sessions) return fail(sessions.error());
    if (!problem.empty()) say(problem + "; what it counts is missing", 0);
    std::erase_if(*sessions, [&](const Session& one) {
        return (!identity_.empty() && one.listed.identity != identity_) ||
               (!source_.empty() && one.listed.source != source_);
    });
    return show(json_ ? sessions_json(*sessions) : sessions_text(*sessions, std::time(nullptr)), 0);
}

int AdminCommand::run_disconnect() const {
    if (numbers_.empty() && identity_.empty())
        return say("name sessions by their numbers, or an identity with --identity", spawn::k_exit_usage);
    if (numbers_.size() > proto::sessions::k_ended_max)
        return say(fmt::format("at most {} sessions at a time", proto::sessions::k_ended_max),
                   spawn::k_exit_usage);
    auto broker = Daemon::open(find_sockets(directory_).broker, SOCK_SEQPACKET, "virtgate-workerd");
    if (!broker) return fail(broker.error());
    std::vector<std::uint64_t> ended;
    for (;;) {
        auto part = broker->ask<proto::sessions::FinishRet>(
            proto::sessions::Procedure::finish,
            proto::sessions::FinishArgs{.sessions = numbers_, .identity = identity_, .reason = reason_});
        if (!part) return fail(part.error());
        ended.insert(ended.end(), part->sessions.begin(), part->sessions.end());
        if (!numbers_.empty() || part->sessions.size() < proto::sessions::k_ended_max) break;
    }
    return show_ended(ended);
}

int AdminCommand::show_ended(const std::vector<std::uint64_t>& ended) const {
    std::vector<std::uint64_t> missing;
    for (const std::uint64_t number : numbers_)
        if (std::find(ended.begin(), ended.end(), number) == ended.end()) missing.push_back(number);
    const int status = ended.empty() || !missing.empty() ? k_exit_refused : 0;
    if (json_) return show(write(Json{{"ended", ended}, {"missing", missing}}), status);
    std::string text;
    for (const std::uint64_t number : ended) text += fmt::format("session {} ends\n", number);
    if (const int shown = show(text, 0); shown != 0) return shown;
    if (numbers_.empty() && ended.empty()) say(fmt::format("{} has no session", escape(identity_)), 0);
    for (const std::uint64_t number : missing)
        say(fmt::format("there is no session {}{}", number,
                        identity_.empty() ? "" : fmt::format(" of {}", escape(identity_))),
            0);
    return status;
}

int AdminCommand::run_drain() const {
    auto steward = Daemon::open(find_sockets(directory_).admin, SOCK_STREAM, "virtgate-netd");
    if (!steward) return fail(steward.error());
    if (end_) {
        if (const auto done = steward->tell(proto::control::Procedure::resume); !done)
            return fail(done.error());
        return show_drained(false, 0, "clients are let in again\n");
    }
    const auto payload = proto::encode(proto::control::DrainArgs{.timeout = timeout_});
    if (!payload) return say("that is too long a time", spawn::k_exit_usage);
    if (const auto done = steward->tell(proto::control::Procedure::drain, *payload); !done)
        return fail(done.error());
    if (!no_wait_) return wait_for_drain(*steward);
    const auto counters = steward->ask<proto::control::Counters>(proto::control::Procedure::counters);
    if (!counters) return fail(counters.error());
    return show_drained(true, counters->connections, "nobody is let in any more\n");
}

int AdminCommand::show_drained(bool drained, std::uint32_t clients, std::string_view text) const {
    if (!json_) return show(text, 0);
    return show(write(drained ? Json{{"drained", true}, {"clients", clients}} : Json{{"drained", false}}), 0);
}

// Until all have gone. Whoever does not want to wait any longer interrupts it: that does not let anybody in.
int AdminCommand::wait_for_drain(Daemon& steward) const {
    constexpr useconds_t k_pause = 250'000;
    for (std::uint32_t told = UINT32_MAX;;) {
        const auto counters = steward.ask<proto::control::Counters>(proto::control::Procedure::counters);
        if (!counters) return fail(counters.error());
        if (counters->connections == 0) return show_drained(true, 0, "drained: nobody is here\n");
        if (counters->connections != told && !json_)
            if (const int status = show(
                    fmt::format("nobody is let in any more; {} clients are here\n", counters->connections),
                    0);
                status != 0)
                return status;
        told = counters->connections;
        usleep(k_pause);
    }
}

}  // namespace

std::unique_ptr<Command> add_command(CLI::App& app) { return std::make_unique<AdminCommand>(app); }

}  // namespace virtgate::ctl::admin
