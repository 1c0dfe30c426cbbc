// SPDX-License-Identifier: LGPL-2.1-or-later
// poll - libavahi-client waits in our loop.
#include "libshared/avahi/poll.h"

#include <avahi-common/timeval.h>

using namespace virtgate;

namespace {

loop::Want wanted(AvahiWatchEvent events) noexcept {
    auto want = loop::Want::nothing;
    if ((events & AVAHI_WATCH_IN) != 0) want = want | loop::Want::read;
    if ((events & AVAHI_WATCH_OUT) != 0) want = want | loop::Want::write;
    return want;
}

}  // namespace

// The library declares these two and leaves it to us what they are. Their callbacks may free them: nothing of the object is
// touched behind one.

struct AvahiWatch {
    AvahiWatch(loop::Loop& loop, int fd, AvahiWatchEvent events, AvahiWatchCallback called, void* data)
        : fd_(fd),
          callback_(called),
          userdata_(data),
          watch_(loop.watch(fd, wanted(events), loop::to<&AvahiWatch::on_ready>(*this))) {}

    void on_ready(loop::Want ready) noexcept {
        now_ = loop::has(ready, loop::Want::write) ? AVAHI_WATCH_OUT : AVAHI_WATCH_IN;
        callback_(this, fd_, now_, userdata_);
    }
    void set(AvahiWatchEvent events) noexcept { watch_->set(wanted(events)); }
    [[nodiscard]] AvahiWatchEvent now() const noexcept { return now_; }

private:
    int fd_;
    AvahiWatchCallback callback_;
    void* userdata_;
    AvahiWatchEvent now_{};
    std::unique_ptr<loop::Watch> watch_;
};

struct AvahiTimeout {
    AvahiTimeout(loop::Loop& loop, AvahiTimeoutCallback called, void* data)
        : callback_(called), userdata_(data), timer_(loop.timer(loop::to<&AvahiTimeout::on_time>(*this))) {}

    void on_time() noexcept { callback_(this, userdata_); }
    // Null: not any more.
    void set(const timeval* when) noexcept {
        if (when == nullptr) return timer_->stop();
        const std::chrono::microseconds left{-avahi_age(when)};
        timer_->start(left.count() <= 0 ? Milliseconds{0} : std::chrono::ceil<Milliseconds>(left));
    }

private:
    AvahiTimeoutCallback callback_;
    void* userdata_;
    std::unique_ptr<loop::Timer> timer_;
};

namespace {

loop::Loop& loop_of(const AvahiPoll* api) noexcept { return *static_cast<loop::Loop*>(api->userdata); }

AvahiWatch* new_watch(const AvahiPoll* api, int fd, AvahiWatchEvent events, AvahiWatchCallback callback,
                      void* userdata) noexcept {
    return std::make_unique<AvahiWatch>(loop_of(api), fd, events, callback, userdata).release();
}

void update_watch(AvahiWatch* watch, AvahiWatchEvent events) noexcept { watch->set(events); }
AvahiWatchEvent get_events(AvahiWatch* watch) noexcept { return watch->now(); }
void free_watch(AvahiWatch* watch) noexcept { const std::unique_ptr<AvahiWatch> owner{watch}; }

AvahiTimeout* new_timeout(const AvahiPoll* api, const timeval* when, AvahiTimeoutCallback callback,
                          void* userdata) noexcept {
    auto timeout = std::make_unique<AvahiTimeout>(loop_of(api), callback, userdata);
    timeout->set(when);
    return timeout.release();
}

void update_timeout(AvahiTimeout* timeout, const timeval* when) noexcept { timeout->set(when); }
void free_timeout(AvahiTimeout* timeout) noexcept { const std::unique_ptr<AvahiTimeout> owner{timeout}; }

}  // namespace

namespace virtgate::avahi {

Poll::Poll(loop::Loop& loop) noexcept
    : api_{.userdata = &loop,
           .watch_new = new_watch,
           .watch_update = update_watch,
           .watch_get_events = get_events,
           .watch_free = free_watch,
           .timeout_new = new_timeout,
           .timeout_update = update_timeout,
           .timeout_free = free_timeout} {}

}  // namespace virtgate::avahi
