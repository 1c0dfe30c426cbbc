// SPDX-License-Identifier: LGPL-2.1-or-later
// stream - the server's end of one stream: bytes and holes from a client, bytes and holes to it.
//
// A handler that answers a call which opens a stream makes a Stream first. From then on:
//
//     open ──the client finishes: on_finish()──▶ closing ──confirm()──▶ over
//       │  ──the client aborts: on_abort()─────▶ closing ──confirm()──▶ over
//       ├──────────fail(): at any time, for what went wrong here──────▶ over
//       └──the connection ends: on_gone()─────────────────────────────▶ over
//
// What fails between the client's last byte and the end of all work is told as the answer to its finish: no late error is
// lost. A client that aborted is told nothing but that.
//
// Memory is bounded by backpressure: a user that has enough calls hold(), and the whole connection is not read until
// release() — as in libvirt's daemons, where a stream that cannot be written stops its connection. To the client a
// user sends one piece at a time and waits for on_sent().
//
// Bulk data need not be copied: a user that has a room() gets the client's bytes read into it, and what is lent, not sent,
// leaves from where it is.
//
// Source: the packets of a stream are those of libvirt's protocol (docs/protocol.md).
// Trust:  the client may send anything in any order. What comes after it has finished or aborted is passed over; a hole on
//         a stream that has none ends the connection, as libvirt's daemons do it.
// Limits: a user gets at most k_piece bytes of Client at a time, or what its room() takes, however long the client's
//         frames are.
// Owns:   nothing of the client; the client forgets the stream when this is destroyed.
#pragma once

#include <cstdint>

#include "libshared/base/bytes.h"
#include "libshared/rpc/error.h"

namespace virtgate::server {

class Client;

// Of one packet to a client: as much as libvirt's own daemons put into one.
inline constexpr std::size_t k_stream_piece = 262120;

// Who has the stream. Every call comes from the loop, and the stream may be destroyed in each.
class StreamUser {
public:
    virtual ~StreamUser() = default;
    // Bytes of the client, valid during the call.
    virtual void on_data(ByteView bytes) noexcept = 0;
    // Where it would have the next bytes; they may come elsewhere, and fewer or more. Valid until the next on_data(), which
    // tells of those that came: then its `bytes` are the front of the room.
    [[nodiscard]] virtual MutableBytes room() noexcept { return {}; }
    // `length` bytes, more than 0, that are zeros and are not sent.
    virtual void on_hole(std::uint64_t length) noexcept = 0;
    // The client has sent or received all: to be answered by Stream::confirm() or fail(), now or later.
    virtual void on_finish() noexcept = 0;
    // The client gave up: to be answered by Stream::confirm().
    virtual void on_abort() noexcept = 0;
    // What was sent last has left this process.
    virtual void on_sent() noexcept = 0;
    // The connection is gone.
    virtual void on_gone() noexcept = 0;
};

class Stream {
public:
    // Of `client`, opened by the call with that header. `sparse`: the client may send holes.
    Stream(Client& client, const rpc::Header& call, bool sparse, StreamUser& user);
    ~Stream();
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    // At most k_stream_piece bytes. Then on_sent().
    void send(ByteView bytes) noexcept;
    // The same without a copy: `bytes` stay as they are until on_sent(), or until the stream is over.
    void lend(ByteView bytes) noexcept;
    // A hole of `length` bytes, more than 0. Then on_sent().
    void send_hole(std::uint64_t length) noexcept;
    // There is no more. The client finishes.
    void send_end() noexcept;

    // Answers on_finish() or on_abort(): all is well.
    void confirm() noexcept;
    // The stream is over for this reason.
    void fail(const rpc::Failure& failure) noexcept;

    // Nothing is read from the client, of no stream and no call, until release(). Both may be repeated.
    void hold() noexcept;
    void release() noexcept;

    [[nodiscard]] bool is_over() const noexcept { return client_ == nullptr; }

private:
    friend class Client;
    enum class State : unsigned char { open, closing, over };
    [[nodiscard]] bool is_of(const rpc::Header& header) const noexcept;
    void take_data(ByteView bytes) noexcept;
    [[nodiscard]] MutableBytes room() noexcept;
    void take_end(const rpc::Header& header) noexcept;
    // False if the client may not send this.
    [[nodiscard]] bool take_hole(ByteView payload) noexcept;
    void send_packet(const rpc::Header& header, ByteView payload, bool is_lent = false) noexcept;
    void lose_client() noexcept;
    void end() noexcept;
    [[nodiscard]] rpc::Header packet(rpc::Status status, rpc::Type type = rpc::Type::stream) const noexcept;

    Client* client_;
    const rpc::Header call_;
    const bool sparse_;
    StreamUser& user_;
    State state_ = State::open;
    bool holds_ = false;
    bool awaits_room_ = false;  // something was sent, and on_sent() is due
};

}  // namespace virtgate::server
