// SPDX-License-Identifier: LGPL-2.1-or-later
// workshop - threads that do what would keep the loop waiting: what touches a disk, or takes long.
//
// A file system may take seconds for one write, whether the step is small or not; so no step is small enough for the loop,
// and each is a job: done in a thread, and told of in the loop.
//
//     workshop.run([file] { return read(file); }, [call = std::move(call)](Answer<Piece> piece) mutable { … });
//
// There are two lanes, as in libvirt's daemons: the threads for priority take nothing else, so that what has priority never waits
// for what takes long.
//
// Limits: whoever gives jobs bounds them: one at a time for each stream, and one for each call.
// Owns:   the threads and the jobs. At the end jobs that have not begun are dropped, and none is told of any more.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "libshared/loop/mailbox.h"

namespace virtgate::server {

enum class Lane : unsigned char { ordinary, priority };

class Workshop {
public:
    // So many threads for everything, what has priority first, and so many for that alone.
    Workshop(loop::Loop& loop, unsigned threads, unsigned priority_threads = 0);
    ~Workshop();
    Workshop(const Workshop&) = delete;
    Workshop& operator=(const Workshop&) = delete;

    // `work` runs in a thread, `done` gets its result in the loop. Neither throws. What they hold is destroyed in the loop,
    // or at the end.
    template <class Work, class Done>
    void run(Work work, Done done, Lane lane = Lane::ordinary) {
        put(std::make_unique<Bound<Work, Done>>(std::move(work), std::move(done)), lane);
    }

    // True when the process ends: a long job looks, and gives up.
    [[nodiscard]] const std::atomic<bool>& is_closing() const noexcept { return is_closing_; }

private:
    struct Job {
        virtual ~Job() = default;
        virtual void work() noexcept = 0;
        virtual void done() noexcept = 0;
    };
    template <class Work, class Done>
    struct Bound final : Job {
        Bound(Work work, Done done) : work_(std::move(work)), done_(std::move(done)) {}
        void work() noexcept override { result_.emplace(work_()); }
        void done() noexcept override { done_(std::move(*result_)); }
        Work work_;
        Done done_;
        std::optional<decltype(std::declval<Work&>()())> result_;
    };
    void put(std::unique_ptr<Job> job, Lane lane);
    void start(unsigned threads, Lane lane);
    void serve(Lane lane) noexcept;
    void on_done() noexcept;

    loop::Mailbox<std::unique_ptr<Job>> finished_;
    std::atomic<bool> is_closing_ = false;
    std::mutex mutex_;
    std::condition_variable wakeup_, priority_wakeup_;  // of the threads for everything, and of the others
    std::deque<std::unique_ptr<Job>> waiting_, priority_waiting_;
    std::vector<std::thread> threads_;
};

}  // namespace virtgate::server
