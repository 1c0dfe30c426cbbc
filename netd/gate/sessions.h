// SPDX-License-Identifier: LGPL-2.1-or-later
// sessions - the loop of the clients that were let in.
//
// Owns:   the sessions of this gate, and the thread's loop.
#pragma once

#include <atomic>
#include <unordered_map>

#include "libshared/loop/mailbox.h"
#include "netd/gate/session.h"

namespace virtgate::netd::gate {

class Sessions {
public:
    // `live` is shared with Front.
    Sessions(loop::Loop& loop, const Settings& settings, std::atomic<std::size_t>& live);

    // Where Front puts those who were let in, from its own thread.
    [[nodiscard]] loop::Mailbox<Admitted>& arrivals() noexcept { return arrivals_; }
    // Closes the session of the connection `id` (roll.h), from any thread. Nothing happens if it is over.
    void close(std::uint64_t id, std::string why) { closings_.put({id, std::move(why)}); }
    // Ends all of them, from any thread, each with an error that has `why` (Session::dismiss()).
    void dismiss(std::string why) { closings_.put({k_all, std::move(why)}); }

private:
    static constexpr std::uint64_t k_all = 0;  // no connection has that number
    struct Closing {
        std::uint64_t id;
        std::string why;
    };
    void on_arrivals() noexcept;
    void on_closings() noexcept;
    void dismiss_all(std::string_view why) noexcept;
    void on_ended(Session& session) noexcept;

    loop::Loop& loop_;
    const Settings& settings_;
    std::atomic<std::size_t>& live_;
    loop::Mailbox<Admitted> arrivals_;
    loop::Mailbox<Closing> closings_;
    std::unordered_map<Session*, std::unique_ptr<Session>> sessions_;
};

}  // namespace virtgate::netd::gate
