// SPDX-License-Identifier: LGPL-2.1-or-later
// reading_desk - the exporter's channel: what gates, doormen and supervisor have counted, and nothing else.
//
// Twin: netd/exporter/collection (proto/metrics.x).
//
// Trust:  the exporter may be taken over. Anything but READ ends the channel, also what an administrator could ask for.
// Limits: one channel, and one question at a time; a question meanwhile is a breach.
// Owns:   the channel.
#pragma once

#include "libshared/metrics/pages.h"
#include "netd/steward/control_desk.h"

namespace virtgate::netd::steward {

class ReadingDesk {
public:
    // Both outlive this. `supervisor` may be null while it is not there.
    ReadingDesk(loop::Loop& loop, Gates& gates, const std::unique_ptr<Link>& supervisor)
        : loop_(loop), gates_(gates), supervisor_(supervisor) {}

    // Uses `channel` from now on.
    void adopt(UniqueFd channel);

private:
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view why) noexcept;
    void collect(const rpc::Header& call);
    void answer(const rpc::Header& call, std::uint32_t after);

    loop::Loop& loop_;
    Gates& gates_;
    const std::unique_ptr<Link>& supervisor_;
    Log log_{"exporter"};
    std::unique_ptr<rpc::Control> channel_;
    std::uint64_t turn_ = 0;  // which channel, and which question on it
    bool is_busy_ = false;
    metrics::Pages pages_;
};

}  // namespace virtgate::netd::steward
