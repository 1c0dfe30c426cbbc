// SPDX-License-Identifier: LGPL-2.1-or-later
// workshop - threads that do what would keep the loop waiting.
#include "workerd/store/workshop.h"

#include <cstddef>
#include <latch>

namespace virtgate::workerd::store {

Workshop::Workshop(loop::Loop& loop, unsigned threads)
    : finished_(loop, loop::to<&Workshop::on_done>(*this)) {
    // The first calls of a thread are the C library's, and a filter that comes after this does not allow them.
    std::latch started(threads);
    for (unsigned i = 0; i < threads; ++i)
        threads_.emplace_back([this, &started] {
            static_cast<void>(std::make_unique<std::byte[]>(1));  // its memory's arena
            started.count_down();
            serve();
        });
    started.wait();
}

Workshop::~Workshop() {
    {
        const std::lock_guard lock(mutex_);
        is_closing_ = true;
    }
    wakeup_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void Workshop::put(std::unique_ptr<Job> job) {
    {
        const std::lock_guard lock(mutex_);
        waiting_.push_back(std::move(job));
    }
    wakeup_.notify_one();
}

void Workshop::serve() noexcept {
    for (;;) {
        std::unique_ptr<Job> job;
        {
            std::unique_lock lock(mutex_);
            wakeup_.wait(lock, [&] { return is_closing_ || !waiting_.empty(); });
            if (is_closing_) return;
            job = std::move(waiting_.front());
            waiting_.pop_front();
        }
        job->work();
        finished_.put(std::move(job));
    }
}

void Workshop::on_done() noexcept {
    for (const auto& job : finished_.take()) job->done();
}

}  // namespace virtgate::workerd::store
