// SPDX-License-Identifier: LGPL-2.1-or-later
// locks - a volume is locked with the lock daemon before it is written, and as long as it is.
//
// The lock is the one that libvirt's plugin for lock daemons takes for a machine with that disk, so that either excludes the
// other: the file itself, or, with a lock space, the file there that is named after the path.
//
//     claim ──(ask the broker for a way: once, if there is none)──▶ REGISTER, ACQUIRE ──▶ Lease ──its end──▶ RELEASE
//
// What is locked is the file whose name gets other content: of an upload the volume, and not the partial file beside it, which
// becomes the volume only by its last step. A file that is not there yet has nothing that could be locked; it gets its name
// when it is whole, and never in place of another one. In a lock space even that name is locked.
//
// Without the lock daemon nothing is written. A lease whose line is lost may be over: whoever has it writes no more than the
// step that is under way, and the lock is let go after that.
//
// Trust:  who has a connection is the broker's word. Paths are made of names that were checked.
// Limits: k_patience for a way and an answer; then the claim fails, and what comes later is let go again.
// Owns:   the line. Leases and lines may outlive it, for jobs that nobody waits for at the end.
#pragma once

#include <atomic>
#include <list>
#include <map>

#include "libshared/server/client.h"
#include "workerd/store/failures.h"
#include "workerd/store/lock_line.h"
#include "workerd/store/workshop.h"

namespace virtgate::workerd::store {

// A lock, as long as it lives. One of nothing needs none, and is never lost.
class Lease {
public:
    struct Held;
    Lease() noexcept = default;
    explicit Lease(std::shared_ptr<Held> held) noexcept : held_(std::move(held)) {}

    // It may be over: nothing more is to be written.
    [[nodiscard]] bool is_lost() const noexcept;
    // Becomes true then. Null if there is no lock. For other threads.
    [[nodiscard]] std::shared_ptr<const std::atomic<bool>> loss() const noexcept;
    // `on_lost` is called when it is lost, from the loop.
    void watch(loop::Target<> on_lost) noexcept;
    void end() noexcept { held_.reset(); }

private:
    std::shared_ptr<Held> held_;
};

// What whoever writes without a lock is told.
[[nodiscard]] rpc::Failure has_lost_lock(std::string_view volume);

class Locks {
public:
    static constexpr Milliseconds k_patience{10'000};

    struct Plan {
        bool is_on = false;
        std::string lock_space{};  // its path; empty: files are locked themselves
    };
    // `on_asking` is called when a way to the lock daemon is needed; set_way() or set_no_way() answers, later.
    Locks(loop::Loop& loop, Plan plan, loop::Target<> on_asking);
    ~Locks();
    Locks(const Locks&) = delete;
    Locks& operator=(const Locks&) = delete;

    void set_way(UniqueFd connection);
    void set_no_way(std::string_view why);

    // For whom a connection's locks are, as `virtgate locks` shows it.
    struct Guest {
        std::string identity{};
        std::uint64_t session = 0;
    };
    void add(server::ClientId client, Guest guest) { guests_[client] = std::move(guest); }
    void forget(server::ClientId client) noexcept { guests_.erase(client); }

    struct Claim {
        std::string path{};    // absolute, of the file
        std::string volume{};  // its name, for messages
        bool shared = false;   // nobody may write it; others may read it
        bool is_new = false;   // the file is not there yet
    };
    // done(Answer<Lease>) gets the lock or why there is none, from within or later.
    template <class Done>
    void take(server::ClientId client, Claim claim, Done done) {
        auto kept = std::make_shared<Done>(std::move(done));
        start(std::make_shared<Waiting>(
            Waiting{.claim = std::move(claim), .guest = guests_[client], .done = [kept](Answer<Lease> lease) {
                        (*kept)(std::move(lease));
                    }}));
    }

    // Keeps `file`, whose last name is gone, until the lock daemon has closed it, and has a thread of `workshop` close it then:
    // whoever closes it last waits for the disk to free it, which may be large.
    void linger(UniqueFd file, Workshop& workshop);

private:
    static constexpr Milliseconds k_linger{500};
    void on_lingered() noexcept;
    struct Lingering {
        UniqueFd file;
        Workshop& workshop;
        Instant until{};
    };
    struct Waiting {
        Claim claim;
        Guest guest;
        std::function<void(Answer<Lease>)> done;  // null: it has heard
        Instant until{};
        bool is_asked = false;  // on the line that there is
        bool is_again = false;  // the first line was lost before it answered
    };
    using One = std::shared_ptr<Waiting>;
    void start(One one);
    void ask(const One& one);
    void on_answer(const One& one, const std::shared_ptr<LockLine>& line, const LockLine::Ended& ended);
    void finish(const One& one, Answer<Lease> lease);
    void on_lost(LockLine& line) noexcept;
    void on_time() noexcept;

    loop::Loop& loop_;
    const Plan plan_;
    const loop::Target<> on_asking_;
    bool is_asking_ = false;
    std::shared_ptr<LockLine> line_;
    std::list<One> waiting_;
    std::shared_ptr<std::list<std::weak_ptr<Lease::Held>>> held_;
    std::map<server::ClientId, Guest> guests_;
    std::unique_ptr<loop::Timer> timer_, linger_timer_;
    std::list<Lingering> lingering_;
};

}  // namespace virtgate::workerd::store
