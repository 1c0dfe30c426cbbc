// SPDX-License-Identifier: LGPL-2.1-or-later
// intake - what one locker says by its queue (queue.h), judged, done, and only then taken out.
//
//     waiting ──something came──▶ lingering ──k_linger──▶ taking ──done──▶ lingering ── nothing came ──▶ waiting
//                                    ▲                      │ the journal or the outer store is not ready
//                                    └──────────────────────┴──▶ under way ──▶ …
//
// Nobody waits for this: the locker has answered its client when it wrote. So a batch is let grow, and what is over at the
// end of it costs neither journal nor outer store. A batch that cannot be done stays in the queue; when that is full, the
// locker's clients wait.
//
// So that there is always room for what is in the queue, the locker gets grants (proto/holder.x): what they allow has been
// reserved in the journal.
//
// Trust:  a locker may have been taken over. Each message is judged in its place: its form, its number, the state of its
//         slots, that there is exactly one descriptor where one belongs, and the limits of what was granted. One that
//         breaks the rules is not listened to any more; what it said before counts. Records stay closed.
//         A queue that a holder before this one had begins with what that may have done already, in full or in part: there,
//         what is asked of a slot is done whatever state it is in. Nobody gains by it: all slots are the locker's.
// Limits: a batch has at most Queue::k_look_max messages.
// Owns:   the queue's reading end.
#pragma once

#include <span>

#include "lockd/holder/keeping.h"
#include "lockd/holder/queue.h"
#include "proto/holder.h"

namespace virtgate::lockd::holder {

class Intake {
public:
    // Between this and a tenth of it, so that a batch has some hundred messages, and the queue does not become full.
    static constexpr Milliseconds k_linger{10};
    static constexpr Milliseconds k_retry{500};
    // More than ever is in a queue, so that a locker with a grant can go on while the next one is on its way.
    static constexpr std::size_t k_room = std::size_t{1} << 20;

    class Owner {
    public:
        virtual ~Owner() = default;
        // The locker broke a rule, in words: it is not listened to any more.
        virtual void on_broken(std::string_view why) noexcept = 0;
        // The grant has changed.
        virtual void on_granted() noexcept = 0;
        // After finish(): all is done. The last thing that happens here: this may be destroyed.
        virtual void on_drained() noexcept = 0;
    };

    // Of a locker that will write, at most `things_max` things. Where there is no room, the grant is none for now.
    Intake(loop::Loop& loop, Keeping& keeping, Queue queue, std::size_t things_max, Owner& owner);
    // What a holder before this one did not finish; for finish().
    Intake(loop::Loop& loop, Keeping& keeping, Queue queue, Owner& owner);
    Intake(const Intake&) = delete;
    Intake& operator=(const Intake&) = delete;

    // Nobody writes any more: what is there is done at once. on_drained() follows from the loop.
    void finish() noexcept;
    // Keeping is settled, or was asked to be.
    void on_settled() noexcept;

    [[nodiscard]] const proto::holder::GrantArgs& grant() const noexcept { return grant_; }
    [[nodiscard]] std::size_t things_max() const noexcept { return things_max_; }
    // Borrowed.
    [[nodiscard]] int queue() const noexcept { return queue_.get(); }

private:
    struct Batch {
        Keeping::Changes changes{};
        std::map<Slot, const Queue::Packet*> sources{};  // where a change has its descriptor from
        std::size_t packets = 0;
        std::uint64_t cost = 0;
        std::size_t things = 0;  // afterwards
        std::string breach{};
    };
    void on_readable(loop::Want ready) noexcept;
    void on_time() noexcept;
    void take();
    void rest(const Queue::Look& look);
    void commit();
    [[nodiscard]] Batch judge(std::span<const Queue::Packet> packets) const;
    // The same, with descriptors.
    [[nodiscard]] Result<Batch> make_batch(const Queue::Look& look);
    // Each: what is wrong with a message; empty if nothing is.
    [[nodiscard]] std::string judge_one(Batch& batch, const Queue::Packet& packet) const;
    [[nodiscard]] std::string judge_keep(Batch& batch, const Queue::Packet& packet, ByteView payload) const;
    [[nodiscard]] std::string judge_drop(Batch& batch, const Queue::Packet& packet, ByteView payload) const;
    [[nodiscard]] bool is_taken(const Batch& batch, Slot slot) const;
    // Gets the descriptors. The packet that has more than one; null if none has. Error: system's fault.
    [[nodiscard]] Result<const Queue::Packet*> fetch(Batch& batch);
    void renew_grant();

    loop::Loop& loop_;
    Keeping& keeping_;
    Queue queue_;
    const bool is_inherited_;
    const std::size_t things_max_;
    Owner& owner_;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> timer_;
    proto::holder::GrantArgs grant_{};
    std::uint64_t used_ = 0;    // of the grant, by what was taken out
    std::uint32_t serial_ = 0;  // of the last message that was taken out
    Milliseconds linger_ = k_linger;
    std::size_t under_way_ = 0;  // packets whose changes are being done
    std::uint64_t cost_ = 0;     // of those
    std::string breach_{};       // behind those
    bool is_under_way_ = false;
    bool is_finishing_ = false;
    bool is_over_ = false;   // nothing that comes counts any more
    bool is_stuck_ = false;  // that was said
};

}  // namespace virtgate::lockd::holder
