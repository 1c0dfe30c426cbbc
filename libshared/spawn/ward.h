// SPDX-License-Identifier: LGPL-2.1-or-later
// ward - one child process that is kept running: started, watched, restarted, stopped.
//
//     idle ──start()──▶ running ──it ends──▶ resting ──back-off──▶ running
//       ▲                  │ stop()                │ stop()
//       └── it ends ── stopping ◀──────────────────┘ (to idle at once: nothing runs)
//
// A child that ends is started again after a pause: 100 ms, doubling up to 10 s, and 100 ms again after a
// child that ran for 10 s. How it ended is logged in words; a system call violation always as an error, with
// the number of those of this ward. A child that could not be started counts as one that ended. One that
// ended to wait for something outside (Exit::is_waiting()) has said so itself, and nothing more is said.
//
// Trust:  nothing that the child sends is read here, but its log lines (log_relay.h).
// Owns:   the process: destroying a Ward kills and reaps it.
#pragma once

#include <memory>
#include <string>

#include "libshared/base/log.h"
#include "libshared/loop/loop.h"
#include "libshared/spawn/child.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/log_relay.h"

namespace virtgate::spawn {

class Ward;

// Whoever wants the process. The calls come from the loop, or from Ward::start().
class WardOwner {
public:
    virtual ~WardOwner() = default;
    // What to start now; asked before every start, so that descriptors and configuration are fresh.
    // Launch::name is set by the ward. Error: logged, and tried again later.
    virtual Result<Launch> plan(Ward& ward) = 0;
    // It runs. `control` is our end of its control channel; empty if the plan asked for none.
    virtual void on_started(Ward& ward, UniqueFd control) noexcept = 0;
    // It has ended, or could not be started (status 71). The last thing that a ward does in its callback:
    // `ward` may be destroyed in it. Unless `ward` is idle, it will be started again by itself.
    virtual void on_ended(Ward& ward, const Exit& exit) noexcept = 0;
};

class Ward {
public:
    static constexpr Milliseconds k_rest_min{100};
    static constexpr Milliseconds k_rest_max{10'000};
    static constexpr Milliseconds k_good_run{10'000};

    enum class Restart : unsigned char { always, never };

    // `name`: for logs, "gate-0". Nothing is started yet.
    Ward(loop::Loop& loop, WardOwner& owner, std::string name, Restart restart = Restart::always);
    ~Ward();
    Ward(const Ward&) = delete;
    Ward& operator=(const Ward&) = delete;

    // Starts the process now. Not while it is running or stopping.
    void start() noexcept;
    // Ends the process: SIGTERM now, SIGKILL after `patience`. on_ended() follows if it was running; if it
    // was resting or idle, the ward is idle at once and nothing follows.
    void stop(Milliseconds patience) noexcept;
    // What happens from now on when the process ends by itself.
    void set_restart(Restart restart) noexcept { restart_ = restart; }

    [[nodiscard]] bool is_idle() const noexcept { return state_ == State::idle; }
    [[nodiscard]] bool is_running() const noexcept { return state_ == State::running; }
    // Of the running process; -1 if none runs.
    [[nodiscard]] pid_t pid() const noexcept { return child_.pid; }
    [[nodiscard]] const std::string& name() const noexcept { return name_; }

private:
    enum class State : unsigned char { idle, running, resting, stopping };
    void on_process(loop::Want ready) noexcept;
    void on_rested() noexcept { start(); }
    void on_impatient() noexcept;
    void signal(int number) noexcept;
    void rest_or_end(const Exit& exit) noexcept;
    [[nodiscard]] Exit reap() noexcept;
    [[nodiscard]] std::string tell(const Exit& exit);

    loop::Loop& loop_;
    WardOwner& owner_;
    std::string name_;
    Restart restart_;
    Log log_;
    State state_ = State::idle;
    Child child_;
    Instant started_{};
    Milliseconds rest_ = k_rest_min;
    unsigned violations_ = 0;
    std::unique_ptr<LogRelay> relay_;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> rested_, impatient_;
};

}  // namespace virtgate::spawn
