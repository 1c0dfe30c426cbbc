// SPDX-License-Identifier: LGPL-2.1-or-later
// fake_loop - a Loop whose time and readiness a test decides.
//
// A test registers real or imaginary descriptors, then says ready(fd, …) and advance(…): callbacks run at once, in
// the order of their registration, and nothing happens by itself.
#pragma once

#include <vector>

#include "libshared/loop/loop.h"

namespace virtgate::loop {

class FakeLoop final : public Loop {
public:
    [[nodiscard]] std::unique_ptr<Watch> watch(int fd, Want want, Target<Want> target) override;
    [[nodiscard]] std::unique_ptr<Timer> timer(Target<> target) override;
    [[nodiscard]] std::unique_ptr<Watch> signal(int number, Target<Want> target) override;
    [[nodiscard]] const Clock& clock() const noexcept override { return clock_; }
    // Delivers what wake() asked for, then returns.
    void run() noexcept override;
    void stop() noexcept override { stopped_ = true; }
    // True if stop() was called.
    [[nodiscard]] bool stopped() const noexcept { return stopped_; }

    // Calls every target that waits for `what` on `fd`. Returns how many were called.
    int ready(int fd, Want what);
    // What is waited for on `fd`, over all watches of it.
    [[nodiscard]] Want wanted(int fd) const;
    // Calls the targets of signal `number`.
    int raise(int number);
    // Lets time pass and fires the timers that become due, earliest first.
    void advance(Milliseconds by);

private:
    class FakeWatch;
    class FakeTimer;
    FakeClock clock_;
    std::vector<FakeWatch*> watches_;
    std::vector<FakeTimer*> timers_;
    bool stopped_ = false;
};

}  // namespace virtgate::loop
