// SPDX-License-Identifier: LGPL-2.1-or-later
// lock_line - one connection to the lock daemon, which the broker has begun: calls of libvirt's lock program, and their answers.
//
//     open ──the other end is gone, or breaks the framing──▶ lost, for good
//
// What is locked over a line is locked as long as its socket is open: also after the lock daemon has died, for its holder or
// the service manager has a descriptor, and the next locker lets go when this end is closed. So a line that is lost keeps its
// socket until its last lease has ended, and nobody can lock what is still being written.
//
// Twin: lockd/locker/desk (proto/lock.x), lockd/locker/session_desk.
//
// Trust:  answers are read with bounds. The lock daemon says whether we have a lock, and is believed about that.
// Limits: answers of at most k_answer_max bytes; as many calls wait as are made.
// Owns:   the socket, and what waits to be sent.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "libshared/base/fd.h"
#include "libshared/loop/loop.h"
#include "libshared/rpc/header.h"
#include "proto/codec.h"
#include "proto/lock.h"

namespace virtgate::workerd::store {

class LockLine : public std::enable_shared_from_this<LockLine> {
public:
    static constexpr std::size_t k_answer_max = 65'536;

    // How a call ended.
    struct Ended {
        bool is_lost = false;  // the line is: there was no answer
        int code = 0;          // libvirt's, of a refusal; 0: it was done
        int number = 0;        // of a refusal by the system: errno
        std::string text{};    // of a refusal, whole
        std::string detail{};  // the part of it that is not the same for all errors of that code
        [[nodiscard]] bool is_done() const noexcept { return !is_lost && code == 0; }
    };
    using OnEnded = std::function<void(const Ended&)>;

    // `on_lost` is called once, when the line is lost, after all calls have ended.
    LockLine(loop::Loop& loop, UniqueFd socket, loop::Target<LockLine&> on_lost);

    // Calls that are made one behind the other are served in this order. `on_ended` comes from the loop; of a line that is
    // lost, from within.
    template <class Arguments>
    void call(proto::lock::Procedure procedure, const Arguments& arguments, OnEnded on_ended) {
        auto payload = proto::encode(arguments);
        if (!payload)
            return on_ended({.code = rpc_code_invalid(), .text = "the name is too long", .detail = {}});
        send(procedure, *payload, std::move(on_ended));
    }

    [[nodiscard]] bool is_lost() const noexcept { return is_lost_; }

private:
    static int rpc_code_invalid() noexcept;
    void send(proto::lock::Procedure procedure, ByteView payload, OnEnded on_ended);
    void on_ready(loop::Want ready) noexcept;
    // False: the line is lost.
    [[nodiscard]] bool flush();
    [[nodiscard]] bool read();
    [[nodiscard]] bool take_answers();
    void lose(std::string_view why);

    const loop::Target<LockLine&> on_lost_;
    UniqueFd socket_;
    std::unique_ptr<loop::Watch> watch_;
    std::deque<OnEnded> waiting_;
    ByteVector input_, output_;
    std::uint32_t serial_ = 0, answered_ = 0;
    bool is_lost_ = false;
};

}  // namespace virtgate::workerd::store
