// SPDX-License-Identifier: LGPL-2.1-or-later
// generation - the processes that serve one reading of the configuration, connected with each other.
//
//     listener ──▶ gate-0 ◀──▶ keeper-0      each arrow between two processes is a socketpair;
//              └─▶ gate-1 ◀──▶ keeper-1      both get their end with ADOPT whenever one of
//                    ▲  ▲                    the two was started
//                    └──┴────── doorman ◀──▶ sasl (where a listener has logins)
//                                  ▲
//     UNIX listeners ──────────────┘
//
//     starting ──all ready──▶ serving ──drain()──▶ draining ──▶ (ended)
//         └── cannot work: on_failed()     stop(), from every state ──▶ stopping ──▶ (ended)
//
// Trust:  no client's byte comes here. The children may be taken over; all they can say is READY.
// Owns:   its processes, and what they are made from: settings, certificates and the private key's open file,
// so that
//         a child that is started again gets what its peers have, whatever happened to the files meanwhile.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "netd/ground.h"
#include "netd/post.h"
#include "netd/settings.h"

namespace virtgate::netd {

class Generation;

// All calls come from the loop, and `generation` may be destroyed in on_ended().
class GenerationOwner {
public:
    virtual ~GenerationOwner() = default;
    // Every process is ready, for the first time.
    virtual void on_serving(Generation& generation) noexcept = 0;
    // That has never happened, and it will not: a child says that the configuration is wrong (status 78), or
    // children end again and again (71). The owner has to stop() it.
    virtual void on_failed(Generation& generation, int status) noexcept = 0;
    // A gate, or the doorman, has been started: the steward has to know it.
    virtual void on_counting_up(Generation& generation, Post& post) noexcept = 0;
    // No process is left after drain() or stop().
    virtual void on_ended(Generation& generation) noexcept = 0;
};

class Generation final : private PostOwner {
public:
    // How long children may take to end when they are stopped.
    static constexpr Milliseconds k_patience{2'500};
    // Children that end so often before everything was ready once will not do better later.
    static constexpr unsigned k_early_ends_max = 5;

    // `indices`: the numbers of its gates, which no other generation uses. `key`: the open private key.
    Generation(loop::Loop& loop, GenerationOwner& owner, const Ground& ground, Settings settings, Pki pki,
               UniqueFd key, const std::vector<std::uint32_t>& indices);

    void start() noexcept;
    // Lets the gates end with their last sessions; then everything else ends.
    void drain() noexcept;
    // Has the gates end their sessions, with `reason` (at most 256 bytes) as their clients' error.
    void dismiss(const std::string& reason) noexcept;
    // Ends everything within k_patience.
    void stop() noexcept;

    // Changes what its processes log, and how many clients all gates together take, for those that run and those that
    // are started later.
    void set_log(const logging::Settings& log);
    void set_bounds(const proto::control::ClientBounds& bounds);
    [[nodiscard]] const proto::control::ClientBounds& bounds() const noexcept { return bounds_; }

    [[nodiscard]] const Settings& settings() const noexcept { return settings_; }
    // Which reading of the configuration it is; for its owner.
    [[nodiscard]] std::uint32_t number() const noexcept { return number_; }
    void set_number(std::uint32_t number) noexcept { number_ = number; }
    template <class Visit>
    void visit_counting(Visit&& visit) {
        visit(doorman_);
        for (const auto& seat : seats_) visit(seat->gate);
    }
    // Adds its processes to `list`.
    void list_processes(std::vector<proto::control::Process>& list) const;
    [[nodiscard]] bool is_starting() const noexcept { return state_ == State::starting && failure_ == 0; }
    [[nodiscard]] bool is_serving() const noexcept { return state_ == State::serving; }
    // True if a gate that has not ended has this number.
    [[nodiscard]] bool has_gate(std::uint32_t index) const noexcept;

private:
    enum class State : unsigned char { starting, serving, draining, stopping };
    // A gate and its keeper.
    struct Seat {
        Seat(loop::Loop& loop, PostOwner& owner, std::uint32_t index)
            : gate(loop, owner, Role::gate, index), keeper(loop, owner, Role::keeper, index) {}
        [[nodiscard]] bool is_idle() const noexcept { return gate.is_idle() && keeper.is_idle(); }
        [[nodiscard]] bool is_ready() const noexcept { return gate.is_ready() && keeper.is_ready(); }
        Post gate, keeper;
    };

    Result<spawn::Launch> plan(Post& post) override;
    void on_up(Post& post) noexcept override;
    void on_ready(Post& post) noexcept override;
    void on_down(Post& post, const spawn::Exit& exit) noexcept override;
    static void serve(Post& post) noexcept;
    void on_sweep() noexcept;
    void clear_seats() noexcept;
    [[nodiscard]] proto::config::ClientLimits limits_of(const Post& gate) const;
    [[nodiscard]] proto::supervise::TuneArgs tuning_of(const Post& post) const;
    void tune() noexcept;
    [[nodiscard]] ByteVector make_config(const Post& post) const;
    [[nodiscard]] Result<std::vector<UniqueFd>> make_descriptors(const Post& post) const;
    void link(Post& one, Post& other) noexcept;

    GenerationOwner& owner_;
    const Ground& ground_;
    Settings settings_;
    Pki pki_;
    UniqueFd key_;
    proto::control::ClientBounds bounds_;  // of all gates together
    Log log_;
    State state_ = State::starting;
    Post doorman_;
    Post sasl_;  // idle for ever where nobody logs in
    std::vector<std::unique_ptr<Seat>> seats_;
    std::uint32_t number_ = 0;
    std::unique_ptr<loop::Timer> sweep_;
    unsigned early_ends_ = 0;
    int failure_ = 0;  // exit status
};

}  // namespace virtgate::netd
