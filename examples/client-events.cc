// SPDX-License-Identifier: LGPL-2.1-or-later
// client-events - the client library in a program that has a loop of its own: prints what happens to domains.
//
//   client-events [URI]        test:///default if none is given; ends at the end of standard input
//
// It goes on over a restart of the server, and gives up when that has not come back after a minute.
// Nothing here waits for the server but opening and registering: the loop watches one descriptor for all of
// it.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>

#include "libshared/client/connection.h"
#include "proto/remote_client.h"

using namespace virtgate;

int main(int count, char** words) {
    client::Options options;
    options.service = client::Service::loop;
    options.deadline = client::Deadline::in(Milliseconds{10000});
    options.reconnect.emplace();
    options.reconnect->within = Milliseconds{60000};
    options.reconnect->on_change = [](const client::Change& change) {
        if (change.kind == client::Change::Kind::lost)
            fmt::print(stderr, "{}\n", change.failure.text);
        else if (change.kind == client::Change::Kind::reconnected)
            fmt::print(stderr, "connected again; some events may be missing\n");
    };
    auto connection = client::Connection::open(count > 1 ? words[1] : "test:///default", options);
    if (!connection) {
        fmt::print(stderr, "cannot connect: {}\n", connection.error().text);
        return 1;
    }

    bool open = true;
    connection->on_close([&open](client::Connection::Reason, const client::Failure& failure) {
        fmt::print(stderr, "{}\n", failure.text);
        open = false;
    });
    // The handler is called by dispatch() below. The events stop when `subscription` ends.
    const auto subscription = connection->remote().on_domain_event_callback_lifecycle(
        [](const proto::remote::DomainEventCallbackLifecycleMsg& message) {
            fmt::print("{}: event {}, detail {}\n", message.msg.domain.name, message.msg.event,
                       message.msg.detail);
            std::fflush(stdout);
        });
    if (!subscription) {
        fmt::print(stderr, "cannot get events: {}\n", subscription.error().text);
        return 1;
    }

    // Any loop will do: the descriptor is watched for reading, whatever the connection waits for.
    while (open) {
        std::array<pollfd, 2> waited{{{connection->fd(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}}};
        if (poll(waited.data(), waited.size(), -1) < 0) continue;
        if (waited[0].revents != 0) connection->dispatch();
        std::array<char, 256> input;
        if (waited[1].revents != 0 && read(STDIN_FILENO, input.data(), input.size()) <= 0) return 0;
    }
    return 1;
}
