// SPDX-License-Identifier: LGPL-2.1-or-later
// witness - tells the auditor what was decided, and how it ended.
//
// The sessions of a worker share one channel. Nobody waits for the auditor: what the channel does not take is
// dropped and counted, and the next message that gets through says how many were.
//
// Trust:  the auditor is believed to be there, no more; nothing is read from it.
// Limits: what the channel's buffer holds (k_buffer bytes are asked for). One system call a message.
// Owns:   this end of the channel.
#pragma once

#include "libshared/base/fd.h"
#include "proto/audit.h"

namespace virtgate::workerd::worker {

class Witness {
public:
    // Some two thousand messages, so that a burst of refusals is recorded whole.
    static constexpr int k_buffer = 1 << 20;

    // Speaks on `channel` from now on (SOCK_SEQPACKET). What was dropped before and not told yet is told there.
    void set_channel(UniqueFd channel) noexcept;

    // A number for the next call whose decision is told; never 0.
    [[nodiscard]] std::uint64_t next_call() noexcept { return ++call_; }

    // Tells it. `decision.dropped` is filled in here.
    void tell(proto::audit::DecisionArgs decision) noexcept;
    void tell(const proto::audit::OutcomeArgs& outcome) noexcept;

    // Messages that nobody got.
    [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }

private:
    template <class Args>
    [[nodiscard]] bool send(proto::audit::Procedure procedure, const Args& args) noexcept;

    UniqueFd channel_;
    std::uint64_t call_ = 0;
    std::uint64_t dropped_ = 0;
    std::uint64_t told_ = 0;    // of these, as many as an auditor has heard of
    std::uint64_t before_ = 0;  // of these, as many as auditors before this one have heard of
};

}  // namespace virtgate::workerd::worker
