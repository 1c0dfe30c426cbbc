// SPDX-License-Identifier: LGPL-2.1-or-later
// client_program - what the fuzzers of libshared/client ask servers for, and those servers.
#pragma once

#include <sys/socket.h>

#include <cstdint>

#include "libshared/client/connection.h"
#include "libshared/rpc/header.h"

namespace virtgate::fuzz {

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

inline void check(const client::Failure& failure) {
    require(failure.cause == client::Cause::remote || failure.cause == client::Cause::protocol ||
                failure.cause == client::Cause::closed,
            "a failure of another kind than a server can cause");
    require(!failure.text.empty(), "a failure without words");
}

// A server that has said all it will ever say.
inline client::Result<std::unique_ptr<client::Channel>> make_server(ByteView says, UniqueFd& server) {
    int ends[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "no socket pair");
    server = UniqueFd{ends[0]};
    require(send(ends[0], says.data(), says.size(), MSG_DONTWAIT) == static_cast<ssize_t>(says.size()),
            "the socket is too small");
    require(shutdown(ends[0], SHUT_WR) == 0, "no shutdown");
    require(set_nonblocking(ends[1], true).has_value(), "no such descriptor");
    return client::make_socket_channel(UniqueFd{ends[1]}, true, true);
}

}  // namespace virtgate::fuzz
