// SPDX-License-Identifier: LGPL-2.1-or-later
// settings - the gate's configuration in the units that the code uses, and the bounds that are not configurable.
#pragma once

#include "libshared/base/clock.h"
#include "libshared/channel/packet.h"
#include "proto/config.h"

namespace virtgate::netd::gate {

struct Settings {
    Milliseconds handshake{10000};
    Milliseconds authentication{20000};
    Milliseconds login{60000};
    Milliseconds partial_frame{30000};
    Milliseconds keepalive_interval{5000};
    unsigned keepalive_count = 5;
    std::size_t calls_in_flight = 1024;
    std::size_t connections = 5000;  // these two may be changed later: Front::set_bounds()
    std::size_t arrivals = 5000;
    proto::config::LoginMode tls = proto::config::LoginMode::login_direct;
};

// How much of a client's input is kept when its worker does not take it. Behind that the client's socket is not
// read any more. Enough that a keepalive ping behind some calls is still seen and answered.
inline constexpr std::size_t k_parked_to_worker_max = std::size_t{256} * 1024;

// How much of our own answers (errors, pongs) is kept when a client does not read. Behind that it is not read either.
inline constexpr std::size_t k_waiting_to_client_max = std::size_t{64} * 1024;

// Large replies and large bursts are worth another look at the same socket before others get their turn.
inline constexpr std::size_t k_bulk_packet = std::size_t{16} * 1024;
inline constexpr int k_packets_per_turn = 8;

// How long a session that was dismissed waits for a call that it can tell that.
inline constexpr Milliseconds k_last_call_time{2000};

// How long a session that is over may take to deliver its last words.
inline constexpr Milliseconds k_farewell_time{5000};

}  // namespace virtgate::netd::gate
