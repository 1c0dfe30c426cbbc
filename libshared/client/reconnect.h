// SPDX-License-Identifier: LGPL-2.1-or-later
// reconnect - a connection that makes itself again after it was lost, for programs that go on over a restart
// of their server.
//
// What was under way ends: calls without an answer fail with Cause::closed, streams with the same. A call
// that was sent may have been done or not, which nobody here can know; so none is ever sent twice. Then a
// thread of the library connects, logs in, opens the URI and registers for the events of every Subscription,
// and tries again until it has come that far. The Connection, its Subscriptions and what was made of them
// (remote(), …) stay what they are, with each Service. Events that happened meanwhile did not come: whoever
// keeps a picture of the server's state takes a new one when it is told that there is a connection again.
//
// A server that says who may not come in is not asked again: Cause::denied, untrusted (but by hanging up in
// the handshake, as one does that ends just then), invalid and unsupported end it. Nor is a connection made again that the program has closed, or the first one, which
// open() reports.
#pragma once

#include "libshared/client/transport.h"

namespace virtgate::client {

// Makes a channel to the server. It may wait as long as `deadline` says.
using Dial = std::function<Result<std::unique_ptr<Channel>>(const Deadline& deadline)>;

// What has become of the connection.
struct Change {
    enum class Kind : unsigned char {
        lost,         // calls fail or wait from now on; it is being made again
        reconnected,  // calls work, events come
        given_up,     // it stays closed; the handler of on_close() runs next
    };
    Kind kind = Kind::lost;
    Failure failure{};   // why it was lost, or why the last try failed
    unsigned tries = 0;  // that it took, or that were made
    // Of reconnected: Subscriptions that the server refused this time, such as one for a domain that is not
    // there any more. They stay silent, and are tried again the next time.
    unsigned refused = 0;
};

struct Reconnect {
    // The first try is made at once; before the next one is this pause, then twice as long, up to the
    // longest; of each, up to a half is left off by chance, so that a server's clients do not all come
    // together. A connection that lasted no longer than the longest pause counts as a try.
    Milliseconds first_pause{200};
    Milliseconds longest_pause{10000};
    Milliseconds per_try{30000};  // for connecting, login, OPEN and the registrations
    unsigned tries = 0;           // at a time; 0: any number
    Milliseconds within{0};       // since the loss; 0: any time
    std::stop_token stop{};       // request_stop() gives up, now and for ever

    // What calls do while there is no connection. Otherwise they fail with Cause::closed at once: the caller
    // can go on with something else, and no thread hangs on a server that may never come back. With this they
    // wait until their own deadline, and are then sent for the first time: for programs that have nothing
    // else to do. start_call() never waits.
    bool calls_wait = false;

    // Runs as a callback (options.h, Service). May be empty.
    std::function<void(const Change&)> on_change{};

    // Another way to the server than the URI's; open_over() and attach() need it. Runs in the library's
    // thread.
    Dial dial{};
};

}  // namespace virtgate::client
