// SPDX-License-Identifier: LGPL-2.1-or-later
// mailbox - hands objects from any thread to the thread of a Loop.
//
// The only thing in this project that two threads share. What was put in comes out in order, in the receiving
// loop's thread.
//
// Limits: not bounded by itself: senders hand over what was counted and bounded before (connections).
// Owns:   what is in it; anything left when it is destroyed is destroyed with it.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <mutex>
#include <utility>
#include <vector>

#include "libshared/base/fd.h"
#include "libshared/loop/loop.h"

namespace virtgate::loop {

template <class T>
class Mailbox {
public:
    // Calls `target` in `loop`'s thread when something was put; it then calls take().
    Mailbox(Loop& loop, Target<> target) : target_(target), wakeup_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        require(static_cast<bool>(wakeup_), "no descriptor for a mailbox");
        watch_ = loop.watch(wakeup_.get(), Want::read, to<&Mailbox::on_ready>(*this));
    }

    // From any thread.
    void put(T&& item) {
        {
            const std::lock_guard lock(mutex_);
            items_.push_back(std::move(item));
        }
        // The counter cannot overflow: each read of it takes all of it.
        const std::uint64_t one = 1;
        static_cast<void>(!write(wakeup_.get(), &one, sizeof one));
    }

    // All that was put since the last call. Only in the loop's thread.
    [[nodiscard]] std::vector<T> take() {
        const std::lock_guard lock(mutex_);
        return std::exchange(items_, {});
    }

private:
    void on_ready(Want) noexcept {
        std::uint64_t count;
        static_cast<void>(!read(wakeup_.get(), &count, sizeof count));
        target_();
    }

    Target<> target_;
    UniqueFd wakeup_;
    std::unique_ptr<Watch> watch_;
    std::mutex mutex_;
    std::vector<T> items_;
};

}  // namespace virtgate::loop
