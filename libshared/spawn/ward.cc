// SPDX-License-Identifier: LGPL-2.1-or-later
// ward - one child process that is kept running: started, watched, restarted, stopped.
#include "libshared/spawn/ward.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "libshared/spawn/census.h"

namespace virtgate::spawn {

Ward::Ward(loop::Loop& loop, WardOwner& owner, std::string name, Restart restart)
    : loop_(loop), owner_(owner), name_(std::move(name)), restart_(restart), log_(name_) {
    rested_ = loop.timer(loop::to<&Ward::on_rested>(*this));
    impatient_ = loop.timer(loop::to<&Ward::on_impatient>(*this));
}

Ward::~Ward() {
    if (child_.pid < 0) return;
    signal(SIGKILL);
    static_cast<void>(reap());
}

void Ward::start() noexcept {
    require(state_ == State::idle || state_ == State::resting, "a ward that runs is started");
    rested_->stop();
    started_ = loop_.clock().now();
    auto plan = owner_.plan(*this);
    if (plan) plan->name = name_;
    const unsigned log_lines_per_second = plan ? plan->log_lines_per_second : 0;
    Result<Child> child = plan ? spawn::start(std::move(*plan)) : tl::unexpected(plan.error());
    if (!child) {
        log_.error("{}", child.error().text);
        state_ = State::running;  // for a moment: it goes on as if it had ended at once
        return rest_or_end(Exit{.by_signal = false, .number = k_exit_system});
    }
    child_ = std::move(*child);
    state_ = State::running;
    Census::of_this_process().begin(name_, child_.pid);
    log_.debug("started as process {}", child_.pid);
    relay_ = std::make_unique<LogRelay>(loop_, std::move(child_.log),
                                        fmt::format("{}[{}]", name_, child_.pid), log_lines_per_second);
    watch_ = loop_.watch(child_.process.get(), loop::Want::read, loop::to<&Ward::on_process>(*this));
    owner_.on_started(*this, std::move(child_.control));
}

void Ward::stop(Milliseconds patience) noexcept {
    rested_->stop();
    if (state_ == State::resting) state_ = State::idle;
    if (state_ != State::running) return;
    state_ = State::stopping;
    signal(SIGTERM);
    impatient_->start(patience);
}

void Ward::signal(int number) noexcept {
    // By descriptor, not by number: it cannot hit a process that got the number later. Fails only when it is
    // dead.
    syscall(SYS_pidfd_send_signal, child_.process.get(), number, nullptr, 0);
}

void Ward::on_impatient() noexcept {
    if (state_ != State::stopping) return;
    log_.warning("process {} does not end; it is killed", child_.pid);
    signal(SIGKILL);
}

Exit Ward::reap() noexcept {
    Census::of_this_process().end(name_, child_.pid);
    siginfo_t info{};
    while (waitid(P_PIDFD, static_cast<id_t>(child_.process.get()), &info, WEXITED) < 0 && errno == EINTR) {
    }
    watch_.reset();
    child_ = Child{};
    return {.by_signal = info.si_code != CLD_EXITED, .number = info.si_status};
}

// In words; a violation is counted.
std::string Ward::tell(const Exit& exit) {
    if (!exit.is_violation()) return describe(exit);
    ++violations_;
    return fmt::format("{}, {} {} so far", describe(exit), violations_, violations_ == 1 ? "time" : "times");
}

void Ward::on_process(loop::Want) noexcept {
    const pid_t pid = child_.pid;
    const Exit exit = reap();
    impatient_->stop();
    relay_->drain();  // its last words come before the news of its end
    relay_.reset();
    const auto ran = std::chrono::duration_cast<Milliseconds>(loop_.clock().now() - started_);
    if (ran >= k_good_run) rest_ = k_rest_min;
    const std::string how = tell(exit);
    if (exit.is_violation() || (state_ != State::stopping && !exit.success() && !exit.is_waiting()))
        Census::of_this_process().note_crash(name_);
    if (state_ == State::stopping || restart_ == Restart::never)
        exit.is_violation() ? log_.error("process {} {}", pid, how) : log_.debug("process {} {}", pid, how);
    else if (exit.is_waiting())
        log_.debug("process {} {}; it is started again in {} ms", pid, how, rest_.count());
    else if (exit.success())
        log_.info("process {} ended; it is started again in {} ms", pid, rest_.count());
    else
        log_.error("process {} {}; it is started again in {} ms", pid, how, rest_.count());
    rest_or_end(exit);
}

void Ward::rest_or_end(const Exit& exit) noexcept {
    if (state_ == State::running && restart_ == Restart::always) {
        state_ = State::resting;
        rested_->start(rest_);
        rest_ = std::min(2 * rest_, k_rest_max);
    } else {
        state_ = State::idle;
    }
    owner_.on_ended(*this, exit);
}

}  // namespace virtgate::spawn
