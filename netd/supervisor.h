// SPDX-License-Identifier: LGPL-2.1-or-later
// supervisor - starts netd's processes, connects them with each other, and keeps them running.
//
//     listener ──▶ gate-0 ◀──▶ keeper-0        each channel is a socketpair; both ends are handed over
//              └─▶ gate-1 ◀──▶ keeper-1        with ADOPT whenever one of the two was started
//                    ▲  ▲
//                    └──┴────── doorman
//
// A reload (SIGHUP) reads the configuration anew, starts new gates and keepers on the same listener and a new
// doorman, and lets the old gates drain: they accept nothing new and end with their last session. A
// configuration that is wrong changes nothing.
//
// Trust:  no client's byte comes here. The children may be taken over; all they can say is READY.
// Owns:   the listener and every child; run() returns when all of them have ended.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "libshared/spawn/user.h"
#include "netd/listener.h"
#include "netd/post.h"
#include "netd/settings.h"

namespace virtgate::netd {

class Supervisor final : private PostOwner {
public:
    // How long children may take to end.
    static constexpr Milliseconds k_patience{2'500};

    // `path`: of the configuration file, for reloads. `directory`: where the children's executables are.
    Supervisor(loop::Loop& loop, std::string path, std::string directory, Settings settings, Pki pki,
               Listener listener);

    // Serves until SIGTERM, SIGINT, or a child that cannot be started at all. Returns the exit status of the
    // program.
    int run();

private:
    // A gate and its keeper.
    struct Seat {
        Seat(loop::Loop& loop, PostOwner& owner, std::uint32_t index)
            : gate(loop, owner, Role::gate, index), keeper(loop, owner, Role::keeper, index) {}
        Post gate, keeper;
        bool draining = false;
    };

    Result<spawn::Launch> plan(Post& post) override;
    void on_up(Post& post) noexcept override;
    void on_ready(Post& post) noexcept override;
    void on_down(Post& post, const spawn::Exit& exit) noexcept override;
    void on_stop_signal(loop::Want ready) noexcept;
    void on_reload_signal(loop::Want ready) noexcept;
    void on_sweep() noexcept;

    [[nodiscard]] ByteVector make_config(const Post& post) const;
    void link(Post& one, Post& other) noexcept;
    void add_seats() noexcept;
    void reload();
    void stop(int status) noexcept;
    void announce() noexcept;
    [[nodiscard]] bool all_ready() const noexcept;
    [[nodiscard]] bool all_idle() const noexcept;
    [[nodiscard]] Seat& seat_of(const Post& post) noexcept;
    void find_users() noexcept;

    loop::Loop& loop_;
    std::string path_, directory_;
    Settings settings_;
    Pki pki_;
    Listener listener_;
    Log log_;
    std::map<Role, spawn::User> users_;
    Post doorman_;
    std::vector<std::unique_ptr<Seat>> seats_;
    std::vector<std::unique_ptr<loop::Watch>> signals_;
    std::unique_ptr<loop::Timer> sweep_;
    bool served_ = false;     // everything was ready once
    bool announced_ = false;  // the service manager knows
    bool stopping_ = false;
    bool renew_doorman_ = false;
    unsigned early_ends_ = 0;  // of children, before everything was ready once
    int status_ = 0;
};

}  // namespace virtgate::netd
