// SPDX-License-Identifier: LGPL-2.1-or-later
// keeping - ask the holder to keep what has to outlive this process: records and descriptors, by slot.
//
// Twin: lockd/holder, which serves what is asked here (proto/holder.x). It does what it is asked for in that order, and
// answers in the order in which things are done.
//
// Trust:  the holder is believed: it is the parent.
// Limits: k_slots_max things; a record has at most k_record_max bytes. No more than k_asked_max questions are on their way:
//         more wait here, so that the answers never fill the channel of a holder that is busy.
// Owns:   which slots are taken, and questions that wait, with copies of their descriptors. Not the channel, which the parent's other messages come by, too (parent.h).
#pragma once

#include <deque>
#include <queue>
#include <unordered_map>
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
    static constexpr std::size_t k_asked_max = 64;

    // `channel` leads to the holder and outlives this object; its owner passes replies on by take_reply().
    explicit Keeping(rpc::Control& channel) noexcept : channel_(channel) {}

    // Asks for all that is kept. Once, before anything else.
    void restore(RestoreUser& user);

    // The smallest slot that is free; none if all are taken.
    [[nodiscard]] std::optional<Slot> take_slot();
    // It is free again: drop() was answered, or keep() failed.
    void free_slot(Slot slot);

    // Keeps `what` in `slot`, which is taken. With `fd` (borrowed; a copy is made) the first time, without (-1) to replace
    // the record.
    void keep(Slot slot, const proto::kept::Kept& what, int fd, Ticket ticket, KeepingUser& user);
    void drop(Slot slot, Ticket ticket, KeepingUser& user);
    // `user` is about to end: answers to it are thrown away.
    void forget(const KeepingUser& user) noexcept;

    // A reply that came over the channel. False if it answers nothing that was asked: the holder is mad.
    [[nodiscard]] bool take_reply(rpc::Control::Message& message);

private:
    struct Asked {
        Ticket ticket = 0;
        KeepingUser* user = nullptr;  // null: nobody waits any more, or restore()
    };
    struct Waiting {
        rpc::Header header;
        ByteVector payload;
        UniqueFd fd;
        Asked asked;
    };
    template <class Arguments>
    void ask(proto::holder::Procedure procedure, const Arguments& arguments, int fd, Ticket ticket,
             KeepingUser* user);
    void send(const rpc::Header& header, ByteView payload, int fd, const Asked& asked);
    void send_waiting();
    void ask_restore();
    [[nodiscard]] bool take_restored(rpc::Control::Message& message);

    rpc::Control& channel_;
    std::unordered_map<std::uint32_t, Asked> asked_;  // by serial
    std::deque<Waiting> waiting_;
    RestoreUser* restoring_ = nullptr;
    Slot restore_from_ = 0;
    Slot next_ = 0;  // all from here on were never taken
    std::priority_queue<Slot, std::vector<Slot>, std::greater<>> free_;
};

}  // namespace virtgate::lockd::locker
