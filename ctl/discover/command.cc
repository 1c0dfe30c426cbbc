// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate discover".
#include "ctl/discover/command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>
#include <string>

#include "ctl/discover/browser.h"
#include "ctl/discover/listing.h"
#include "ctl/discover/servers.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::discover {

namespace {

constexpr int k_exit_none = 1;
// As long as avahi-daemon waits for an answer.
constexpr double k_usual_time = 5;
constexpr double k_time_min = 0.1, k_time_max = 86'400;

constexpr char k_footer[] =
    "Example, log in at the first server that is found:\n"
    "  virsh -c \"$(virtgate discover --json | jq -r '.servers[0].uri')\"\n"
    "See virtgate-discover(1).";

// Looks until all have probably answered or the time is over, or, with `watch`, goes on.
class Search final : private BrowserOwner {
public:
    Search(bool json, bool watch, std::optional<Milliseconds> time)
        : json_(json),
          watch_(watch),
          loop_(loop::make_event_loop()),
          over_(loop_->timer(loop::to<&Search::on_over>(*this))),
          browser_(*loop_, *this) {
        if (time) over_->start(*time);
    }

    int run() {
        if (auto done = browser_.start(); !done) failure_ = std::move(done.error());
        if (!failure_) loop_->run();
        if (!watch_ && !failure_) {
            const auto servers = servers_.list();
            fmt::print("{}", json_ ? list_json(servers) : list_text(servers));
            return servers.empty() ? k_exit_none : 0;
        }
        if (!failure_) return any_ ? 0 : k_exit_none;
        fmt::print(stderr, "virtgate: {}\n", failure_->text);
        return spawn::k_exit_system;
    }

private:
    void on_over() noexcept { loop_->stop(); }
    void on_settled() noexcept override {
        if (!watch_) loop_->stop();
    }
    void on_failed(const Error& error) noexcept override {
        failure_ = error;
        loop_->stop();
    }
    void on_sighting(const Name& name, const Way& way, Sighting sighting) noexcept override {
        const bool is_new = !servers_.has(name);
        if (const auto server = servers_.add(name, way, std::move(sighting)))
            tell(is_new ? "found" : "changed", *server);
    }
    void on_lost(const Name& name, const Way& way) noexcept override {
        if (const auto server = servers_.remove(name, way)) tell("gone", *server);
    }
    void tell(std::string_view what, const Server& server) noexcept {
        any_ = true;
        if (!watch_) return;
        fmt::print("{}", json_ ? event_json(what, server) : event_text(what, server));
        // Whoever reads it has gone.
        if (std::fflush(stdout) != 0) loop_->stop();
    }

    bool json_, watch_, any_ = false;
    std::unique_ptr<loop::Loop> loop_;
    std::unique_ptr<loop::Timer> over_;
    std::optional<Error> failure_;
    Servers servers_;
    Browser browser_;
};

class DiscoverCommand final : public Command {
public:
    explicit DiscoverCommand(CLI::App& app) : discover_(app.add_subcommand("discover", k_description)) {
        discover_->footer(k_footer);
        time_ = discover_
                    ->add_option("--timeout", seconds_,
                                 "how long to look at most (default: 5; with --watch: until it is ended)")
                    ->type_name("SECONDS");
        discover_->add_flag("--watch", watch_, "go on, with a line for each server that comes or goes");
        discover_->add_flag("--json", json_, "as JSON");
    }
    [[nodiscard]] bool parsed() const override { return discover_->parsed(); }
    [[nodiscard]] int run() const override {
        if (!(seconds_ >= k_time_min && seconds_ <= k_time_max)) {
            fmt::print(stderr, "virtgate: --timeout: has to be {} to {} seconds\n", k_time_min, k_time_max);
            return spawn::k_exit_usage;
        }
        std::optional<Milliseconds> time;
        if (!watch_ || time_->count() > 0) time = Milliseconds{static_cast<std::int64_t>(seconds_ * 1000)};
        return Search(json_, watch_, time).run();
    }

private:
    static constexpr char k_description[] = "servers on the network that announce themselves";
    CLI::App* discover_;
    CLI::Option* time_ = nullptr;
    double seconds_ = k_usual_time;
    bool watch_ = false, json_ = false;
};

}  // namespace

std::unique_ptr<Command> add_command(CLI::App& app) { return std::make_unique<DiscoverCommand>(app); }

}  // namespace virtgate::ctl::discover
