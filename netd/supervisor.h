// SPDX-License-Identifier: LGPL-2.1-or-later
// supervisor - has one generation of processes serve, replaces it on a reload, and ends all on a signal.
//
// A reload (SIGHUP, or a certificate, key, CA or revocation list that has changed) reads the configuration anew and
// starts a new generation on the same listeners. When all of it is ready, the old one drains: its gates accept
// nothing new and end with their last sessions. A configuration that is wrong, or a generation that does not become
// ready, changes nothing.
//
// An administrator can have it drain (supervisor_orders.cc): then there are only generations that drain, until he has it
// resume, which is a reload. Nothing else reloads meanwhile.
//
// Trust:  no client's byte comes here.
// Owns:   the listeners and every process; run() returns when all of them have ended.
#pragma once

#include <memory>
#include <vector>

#include "netd/announcement.h"
#include "netd/file_watch.h"
#include "netd/generation.h"
#include "netd/publication.h"
#include "netd/stewardship.h"

namespace virtgate::netd {

class Supervisor final : private GenerationOwner, private StewardshipOwner {
public:
    // `path`: of the configuration file, for reloads.
    Supervisor(loop::Loop& loop, std::string path, Ground ground);

    // Serves `settings` until SIGTERM, SIGINT, or until it turns out that they cannot work. Returns the exit
    // status of the program.
    int run(Settings settings, Pki pki, UniqueFd key);

private:
    void on_serving(Generation& generation) noexcept override;
    void on_failed(Generation& generation, int status) noexcept override;
    void on_ended(Generation& generation) noexcept override;
    void on_counting_up(Generation& generation, Post& post) noexcept override;
    void on_stop_signal(loop::Want ready) noexcept;
    void on_reload_signal(loop::Want ready) noexcept;
    void add_generation(Settings settings, Pki pki, UniqueFd key);
    void on_files_changed() noexcept;
    void reload();
    void reload_later() noexcept;
    [[nodiscard]] Done begin_reload();

    // supervisor_orders.cc: what administrators want
    void on_steward_up() noexcept override;
    void on_steward_ended() noexcept override { end_if_all_have_ended(); }
    proto::control::StateRet tell_state() override;
    metrics::Samples tell_counts() override;  // supervisor_counts.cc
    Verdict change(const proto::control::ChangeArgs& arguments) override;
    Verdict change_filters(const std::string& text);
    Verdict change_outputs(const std::string& text);
    void move_outputs(const logging::Settings& before, logging::Settings& now) noexcept;
    Verdict drain(const proto::control::DrainArgs& arguments) override;
    void reload(Ticket ticket) override;
    void resume(Ticket ticket) override;
    void set_log(logging::Settings log);
    void on_drain_end() noexcept;
    void answer_all(std::vector<Ticket>& tickets, const Verdict& verdict) noexcept;
    void stop(int status) noexcept;
    void find_users(const Settings& settings);
    void tell_where(const Settings& settings) noexcept;
    void on_withdrawn() noexcept;
    void end_if_all_have_ended() noexcept;

    loop::Loop& loop_;
    std::string path_;
    Log log_;
    Ground ground_;
    std::vector<std::unique_ptr<Generation>> generations_;  // the newest is the last
    Announcement announcement_;
    Stewardship stewardship_;
    Publication publication_;
    std::optional<Settings>
        settings_{};  // of the newest generation that has served, with what was changed since
    Level configured_level_ = Level::info;  // of these, before any change
    std::uint32_t last_generation_ = 0, served_generation_ = 0, last_gate_ = 0;
    std::int64_t since_ = 0, served_since_ = 0;
    std::uint64_t loads_ = 0, failed_loads_ = 0;
    bool is_drained_ = false;
    bool is_dismissed_ = false;  // the time of that was over, and sessions were told
    std::int64_t drained_until_ = 0;
    std::unique_ptr<loop::Timer> drain_end_;
    std::vector<Ticket> asked_,
        under_way_;  // who waits for the next reload, and for the one that is under way
    std::vector<std::unique_ptr<loop::Watch>> signals_;
    FileWatch files_;
    bool reload_waits_ = false;  // for the start or reload that is under way
    bool stopping_ = false;
    int status_ = 0;
};

}  // namespace virtgate::netd
