// SPDX-License-Identifier: LGPL-2.1-or-later
// workshop - threads that do what would keep the loop waiting.
#include "libshared/server/workshop.h"

#include <cstddef>
#include <latch>

namespace virtgate::server {

Workshop::Workshop(loop::Loop& loop, unsigned threads, unsigned priority_threads)
    : finished_(loop, loop::to<&Workshop::on_done>(*this)) {
    start(threads, Lane::ordinary);
    start(priority_threads, Lane::priority);
}

void Workshop::start(unsigned threads, Lane lane) {
    // The first calls of a thread are the C library's, and a filter that comes after this does not allow them.
    std::latch started(threads);
    for (unsigned i = 0; i < threads; ++i)
        threads_.emplace_back([this, &started, lane] {
            static_cast<void>(std::make_unique<std::byte[]>(1));  // its memory's arena
            started.count_down();
            serve(lane);
        });
    started.wait();
}

Workshop::~Workshop() {
    {
        const std::lock_guard lock(mutex_);
        is_closing_ = true;
    }
    wakeup_.notify_all();
    priority_wakeup_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void Workshop::put(std::unique_ptr<Job> job, Lane lane) {
    {
        const std::lock_guard lock(mutex_);
        (lane == Lane::priority ? priority_waiting_ : waiting_).push_back(std::move(job));
    }
    // Whoever is free: of both kinds, one finds nothing and sleeps on.
    wakeup_.notify_one();
    if (lane == Lane::priority) priority_wakeup_.notify_one();
}

void Workshop::serve(Lane lane) noexcept {
    const bool takes_all = lane == Lane::ordinary;
    for (;;) {
        std::unique_ptr<Job> job;
        {
            std::unique_lock lock(mutex_);
            (takes_all ? wakeup_ : priority_wakeup_).wait(lock, [&] {
                return is_closing_ || !priority_waiting_.empty() || (takes_all && !waiting_.empty());
            });
            if (is_closing_) return;
            auto& from = priority_waiting_.empty() ? waiting_ : priority_waiting_;
            job = std::move(from.front());
            from.pop_front();
        }
        job->work();
        finished_.put(std::move(job));
    }
}

void Workshop::on_done() noexcept {
    for (const auto& job : finished_.take()) job->done();
}

}  // namespace virtgate::server
