// SPDX-License-Identifier: LGPL-2.1-or-later
// prologue - what is said to a libvirt daemon before a client's calls can go there.
//
//     AUTH_LIST ── none ─────────────────────┬─▶ CONNECT_OPEN ─▶ its reply is the client's
//         └─────── polkit ─▶ AUTH_POLKIT ────┘
//
// Pure: it makes frames and reads replies, and knows nothing of sockets.
//
// Trust:  the daemon is configured by the administrator, but its replies are decoded like anybody's.
// Limits: one call at a time, three at most. SASL is not spoken: worker and daemon are on one machine.
// Owns:   a copy of the client's header.
#pragma once

#include <string>
#include <string_view>

#include "libshared/rpc/header.h"

namespace virtgate::workerd::worker {

class Prologue {
public:
    // `open` is the header of the client's CONNECT_OPEN; `uri` is the table's constant.
    Prologue(const rpc::Header& open, std::string uri, bool read_only) noexcept;

    // The first frame to send.
    [[nodiscard]] ByteVector start();

    struct Step {
        enum class Kind : unsigned char {
            send,     // `frame` goes to the daemon
            opened,   // the reply is a good one to CONNECT_OPEN and goes to the client
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
    enum class State : unsigned char { listing, polkit, opening };
    [[nodiscard]] ByteVector make_call(std::uint32_t procedure);
    [[nodiscard]] Step make_open();
    [[nodiscard]] Step on_list(ByteView payload);
    [[nodiscard]] Step on_polkit(ByteView payload);

    rpc::Header open_;
    std::string uri_;
    bool read_only_;
    State state_ = State::listing;
    rpc::Header asked_{};
};

}  // namespace virtgate::workerd::worker
