// SPDX-License-Identifier: LGPL-2.1-or-later
// keeping - have the holder keep what has to outlive this process: records and descriptors, by slot.
//
// What is to be kept or dropped goes into the queue (proto/holder.x) and is safe there, whoever dies: so it is done when it
// is sent, and the answer comes from within the call. Only where the queue or what was granted is used up it waits here,
// and the answer comes later.
//
// Twin: lockd/holder/intake.h reads the queue, lockd/holder/desk.h answers RESTORE.
//
// Trust:  the holder is believed: it is the parent.
// Limits: as many things as the holder says, at most k_slots_max; a record has at most k_record_max bytes. What waits is as
//         much as was asked for: a few things for each client.
// Owns:   which slots are taken, the queue's writing end, what waits, with copies of its descriptors. Not the channel,
//         which the parent's other messages come by, too (locker.h).
#pragma once

#include <deque>
#include <queue>
#include <vector>

#include "libshared/rpc/control.h"
#include "lockd/locker/lock_space.h"
#include "proto/holder.h"
#include "proto/kept.h"

namespace virtgate::lockd::locker {

using Slot = std::uint32_t;

// Who asked for something to be kept or dropped.
class KeepingUser {
public:
    virtual ~KeepingUser() = default;
    // It is done, and outlives this process; or nothing has changed, and the failure says why.
    virtual void on_kept(Ticket ticket, Answer<void> done) noexcept = 0;
};

// What the holder had when this process started.
class RestoreUser {
public:
    virtual ~RestoreUser() = default;
    // One thing. Its slot is taken.
    virtual void on_restored(Slot slot, ByteView record, UniqueFd fd) noexcept = 0;
    // That was all; or why it cannot be had: then this process cannot serve.
    virtual void on_all_restored(Done done) noexcept = 0;
};

class Keeping {
public:
    // `channel` leads to the holder and outlives this object; its owner passes on what comes by it.
    Keeping(loop::Loop& loop, rpc::Control& channel) noexcept : loop_(loop), channel_(channel) {}
    Keeping(const Keeping&) = delete;
    Keeping& operator=(const Keeping&) = delete;

    // From now on `queue` takes what waits and what comes.
    void open(UniqueFd queue, const proto::holder::QueueArgs& arguments);
    // Takes the place of the grant before.
    void set_grant(const proto::holder::GrantArgs& grant);

    // Asks for all that is kept. Once, before anything else.
    void restore(RestoreUser& user);

    // The smallest slot that is free; none if as many are taken as may be.
    [[nodiscard]] std::optional<Slot> take_slot();
    // It is free again: drop() was answered, or keep() failed.
    void free_slot(Slot slot);

    // Keeps `what` in `slot`, which is taken. With `fd` (borrowed; a copy is made) the first time, without (-1) to replace
    // the record.
    void keep(Slot slot, const proto::kept::Kept& what, int fd, Ticket ticket, KeepingUser& user);
    void drop(Slot slot, Ticket ticket, KeepingUser& user);
    // `user` is about to end: answers to it are thrown away.
    void forget(const KeepingUser& user) noexcept;
    // Nothing waits.
    [[nodiscard]] bool is_idle() const noexcept { return waiting_.empty(); }

    // A reply that came over the channel. False if it is none to RESTORE: the holder is mad.
    [[nodiscard]] bool take_reply(rpc::Control::Message& message);

private:
    enum class Outcome : unsigned char { done, later, refused };
    struct Waiting {
        proto::holder::Procedure procedure;
        ByteVector payload;
        UniqueFd fd;
        std::size_t cost = 0;
        Ticket ticket = 0;
        KeepingUser* user = nullptr;  // null: nobody waits any more
    };
    void post(proto::holder::Procedure procedure, ByteView payload, int fd, std::size_t cost, Ticket ticket,
              KeepingUser& user);
    [[nodiscard]] Outcome send(proto::holder::Procedure procedure, ByteView payload, int fd,
                               std::size_t cost);
    void send_waiting();
    void on_writable(loop::Want) noexcept { send_waiting(); }
    void ask_restore();
    [[nodiscard]] bool take_restored(rpc::Control::Message& message);

    loop::Loop& loop_;
    rpc::Control& channel_;
    UniqueFd queue_;
    std::unique_ptr<loop::Watch> watch_;
    proto::holder::GrantArgs grant_{};
    std::uint64_t used_ = 0;    // of the grant
    std::uint32_t serial_ = 0;  // of the last message in the queue
    bool is_broken_ = false;
    std::deque<Waiting> waiting_;
    std::size_t things_max_ = proto::holder::k_slots_max;
    std::optional<std::uint32_t> restore_serial_;  // of the question that is open
    RestoreUser* restoring_ = nullptr;
    Slot restore_from_ = 0;
    Slot next_ = 0;  // all from here on were never taken
    std::priority_queue<Slot, std::vector<Slot>, std::greater<>> free_;
};

}  // namespace virtgate::lockd::locker
