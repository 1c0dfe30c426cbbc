// SPDX-License-Identifier: LGPL-2.1-or-later
// fake_loop - a Loop whose time and readiness a test decides.
#include "libshared/loop/fake_loop.h"

#include <algorithm>
#include <utility>

namespace virtgate::loop {

class FakeLoop::FakeWatch final : public Watch {
public:
    FakeWatch(FakeLoop& loop, int id, bool is_signal, Want want, Target<Want> target)
        : loop_(loop), id_(id), is_signal_(is_signal), want_(want), target_(target) {
        loop_.watches_.push_back(this);
    }
    ~FakeWatch() override { std::erase(loop_.watches_, this); }
    void set(Want want) noexcept override { want_ = want; }
    void wake(Want ready) noexcept override { woken_ = woken_ | ready; }

    FakeLoop& loop_;
    int id_;
    bool is_signal_;
    Want want_;
    Want woken_ = Want::nothing;
    Target<Want> target_;
};

class FakeLoop::FakeTimer final : public Timer {
public:
    FakeTimer(FakeLoop& loop, Target<> target) : loop_(loop), target_(target) {
        loop_.timers_.push_back(this);
    }
    ~FakeTimer() override { std::erase(loop_.timers_, this); }
    void start(Milliseconds delay) noexcept override {
        due_ = loop_.clock_.now() + delay;
        running_ = true;
    }
    void stop() noexcept override { running_ = false; }
    [[nodiscard]] bool running() const noexcept override { return running_; }

    FakeLoop& loop_;
    Target<> target_;
    Instant due_{};
    bool running_ = false;
};

std::unique_ptr<Watch> FakeLoop::watch(int fd, Want want, Target<Want> target) {
    return std::make_unique<FakeWatch>(*this, fd, false, want, target);
}

std::unique_ptr<Timer> FakeLoop::timer(Target<> target) { return std::make_unique<FakeTimer>(*this, target); }

std::unique_ptr<Watch> FakeLoop::signal(int number, Target<Want> target) {
    return std::make_unique<FakeWatch>(*this, number, true, Want::read, target);
}

void FakeLoop::run() noexcept {
    // A callback may destroy any watch, so the list is looked at anew after each.
    for (bool again = true; again;) {
        again = false;
        for (FakeWatch* watch : watches_) {
            const Want woken = std::exchange(watch->woken_, Want::nothing);
            if (woken != Want::nothing) {
                watch->target_(woken);
                again = true;
                break;
            }
        }
    }
}

int FakeLoop::ready(int fd, Want what) {
    int called = 0;
    const std::vector<FakeWatch*> before = watches_;
    for (FakeWatch* watch : before) {
        const bool alive = std::find(watches_.begin(), watches_.end(), watch) != watches_.end();
        if (alive && !watch->is_signal_ && watch->id_ == fd && has(watch->want_, what)) {
            watch->target_(what);
            ++called;
        }
    }
    return called;
}

Want FakeLoop::wanted(int fd) const {
    Want all = Want::nothing;
    for (const FakeWatch* watch : watches_)
        if (!watch->is_signal_ && watch->id_ == fd) all = all | watch->want_;
    return all;
}

int FakeLoop::raise(int number) {
    int called = 0;
    const std::vector<FakeWatch*> before = watches_;
    for (FakeWatch* watch : before) {
        const bool alive = std::find(watches_.begin(), watches_.end(), watch) != watches_.end();
        if (alive && watch->is_signal_ && watch->id_ == number) {
            watch->target_(Want::read);
            ++called;
        }
    }
    return called;
}

void FakeLoop::advance(Milliseconds by) {
    const Instant end = clock_.now() + by;
    for (;;) {
        FakeTimer* next = nullptr;
        for (FakeTimer* timer : timers_)
            if (timer->running_ && timer->due_ <= end && (next == nullptr || timer->due_ < next->due_))
                next = timer;
        if (next == nullptr) break;
        if (next->due_ > clock_.now())
            clock_.advance(std::chrono::duration_cast<Milliseconds>(next->due_ - clock_.now()));
        next->running_ = false;
        next->target_();
    }
    clock_.advance(std::chrono::duration_cast<Milliseconds>(end - clock_.now()));
}

}  // namespace virtgate::loop
