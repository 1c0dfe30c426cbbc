// SPDX-License-Identifier: LGPL-2.1-or-later
// desk - where one locker keeps, renews, drops and gets back what it has: the holder's end of its channel.
//
// Twins: KEEP, DROP, RESTORE and READY come from the locker, SERVE and HAND_OVER go to it (proto/holder.x, supervise.x).
//
//     starting ──READY──▶ serving          RESTORE is for who starts; KEEP and DROP are for both
//
// Trust:  the locker reads what clients send and may have been taken over. Each message is judged before anything is
//         done: its form, whether it has its place now, the state of its slots, and that there is exactly one descriptor
//         where one belongs. One that breaks the rules is not answered, and the owner ends it. Records stay closed.
// Limits: `things_max` things. As many messages wait for an answer as the channel holds.
// Owns:   the channel.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "libshared/rpc/control.h"
#include "lockd/holder/keeping.h"
#include "proto/holder.h"

namespace virtgate::lockd::holder {

class Desk {
public:
    class Owner {
    public:
        virtual ~Owner() = default;
        // The locker is ready to serve.
        virtual void on_ready() noexcept = 0;
        // It broke a rule, in words: it is not listened to any more.
        virtual void on_broken(std::string_view why) noexcept = 0;
        // It hung up, and should end.
        virtual void on_hung_up() noexcept = 0;
    };

    Desk(loop::Loop& loop, Keeping& keeping, std::size_t things_max, UniqueFd channel, Owner& owner);
    Desk(const Desk&) = delete;
    Desk& operator=(const Desk&) = delete;

    // Tells the locker to accept clients.
    void tell_serve();
    // Gives it a channel to the leaser `index`; `fd` is borrowed.
    void tell_adopt(unsigned index, int fd);
    // Tells it to keep all that it has and to end.
    void tell_hand_over();

    // What was asked of Keeping has been done or not.
    void on_settled(std::uint64_t ticket, bool done);

    [[nodiscard]] bool is_ready() const noexcept { return ready_; }

private:
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view reason) noexcept;
    void serve_keep(rpc::Control::Message& message);
    void serve_drop(const rpc::Control::Message& message);
    void serve_restore(const rpc::Control::Message& message);
    void answer_restore(const rpc::Header& call, Slot from);
    void answer(const rpc::Header& call, const Keeping::Outcome& outcome);
    void send(Done sent);
    void fail(std::string_view why);

    Keeping& keeping_;
    const std::size_t things_max_;
    Owner& owner_;
    rpc::Control control_;
    bool ready_ = false;
    bool broken_ = false;
    std::map<std::uint64_t, rpc::Header> calls_;  // whose answer waits, by ticket
    struct Restore {
        rpc::Header call;
        Slot from = 0;
    };
    std::optional<Restore> restore_;  // waits until all is settled
};

}  // namespace virtgate::lockd::holder
