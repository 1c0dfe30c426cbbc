// SPDX-License-Identifier: LGPL-2.1-or-later
// fuzz-client - whatever a server sends, a call ends, a stream ends, and the connection is open or says why
// not.
//
// Input: what the server sends, all of it before the client asks for anything: the call of serial 0, the
// stream that serial 1 opens, and the subscription of serial 2 are answered by frames with these serials.
// Then the server hangs up.
#include <cstdint>

#include "tests/fuzz/client_program.h"

using namespace virtgate;
using namespace virtgate::fuzz;

namespace {

// More would not fit into the socket before anybody reads.
constexpr std::size_t k_input_max = 65536;

void use(client::Connection& connection) {
    if (const auto reply = connection.call({k_program, k_version, k_call}, {}); !reply) check(reply.error());
    auto opened = connection.open_stream({k_program, k_version, k_open}, {}, client::Streams::sparse);
    if (!opened) check(opened.error());
    int seen = 0;
    const auto subscription = connection.program<Program>().watch(seen);
    if (!subscription) check(subscription.error());
    while (opened) {
        ByteVector buffer(1000);
        const auto piece = opened->stream.read(buffer);
        if (!piece) check(piece.error());
        if (!piece || piece->kind == client::Stream::Piece::Kind::end) break;
        require(piece->size > 0 && piece->kind != client::Stream::Piece::Kind::blocked, "a piece of nothing");
    }
    if (opened)
        if (const auto done = opened->stream.finish(); !done) check(done.error());
    while (!connection.closed()) static_cast<void>(connection.serve({}));
    check(*connection.closed());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > k_input_max) return 0;
    UniqueFd server;
    auto channel = make_server(ByteView(reinterpret_cast<const std::byte*>(data), size), server);
    auto connection = client::Connection::attach(std::move(*channel));
    require(connection.has_value(), "no connection");
    use(*connection);
    return 0;
}
