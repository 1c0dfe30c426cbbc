// SPDX-License-Identifier: LGPL-2.1-or-later
// witness - tells the auditor what was decided about calls of sessions, how they ended, and which locks were broken.
//
// The broker opens a connection for that, as it does for a session, and gives it to the auditor (proto/lock_session.x, WITNESS).
// What is told goes there as messages of proto/audit.x. It is about sessions that the same broker has begun: their numbers mean
// something to that auditor, those of others could be anybody's.
//
// Where there is no such connection, the log has to do: whoever asks is told, and logs.
//
// Twins: workerd/broker/lock_door, workerd/auditor.
//
// Trust:  the auditor is believed to be there, no more; nothing is read from it.
// Limits: k_unsent_max bytes wait for it; what is more is dropped and counted, and the next decision that gets through says how
//         many were.
// Owns:   nothing: the connection is the server's.
#pragma once

#include "libshared/server/client.h"
#include "proto/audit.h"

namespace virtgate::lockd::locker {

class Witness {
public:
    static constexpr std::size_t k_unsent_max = 1U << 20;

    // `client` is the way to the auditor from now on, for sessions of that broker; one before it is ended.
    void set(server::Client& client, std::uint64_t broker) noexcept;
    void on_closed(const server::Client& client) noexcept;
    // True if what a session of `broker` does can be told.
    [[nodiscard]] bool hears(std::uint64_t broker) const noexcept {
        return client_ != nullptr && broker_ == broker;
    }
    // True if anything can be told.
    [[nodiscard]] bool hears() const noexcept { return client_ != nullptr; }

    // A number for the next call whose decision is told; never 0.
    [[nodiscard]] std::uint64_t next_call() noexcept { return ++call_; }

    // Tells it. `dropped` is filled in here.
    void tell(proto::audit::DecisionArgs decision) noexcept;
    void tell(const proto::audit::OutcomeArgs& outcome) noexcept;
    void tell(const proto::audit::BrokenArgs& broken) noexcept;

    // As much of `text` as a message has room for; what is no text in UTF-8, or has control characters, is escaped.
    [[nodiscard]] static std::string fit(std::string_view text);

private:
    void end() noexcept;
    template <class Args>
    [[nodiscard]] bool send(proto::audit::Procedure procedure, const Args& args) noexcept;

    server::Client* client_ = nullptr;  // until it says that it is closed
    std::uint64_t broker_ = 0;
    std::uint64_t call_ = 0;
    std::uint64_t dropped_ = 0;  // on this connection
};

}  // namespace virtgate::lockd::locker
