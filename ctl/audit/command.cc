// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate audit".
#include "ctl/audit/command.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <deque>
#include <string>
#include <thread>

#include "config.h"
#include "ctl/audit/follow.h"
#include "ctl/audit/listing.h"
#include "ctl/audit/moment.h"
#include "ctl/audit/reader.h"
#include "ctl/output.h"
#include "libshared/base/bytes.h"
#include "libshared/spawn/exit.h"
#include "policy/glob.h"

namespace virtgate::ctl::audit {

namespace {

constexpr int k_exit_none = 1;
constexpr char k_default_file[] = VIRTGATE_LOGDIR "/audit.jsonl";
// Of the past, before --follow waits for what comes.
constexpr std::uint64_t k_followed_past = 10;
constexpr std::chrono::milliseconds k_pause{200};

constexpr char k_footer[] =
    "Example, what alice was refused since two hours ago:\n"
    "  virtgate audit --identity alice --refused --since 2h\n"
    "See virtgate-audit(1).";

// Shows the records that fit among the lines that it gets.
class Display {
public:
    // `last`: only so many of the lines that come before flush(); none: all.
    Display(Filter filter, bool json, std::optional<std::uint64_t> last)
        : filter_(std::move(filter)), json_(json), last_(last) {}

    // False if nobody reads what is shown.
    bool take(std::string_view line) {
        if (line.empty()) return true;
        const auto entry = parse_entry(line);
        if (!entry) {
            ++broken_;
            return true;
        }
        if (!filter_.matches(*entry)) return true;
        std::string text = json_ ? to_json(line) : describe(*entry, current_moment());
        text += '\n';
        if (!last_) return print(text);
        kept_.push_back(std::move(text));
        if (kept_.size() > *last_) kept_.pop_front();
        return true;
    }

    // Shows what was kept. From now on everything is shown at once.
    bool flush() {
        last_.reset();
        bool good = true;
        for (const std::string& text : kept_) good = good && print(text);
        kept_.clear();
        return std::fflush(stdout) == 0 && good;
    }

    // Says how many lines are no records, if there are new ones; `too_long` beside those that were seen here.
    void report_broken(const std::string& path, std::uint64_t too_long) {
        if (broken_ + too_long == reported_) return;
        reported_ = broken_ + too_long;
        static_cast<void>(say(fmt::format("{} lines of {} are no records: passed over", reported_, path), 0));
    }

    [[nodiscard]] std::uint64_t shown() const { return shown_; }

private:
    bool print(const std::string& text) {
        ++shown_;
        return std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
    }

    const Filter filter_;
    const bool json_;
    std::optional<std::uint64_t> last_;
    std::deque<std::string> kept_;
    std::uint64_t broken_ = 0, reported_ = 0, shown_ = 0;
};

class AuditCommand final : public Command {
public:
    explicit AuditCommand(CLI::App& app);
    [[nodiscard]] bool parsed() const override;
    [[nodiscard]] int run() const override;

private:
    CLI::App* audit_ = nullptr;

    std::string file_ = k_default_file, identity_, since_, until_, procedure_, object_;
    std::optional<std::uint64_t> session_, last_;
    bool refused_ = false, follows_ = false, json_ = false;

    [[nodiscard]] Result<Filter> filter() const;
    [[nodiscard]] int run_once(Display& display) const;
    [[nodiscard]] int run_follow(Display& display) const;
};

AuditCommand::AuditCommand(CLI::App& app) {
    audit_ = app.add_subcommand("audit", "who did what: show the records of the auditor");
    CLI::App& audit = *audit_;
    audit.footer(k_footer);
    audit
        .add_option("--file", file_,
                    "the file of records, or - for standard input (default: " VIRTGATE_LOGDIR "/audit.jsonl)")
        ->type_name("FILE");
    audit.add_option("--identity", identity_, "only of this identity")->type_name("NAME");
    audit.add_option("--since", since_, "from then on: 14:02, 2h (ago), 7d (ago), or a date and a time")
        ->type_name("TIME");
    audit.add_option("--until", until_, "before then")->type_name("TIME");
    audit.add_flag("--refused", refused_, "only what was refused, or allowed on probation alone");
    audit.add_option("--procedure", procedure_, "only calls of it: DOMAIN_DESTROY, \"domain_*\"")
        ->type_name("GLOB");
    audit.add_option("--object", object_, "only calls about it: \"web-*\", domain=db-1, or a UUID")
        ->type_name("[KIND=]GLOB");
    audit.add_option("--session", session_, "only of the session with this number")->type_name("N");
    audit.add_option("--last", last_, "only the last ones")->type_name("N");
    audit.add_flag("--follow", follows_, "show the last ten, and go on with those that come");
    audit.add_flag("--json", json_, "as they are in the file: one JSON object a line");
}

bool AuditCommand::parsed() const { return audit_->parsed(); }

Result<Filter> AuditCommand::filter() const {
    Filter filter{.refused = refused_, .procedure = procedure_, .object = object_, .session = session_};
    if (!identity_.empty()) filter.identity = identity_;
    const Moment now = current_moment();
    for (const auto& [option, text, to] :
         {std::tuple{"--since", &since_, &filter.since}, std::tuple{"--until", &until_, &filter.until}}) {
        if (text->empty()) continue;
        const auto moment = parse_moment(*text, now);
        if (!moment) return wrap(moment.error(), option);
        *to = *moment;
    }
    for (const auto& [option, glob] :
         {std::pair{"--procedure", &procedure_}, std::pair{"--object", &object_}})
        if (const std::string_view flaw = policy::flaw_of_glob(*glob); !glob->empty() && !flaw.empty())
            return peer_fault(fmt::format("{}: {}", option, flaw));
    return filter;
}

int AuditCommand::run() const {
    const Result<Filter> wanted = filter();
    if (!wanted) return say(wanted.error().text, spawn::k_exit_usage);
    if (follows_ && file_ == "-")
        return say("--follow: standard input is shown as it comes without it", spawn::k_exit_usage);
    std::optional<std::uint64_t> last = last_;
    // With a beginning that was asked for, everything since then.
    if (follows_ && !last && !wanted->since) last = k_followed_past;
    Display display(*wanted, json_, last);
    return follows_ ? run_follow(display) : run_once(display);
}

int AuditCommand::run_once(Display& display) const {
    const auto too_long = read_lines(file_, [&](std::string_view line) { return display.take(line); });
    const bool good = display.flush();
    if (!too_long) return say(too_long.error(), spawn::k_exit_system);
    display.report_broken(file_, *too_long);
    if (!good) return say("cannot write to standard output", spawn::k_exit_input_output);
    return display.shown() != 0 ? 0 : k_exit_none;
}

int AuditCommand::run_follow(Display& display) const {
    auto follower = Follower::open(file_);
    if (!follower) return say(follower.error(), spawn::k_exit_system);
    for (;;) {
        const auto too_long = follower->poll([&](std::string_view line) { return display.take(line); });
        const bool good = display.flush();
        if (!too_long) return say(too_long.error(), spawn::k_exit_system);
        display.report_broken(file_, *too_long);
        if (!good) return say("cannot write to standard output", spawn::k_exit_input_output);
        std::this_thread::sleep_for(k_pause);
    }
}

}  // namespace

std::unique_ptr<Command> add_command(CLI::App& app) { return std::make_unique<AuditCommand>(app); }

}  // namespace virtgate::ctl::audit
