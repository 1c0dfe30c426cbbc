// SPDX-License-Identifier: LGPL-2.1-or-later
// departures - what becomes of the locks of a process that gave up its connection.
#include "lockd/locker/departures.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "libshared/base/bytes.h"
#include "libshared/base/log.h"

namespace virtgate::lockd::locker {

using loop::Want;

namespace {

bool has_ended(int process) noexcept {
    pollfd one{process, POLLIN, 0};
    return poll(&one, 1, 0) == 1;
}

std::string describe(const Owner& owner) {
    if (!is_process(owner)) return fmt::format("a session of {}", escape(as_text(owner.name)));
    return fmt::format("process {} ({})", owner.process, escape(as_text(owner.name)));
}

}  // namespace

// One process.
class Departures::Departure {
public:
    Departure(loop::Loop& loop, Departures& owner, Leaving leaving, Key key)
        : owner_(owner),
          leaving_(std::move(leaving)),
          key_(key),
          timer_(loop.timer(loop::to<&Departure::on_time>(*this))) {
        if (!is_process(leaving_.owner) && leaving_.connection)
            watch_ =
                loop.watch(leaving_.connection.get(), Want::read, loop::to<&Departure::on_connection>(*this));
        else if (leaving_.process)
            watch_ = loop.watch(leaving_.process.get(), Want::read, loop::to<&Departure::on_ended>(*this));
    }

    [[nodiscard]] Key key() const noexcept { return key_; }
    [[nodiscard]] std::optional<Slot> slot() const noexcept { return leaving_.slot; }
    [[nodiscard]] const Owner& owner() const noexcept { return leaving_.owner; }
    [[nodiscard]] bool is_gone() const noexcept {
        if (!is_process(leaving_.owner)) return !leaving_.connection || is_at_end();
        return !leaving_.process || has_ended(leaving_.process.get());
    }
    // True once, when its locks are released: its connection need not be kept any more.
    [[nodiscard]] bool take_released() noexcept { return std::exchange(is_releasing_, false); }

    // Not watched any more; its locks are being released.
    void set_releasing() noexcept {
        is_releasing_ = true;
        watch_.reset();
        timer_->stop();
    }

    void end_process(std::string_view why) noexcept {
        if (std::exchange(is_ending_, true)) return;
        Log{}.warning("{} {}: SIGTERM", describe(leaving_.owner), why);
        if (signal(SIGTERM)) timer_->start(k_until_kill);
    }

private:
    bool signal(int number) noexcept {
        if (syscall(SYS_pidfd_send_signal, leaving_.process.get(), number, nullptr, 0U) == 0 ||
            errno == ESRCH)
            return true;
        Log{}.error("cannot end {}: {}; its locks stay until it has ended", describe(leaving_.owner),
                    std::strerror(errno));
        return false;
    }

    void on_time() noexcept {
        if (is_killed_)
            return Log{}.error("{} does not end; its locks stay until it has ended",
                               describe(leaving_.owner));
        is_killed_ = true;
        Log{}.warning("{} does not end: SIGKILL", describe(leaving_.owner));
        if (signal(SIGKILL)) timer_->start(k_until_said);
    }

    void on_ended(Want) noexcept { owner_.on_gone(*this); }

    // What still comes by the connection is of no interest, only its end is.
    void on_connection(Want) noexcept {
        if (is_at_end()) owner_.on_gone(*this);
    }
    [[nodiscard]] bool is_at_end() const noexcept {
        std::byte rest[4096];
        ssize_t n = 0;
        do n = recv(leaving_.connection.get(), rest, sizeof rest, MSG_DONTWAIT);
        while (n > 0 || (n < 0 && errno == EINTR));
        return n == 0 || errno != EAGAIN;
    }

    Departures& owner_;
    const Leaving leaving_;
    const Key key_;
    bool is_ending_ = false;
    bool is_killed_ = false;
    bool is_releasing_ = false;
    std::unique_ptr<loop::Timer> timer_;
    std::unique_ptr<loop::Watch> watch_;
};

Departures::Departures(loop::Loop& loop, LockTable& table, Keeping& keeping, bool fencing)
    : loop_(loop), table_(table), keeping_(keeping), fencing_(fencing) {}

Departures::~Departures() { keeping_.forget(*this); }

Departures::Departure& Departures::add(Leaving leaving) {
    const Key key = next_++;
    return *all_.emplace(key, std::make_unique<Departure>(loop_, *this, std::move(leaving), key))
                .first->second;
}

void Departures::begin(Leaving leaving) {
    Departure& departure = add(std::move(leaving));
    const std::size_t locks = table_.count_of(departure.owner());
    if (departure.is_gone() || locks == 0) return on_gone(departure);
    if (fencing_)
        ++fencings_, departure.end_process(fmt::format("ended its connection and holds {} locks", locks));
}

void Departures::fence(const Owner& owner, UniqueFd process, std::string_view name) {
    const std::string why = fmt::format("has lost the lock on {}", escape(name));
    for (const auto& [key, departure] : all_)
        if (is_same(departure->owner(), owner) && !departure->is_gone()) {
            if (fencing_ && process) ++fencings_, departure->end_process(why);
            return;
        }
    const bool is_known = static_cast<bool>(process);
    if (!is_known) process = UniqueFd{static_cast<int>(syscall(SYS_pidfd_open, owner.process, 0U))};
    if (!is_known && process)
        Log{}.error("{} {} and has no connection of its own: it is not ended", describe(owner), why);
    Departure& departure = add({.owner = owner, .process = std::move(process)});
    if (departure.is_gone()) return on_gone(departure);
    if (fencing_ && is_known) ++fencings_, departure.end_process(why);
}

void Departures::await(Leaving leaving) {
    Departure& departure = add(std::move(leaving));
    if (departure.is_gone()) on_gone(departure);
}

void Departures::on_gone(Departure& departure) noexcept {
    departure.set_releasing();
    table_.release_all(departure.owner());
}

void Departures::on_all_released(const Owner& owner) noexcept {
    // The same process may have had several connections.
    for (auto one = all_.begin(); one != all_.end();) {
        const auto next = std::next(one);
        Departure& departure = *one->second;
        if (is_same(departure.owner(), owner) && departure.take_released()) {
            if (departure.slot())
                keeping_.drop(*departure.slot(), one->first, *this);
            else
                all_.erase(one);
        }
        one = next;
    }
}

void Departures::on_kept(Ticket ticket, Answer<void> done) noexcept {
    const auto found = all_.find(ticket);
    if (found == all_.end()) return;
    if (done) keeping_.free_slot(*found->second->slot());
    all_.erase(found);
}

}  // namespace virtgate::lockd::locker
