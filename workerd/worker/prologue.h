// SPDX-License-Identifier: LGPL-2.1-or-later
// prologue - what is said to a libvirt daemon before a client's calls can go there.
//
//     AUTH_LIST ── none ─────────────────────┬─▶ CONNECT_OPEN ─▶ CONNECT_SET_IDENTITY ─▶ the reply to OPEN
//         └─────── polkit ─▶ AUTH_POLKIT ────┘                                            is the client's
//
// The daemon is told whom the connection is for, so that its own logs and access rules see the client and not the
// worker. A daemon that does not know how to be told is used all the same: it judged the worker before.
//
// Pure: it makes frames and reads replies, and knows nothing of sockets.
//
// Trust:  the daemon is configured by the administrator, but its replies are decoded like anybody's.
// Limits: one call at a time, four at most. SASL is not spoken: worker and daemon are on one machine.
// Owns:   a copy of the client's header.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libshared/rpc/header.h"
#include "proto/remote.h"
#include "proto/who.h"

namespace virtgate::workerd::worker {

class Prologue {
public:
    using Identity = std::vector<proto::remote::TypedParam>;
    // `open` is the header of the client's CONNECT_OPEN; `uri` is the table's constant. `identity`: see
    // describe_identity(); empty: the daemon is told nothing.
    Prologue(const rpc::Header& open, std::string uri, bool read_only, Identity identity) noexcept;

    // The first frame to send.
    [[nodiscard]] ByteVector start();

    struct Step {
        enum class Kind : unsigned char {
            send,     // `frame` goes to the daemon
            opened,   // it is open, and `frame` is the reply to CONNECT_OPEN for the client
            refused,  // the reply is an error to CONNECT_OPEN and goes to the client
            failed,   // the daemon cannot be used; `text` says why
        };
        Kind kind = Kind::failed;
        ByteVector frame{};
        std::string text{};
    };
    // Goes on with a reply of the daemon: its header and payload.
    [[nodiscard]] Step on_reply(const rpc::Header& reply, ByteView payload);

private:
    enum class State : unsigned char { listing, polkit, opening, identifying };
    [[nodiscard]] ByteVector make_call(std::uint32_t procedure);
    [[nodiscard]] Step make_open();
    [[nodiscard]] Step on_list(ByteView payload);
    [[nodiscard]] Step on_polkit(ByteView payload);
    [[nodiscard]] Step on_opened(const rpc::Header& reply, ByteView payload);

    rpc::Header open_;
    std::string uri_;
    bool read_only_;
    Identity identity_;
    ByteVector opened_;  // the reply to CONNECT_OPEN, while the daemon is told
    State state_ = State::listing;
    rpc::Header asked_{};
};

// The process that acts on behalf of clients from the network.
struct OwnProcess {
    std::uint32_t uid = 0, gid = 0;
    std::int32_t pid = 0;
    std::uint64_t start_time = 0;  // as read_start_time()
};

// This process. It reads /proc, which a confined process does not have.
[[nodiscard]] OwnProcess find_own_process() noexcept;

// What a libvirt daemon is told about `who`, in the fields of its identities. Of a client from the network there is no
// process here: there it is `ours`.
[[nodiscard]] Prologue::Identity describe_identity(const proto::who::Who& who, const OwnProcess& ours);

}  // namespace virtgate::workerd::worker
