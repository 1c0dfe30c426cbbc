// SPDX-License-Identifier: LGPL-2.1-or-later
// event_loop - the Loop on libevent.
//
// Read and write interest are two events: libevent then changes one epoll registration without rebuilding an event.
#include <event2/event.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>

#include "libshared/base/handle.h"
#include "libshared/base/log.h"
#include "libshared/base/path_fault.h"
#include "libshared/base/result.h"
#include "libshared/loop/event_base.h"
#include "libshared/loop/loop.h"

namespace virtgate::loop {

namespace {

using Base = std::unique_ptr<event_base, FreeWith<event_base_free>>;
using Event = std::unique_ptr<event, FreeWith<event_free>>;

class EventWatch final : public Watch {
public:
    EventWatch(event_base* base, int fd, Want want, Target<Want> target) noexcept
        : base_(base), fd_(fd), target_(target) {
        set(want);
    }

    void set(Want want) noexcept override {
        if (want == want_) return;
        arm(read_, has(want, Want::read), EV_READ);
        arm(write_, has(want, Want::write), EV_WRITE);
        want_ = want;
    }

    void wake(Want ready) noexcept override {
        if (has(ready, Want::read)) event_active(get(read_, EV_READ), EV_READ, 0);
        if (has(ready, Want::write)) event_active(get(write_, EV_WRITE), EV_WRITE, 0);
    }

private:
    event* get(Event& which, short what) noexcept {
        if (!which) which.reset(event_new(base_, fd_, static_cast<short>(what | EV_PERSIST), fire, this));
        require(which != nullptr, "no memory for an event");
        return which.get();
    }

    void arm(Event& which, bool on, short what) noexcept {
        const bool is_on = has(want_, what == EV_READ ? Want::read : Want::write);
        if (on == is_on) return;
        const int failed = on ? event_add(get(which, what), nullptr) : event_del(which.get());
        // EPERM: a file that a peer passed on as if it were a socket. It is never ready; whoever waits for it has a deadline.
        require(failed == 0 || (on && errno == EPERM), "an event could not be changed");
    }

    static void fire(int, short what, void* self) noexcept {
        auto* watch = static_cast<EventWatch*>(self);
        watch->target_((what & EV_READ) != 0 ? Want::read : Want::write);
    }

    event_base* base_;
    int fd_;
    Want want_ = Want::nothing;
    Target<Want> target_;
    Event read_, write_;
};

class EventSignal final : public Watch {
public:
    EventSignal(event_base* base, int number, Target<Want> target) noexcept
        : target_(target), event_(evsignal_new(base, number, fire, this)) {
        require(event_ != nullptr && event_add(event_.get(), nullptr) == 0, "a signal could not be watched");
    }
    void set(Want) noexcept override {}
    void wake(Want) noexcept override { event_active(event_.get(), EV_SIGNAL, 1); }

private:
    static void fire(int, short, void* self) noexcept {
        static_cast<EventSignal*>(self)->target_(Want::read);
    }
    Target<Want> target_;
    Event event_;
};

class EventTimer final : public Timer {
public:
    EventTimer(event_base* base, Target<> target) noexcept
        : target_(target), event_(evtimer_new(base, fire, this)) {
        require(event_ != nullptr, "no memory for a timer");
    }
    void start(Milliseconds delay) noexcept override {
        const auto ms = delay.count() < 0 ? 0 : delay.count();
        const timeval tv{static_cast<time_t>(ms / 1000), static_cast<suseconds_t>(ms % 1000 * 1000)};
        require(evtimer_add(event_.get(), &tv) == 0, "a timer could not be started");
    }
    void stop() noexcept override { evtimer_del(event_.get()); }
    [[nodiscard]] bool running() const noexcept override {
        return evtimer_pending(event_.get(), nullptr) != 0;
    }

private:
    static void fire(int, short, void* self) noexcept { static_cast<EventTimer*>(self)->target_(); }
    Target<> target_;
    Event event_;
};

// The library says what is wrong, and then ends the process, when a loop or a signal's pipe finds no descriptor or memory.
void on_library_line(int severity, const char* text) noexcept {
    const int number = errno;
    if (severity >= EVENT_LOG_WARN) Log{}.error("event loop: {}{}", text, advice_for(number));
}

void on_library_end(int) noexcept { _exit(EX_OSERR); }

Base make_base() noexcept {
    event_set_log_callback(on_library_line);
    event_set_fatal_callback(on_library_end);
    const std::unique_ptr<event_config, FreeWith<event_config_free>> config{event_config_new()};
    require(config != nullptr, "no memory for an event loop");
    // Not EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST: it puts a removal off until the descriptor may be closed already, and cannot be
    // removed any more. A socket that another process has too, and most of ours have been passed on, would then wake us for ever.
    event_config_set_flag(config.get(), EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config.get(), EVENT_BASE_FLAG_IGNORE_ENV);
    Base base{event_base_new_with_config(config.get())};
    if (base == nullptr) {
        Log{}.error("an event loop cannot be made{}", advice_for(errno));
        _exit(EX_OSERR);
    }
    return base;
}

class EventLoop final : public Loop {
public:
    EventLoop() : base_(make_base()) {}
    std::unique_ptr<Watch> watch(int fd, Want want, Target<Want> target) override {
        return std::make_unique<EventWatch>(base_.get(), fd, want, target);
    }
    std::unique_ptr<Timer> timer(Target<> target) override {
        return std::make_unique<EventTimer>(base_.get(), target);
    }
    std::unique_ptr<Watch> signal(int number, Target<Want> target) override {
        return std::make_unique<EventSignal>(base_.get(), number, target);
    }
    [[nodiscard]] const Clock& clock() const noexcept override { return system_clock(); }
    void run() noexcept override {
        stopped_ = false;
        while (!stopped_)
            require(event_base_loop(base_.get(), EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY) >= 0,
                    "the event loop failed");
    }
    void stop() noexcept override {
        stopped_ = true;
        event_base_loopbreak(base_.get());
    }
    [[nodiscard]] event_base* base() const noexcept { return base_.get(); }

private:
    Base base_;
    bool stopped_ = false;
};

}  // namespace

std::unique_ptr<Loop> make_event_loop() { return std::make_unique<EventLoop>(); }

event_base* event_base_of(Loop& loop) noexcept {
    const auto* real = dynamic_cast<EventLoop*>(&loop);
    require(real != nullptr, "a loop without libevent was asked for it");
    return real->base();
}

}  // namespace virtgate::loop
