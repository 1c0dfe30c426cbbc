// SPDX-License-Identifier: LGPL-2.1-or-later
// desk - where one locker gets its queue and what is kept: the holder's end of its channel. What it wants to have kept
// comes by the queue (intake.h).
//
// Twins: RESTORE and READY come from the locker, QUEUE, GRANT, SERVE, ADOPT and HAND_OVER go to it (proto/holder.x,
//        supervise.x).
//
//     starting ──open()──▶ open ──READY──▶ serving          RESTORE is for who starts, and answered when it is open
//
// Trust:  the locker reads what clients send and may have been taken over. Each message is judged before anything is
//         done: its form, and whether it has its place now. One that breaks the rules is not answered, and the owner
//         ends it.
// Owns:   the channel.
#pragma once

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

    Desk(loop::Loop& loop, const Keeping& keeping, UniqueFd channel, Owner& owner);
    Desk(const Desk&) = delete;
    Desk& operator=(const Desk&) = delete;

    // The locker may write to its queue, and gets what is kept: all that earlier ones said has been done. `queue` is
    // borrowed.
    void open(const proto::holder::QueueArgs& arguments, int queue);
    void tell_grant(const proto::holder::GrantArgs& grant);
    // Tells the locker to accept clients.
    void tell_serve();
    // Gives it a channel to the leaser `index`; `fd` is borrowed.
    void tell_adopt(unsigned index, int fd);
    // Tells it to keep all that it has and to end.
    void tell_hand_over();

    [[nodiscard]] bool is_open() const noexcept { return open_; }
    [[nodiscard]] bool is_ready() const noexcept { return ready_; }

private:
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view reason) noexcept;
    void serve_restore(const rpc::Control::Message& message);
    void answer_restore(const rpc::Header& call, Slot from);
    template <class Arguments>
    void tell(proto::holder::Procedure procedure, const Arguments& arguments, std::span<const int> fds = {});
    void send(Done sent);
    void fail(std::string_view why);

    const Keeping& keeping_;
    Owner& owner_;
    rpc::Control control_;
    bool open_ = false;
    bool ready_ = false;
    bool broken_ = false;
    struct Restore {
        rpc::Header call;
        Slot from = 0;
    };
    std::optional<Restore> restore_;  // waits for open()
};

}  // namespace virtgate::lockd::holder
