// SPDX-License-Identifier: LGPL-2.1-or-later
// fuzz-client - whatever a server sends, a call ends, a stream ends, and the connection is open or says why
// not.
//
// Input: what the server sends, all of it before the client asks for anything: the call of serial 0, the
// stream that serial 1 opens, and the subscription of serial 2 are answered by frames with these serials.
// Then the server hangs up.
#include <sys/socket.h>

#include <cstdint>

#include "libshared/client/connection.h"
#include "libshared/rpc/header.h"

using namespace virtgate;

namespace {

// More would not fit into the socket before anybody reads.
constexpr std::size_t k_input_max = 65536;
constexpr std::uint32_t k_program = 1, k_version = 1, k_call = 1, k_open = 2, k_enrol = 3, k_event = 4;

struct Bytes {
    void encode(xdr::Writer&) const {}
    void decode(xdr::Reader& reader) { static_cast<void>(reader.i32()); }
};

template <class Caller>
class Program {
public:
    explicit Program(Caller caller) : caller_(std::move(caller)) {}
    client::Result<client::Subscription> watch(int& seen) const {
        return caller_.template subscribe<Bytes>(
            {k_program, k_version, k_event}, {k_program, k_version, k_enrol}, {k_program, k_version, k_enrol},
            Bytes{}, [&seen](const Bytes&) { ++seen; }, {});
    }

private:
    Caller caller_;
};

void check(const client::Failure& failure) {
    require(failure.cause == client::Cause::remote || failure.cause == client::Cause::protocol ||
                failure.cause == client::Cause::closed,
            "a failure of another kind than a server can cause");
    require(!failure.text.empty(), "a failure without words");
}

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
    int ends[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "no socket pair");
    UniqueFd server{ends[0]};
    require(send(server.get(), data, size, MSG_DONTWAIT) == static_cast<ssize_t>(size),
            "the socket is too small");
    require(shutdown(server.get(), SHUT_WR) == 0, "no shutdown");
    require(set_nonblocking(ends[1], true).has_value(), "no such descriptor");
    auto connection = client::Connection::attach(client::make_socket_channel(UniqueFd{ends[1]}, true, true));
    require(connection.has_value(), "no connection");
    use(*connection);
    return 0;
}
