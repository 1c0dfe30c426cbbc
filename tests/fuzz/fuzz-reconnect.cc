// SPDX-License-Identifier: LGPL-2.1-or-later
// fuzz-reconnect - whatever several servers in a row send, a connection that makes itself again ends in order.
//
// Input: at most k_servers parts, each with its length in two bytes before it. A part is what one server sends,
// all of it before it is asked for anything; then it hangs up. The first one is asked for a subscription (serial
// 0), a call (1) and a stream (2), the others for the subscription (0) before calls go on with further serials.
// Behind the last one nobody is let in any more.
#include <cstdint>
#include <mutex>

#include "tests/fuzz/client_program.h"

using namespace virtgate;
using namespace virtgate::fuzz;

namespace {

constexpr std::size_t k_servers = 4, k_part_max = 32768;

using Parts = std::vector<ByteView>;

Parts cut(ByteView input) {
    Parts parts;
    while (input.size() >= 2 && parts.size() < k_servers) {
        const std::size_t said =
            std::to_integer<std::size_t>(input[0]) << 8 | std::to_integer<std::size_t>(input[1]);
        const std::size_t size = std::min({said, input.size() - 2, k_part_max});
        parts.push_back(input.subspan(2, size));
        input = input.subspan(2 + size);
    }
    return parts;
}

void use(client::Connection& connection) {
    int seen = 0;
    const auto subscription = connection.program<Program>().watch(seen);
    if (!subscription) check(subscription.error());
    if (const auto reply = connection.call({k_program, k_version, k_call}, {}); !reply) check(reply.error());
    auto opened = connection.open_stream({k_program, k_version, k_open}, {}, client::Streams::sparse);
    if (!opened) check(opened.error());
    while (opened) {
        ByteVector buffer(1000);
        const auto piece = opened->stream.read(buffer);
        if (!piece) check(piece.error());
        if (!piece || piece->kind == client::Stream::Piece::Kind::end) break;
    }
    if (opened)
        if (const auto done = opened->stream.finish(); !done) check(done.error());
    while (!connection.closed()) {
        if (const auto reply = connection.call({k_program, k_version, k_call}, {}); !reply)
            check(reply.error());
        static_cast<void>(connection.serve(client::Deadline::in(Milliseconds{0})));
    }
    static_cast<void>(connection.serve(client::Deadline::in(Milliseconds{0})));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Parts parts = cut(ByteView(reinterpret_cast<const std::byte*>(data), size));
    if (parts.empty()) return 0;
    std::vector<UniqueFd> servers(parts.size());
    std::size_t next = 1;
    // What it is told alternates, and has an end.
    bool there = true, over = false;
    client::Options options;
    options.reconnect.emplace();
    options.reconnect->first_pause = options.reconnect->longest_pause = Milliseconds{0};
    options.reconnect->calls_wait = true;
    options.reconnect->dial =
        [&](const client::Deadline&) -> client::Result<std::unique_ptr<client::Channel>> {
        if (next == parts.size()) return client::fail(client::Cause::denied, "nobody is let in any more");
        const std::size_t mine = next++;
        return make_server(parts[mine], servers[mine]);
    };
    options.reconnect->on_change = [&](const client::Change& change) {
        require(!over && there == (change.kind == client::Change::Kind::lost), "a change that cannot be");
        there = change.kind == client::Change::Kind::reconnected;
        over = change.kind == client::Change::Kind::given_up;
    };
    auto channel = make_server(parts[0], servers[0]);
    auto connection = client::Connection::attach(std::move(*channel), options);
    require(connection.has_value(), "no connection");
    use(*connection);
    require(over && connection->closed(), "nobody was told of the end");
    return 0;
}
