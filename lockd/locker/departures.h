// SPDX-License-Identifier: LGPL-2.1-or-later
// departures - what becomes of the locks of a process that gave up its connection.
//
// A connection that belongs to the owner of locks itself (its process registered) tells by its end that the owner is about
// to end, or does not want its locks any more. The locks protect what that process may still write; so they end when it has
// ended, and not before. One that lives on is ended:
//
//     the connection ends ──▶ SIGTERM ──1.6 s──▶ SIGKILL ──1.4 s──▶ said; waits on     (as virtlockd, which waits no more)
//                   └──── at any time: the process has ended ──▶ its locks are released ──▶ over
//
// A session of the front door has no process: it is over when its connection is, and nobody is ended.
//
// Without fencing, or where a signal is not permitted, it only waits.
//
// Trust:  the process is known by the kernel's word (peer.h), as a descriptor: its number may be used again, that never
//         leads to somebody else here. A client can name itself alone.
// Owns:   descriptors of processes, and the slots in which their connections are kept until all is over.
#pragma once

#include <map>
#include <memory>

#include "libshared/loop/loop.h"
#include "lockd/locker/lock_table.h"

namespace virtgate::lockd::locker {

class Departures : private KeepingUser {
public:
    static constexpr Milliseconds k_until_kill{1'600};
    static constexpr Milliseconds k_until_said{1'400};

    Departures(loop::Loop& loop, LockTable& table, Keeping& keeping, bool fencing);
    ~Departures() override;
    Departures(const Departures&) = delete;
    Departures& operator=(const Departures&) = delete;

    // Somebody who departs.
    struct Leaving {
        Owner owner{};
        UniqueFd process{};          // empty: it has ended
        UniqueFd connection{};       // kept open until it is over; may be empty
        std::optional<Slot> slot{};  // of its connection, if that ends with this
    };
    // `leaving` gave up its connection.
    void begin(Leaving leaving);
    // Its connection says nothing any more, for a reason of ours: its end is waited for, and it is not ended.
    void await(Leaving leaving);

    // A lock of `owner` was lost, over which it may go on writing: it is ended. `process`: known by its own connection; where
    // it has none that was kept (empty), its number is only the word of somebody else, and its end is waited for.
    void fence(const Owner& owner, UniqueFd process, std::string_view name);

    // For LockTableUser::on_all_released().
    void on_all_released(const Owner& owner) noexcept;

    [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }
    // Processes that were sent a signal to end.
    [[nodiscard]] std::uint64_t fencings() const noexcept { return fencings_; }

private:
    class Departure;
    using Key = std::uint64_t;
    Departure& add(Leaving leaving);
    void on_gone(Departure& departure) noexcept;
    void on_kept(Ticket ticket, Answer<void> done) noexcept override;

    loop::Loop& loop_;
    LockTable& table_;
    Keeping& keeping_;
    const bool fencing_;
    std::map<Key, std::unique_ptr<Departure>> all_;
    Key next_ = 1;
    std::uint64_t fencings_ = 0;
};

}  // namespace virtgate::lockd::locker
