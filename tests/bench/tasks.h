// SPDX-License-Identifier: LGPL-2.1-or-later
// tasks - the loads: calls in flight, new connections, idle connections, one volume stream.
//
// Each function runs one load to its end and returns the JSON object that describes it, on one line.
// Error: the load could not be put on, or a reply was an error: then there is no figure, never a wrong one.
#pragma once

#include <string>
#include <vector>

#include "tests/bench/client.h"

namespace virtgate::bench {

struct Load {
    Options options;
    std::size_t connections = 1;
    std::size_t depth = 1;    // calls in flight on each connection
    std::size_t threads = 1;  // for new connections only
    double seconds = 1;       // length of the measured window
    double warm_up = 0.1;     // seconds of the same load before it
    std::string domain;       // calls: fetch this domain's XML instead of the library's version
    bool upload = false;      // stream: direction
    std::string pool, volume, key;
    std::uint64_t bytes = 0;     // stream: size of the volume
    std::vector<pid_t> watched;  // processes whose CPU time is reported
};

// Keeps `connections` × `depth` calls in flight.
Result<std::string> run_calls(const Target& target, const Load& load);

// Makes whole sessions, one after the other, `connections` at a time in each of `threads` threads: connect,
// handshake, confirmation byte, AUTH_LIST, CONNECT_OPEN, CONNECT_CLOSE.
Result<std::string> run_connects(const Target& target, const Load& load);

// Opens `connections`, says so on standard output, and holds them until standard input ends.
Result<std::string> run_idle(const Target& target, const Load& load);

// Uploads or downloads a volume of `bytes`, `connections` at a time, which begin together. "share" is what the one
// that was the first to end has moved, to what the slowest one has by then.
Result<std::string> run_stream(const Target& target, const Load& load);

}  // namespace virtgate::bench
