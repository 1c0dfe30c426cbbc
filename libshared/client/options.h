// SPDX-License-Identifier: LGPL-2.1-or-later
// options - how a connection is opened, how much it may hold, and who serves it while nobody calls.
#pragma once

#include <optional>

#include "libshared/client/reconnect.h"
#include "libshared/client/sasl.h"
#include "libshared/rpc/header.h"

namespace virtgate::client {

// Who reads from the server while no thread waits for an answer; and so, who runs callbacks (events, replies
// to calls that were started with start_call(), streams that became ready, the end of the connection).
// Callbacks run one at a time, in the order in which things arrived, and never in a thread that waits for an
// answer of its own.
enum class Service : unsigned char {
    none,    // nobody, but in Connection::serve(). Pings are not answered, so keepalive is not asked for
    thread,  // a thread of the connection's own, which runs the callbacks
    loop,  // the program's event loop: it watches Connection::fd(), calls dispatch(), and that runs the callbacks
};

// Bounds of what one connection holds in memory. What is beyond them waits, or fails with Cause::busy.
struct Limits {
    std::size_t calls = 1024;  // without an answer yet, those that were given up included
    std::size_t send_queue = std::size_t{4} << 20;  // bytes of calls that wait to be sent
    std::size_t frame_max = rpc::k_frame_max;       // the longest frame of the server
    std::size_t events = 4096;  // that wait for their callback; more are dropped and counted
    std::size_t event_bytes = std::size_t{16} << 20;    // the same
    std::size_t streams = 64;                           // open at a time
    std::size_t stream_queue = std::size_t{512} << 10;  // bytes of one stream that wait to be sent
    // What one stream may have received without the program having read it: in memory, and beyond that in a
    // file. See "A slow reader" in README.md.
    std::size_t stream_memory = std::size_t{1} << 20;
    std::uint64_t stream_file = std::uint64_t{1} << 30;
    // A stream whose file is full and of which nothing was read for so long is aborted, if a call waits
    // behind it.
    Milliseconds stream_patience{30000};
};

// Pings for a server that is silent, if there is a Service: so many at an interval, then the connection is
// closed.
struct Keepalive {
    Milliseconds interval{5000};  // 0: no pings of our own; the server's are answered all the same
    unsigned count = 5;
};

struct Options {
    bool read_only = false;
    Service service = Service::none;
    Keepalive keepalive{};
    Limits limits{};
    // For opening: resolving, connecting, TLS, login, OPEN. Calls have deadlines of their own.
    Deadline deadline{};
    // Asked for what auth.conf does not have. May be empty.
    Answerer answerer{};
    // Where files are looked for; none: as the process's user does.
    std::optional<Environment> environment{};
    // A connection that is lost makes itself again; none: it stays closed.
    std::optional<Reconnect> reconnect{};
};

}  // namespace virtgate::client
