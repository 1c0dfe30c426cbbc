// SPDX-License-Identifier: LGPL-2.1-or-later
// supervisor - has one generation of processes serve, replaces it on a reload, and ends all on a signal.
//
// A reload (SIGHUP, or a certificate, key, CA or revocation list that has changed) reads the configuration anew and
// starts a new generation on the same listeners. When all of it is ready, the old one drains: its gates accept
// nothing new and end with their last sessions. A configuration that is wrong, or a generation that does not become
// ready, changes nothing.
//
// Trust:  no client's byte comes here.
// Owns:   the listeners and every process; run() returns when all of them have ended.
#pragma once

#include <memory>
#include <vector>

#include "netd/announcement.h"
#include "netd/file_watch.h"
#include "netd/generation.h"

namespace virtgate::netd {

class Supervisor final : private GenerationOwner {
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
    void on_stop_signal(loop::Want ready) noexcept;
    void on_reload_signal(loop::Want ready) noexcept;
    void add_generation(Settings settings, Pki pki, UniqueFd key);
    void on_files_changed() noexcept;
    void reload();
    void reload_later() noexcept;
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
    std::vector<std::unique_ptr<loop::Watch>> signals_;
    FileWatch files_;
    bool reload_waits_ = false;  // for the start or reload that is under way
    bool stopping_ = false;
    int status_ = 0;
};

}  // namespace virtgate::netd
