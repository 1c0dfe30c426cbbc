// SPDX-License-Identifier: LGPL-2.1-or-later
// client - one connection that makes calls: frames in, handlers called, answers out.
//
//     ┌────────── serving ──────────┐ the peer hangs up, breaks the framing, does not read, or close()
//     │ reads while it may take one │ ─────────────────────▶ over ──(next turn)──▶ ClientOwner::on_over()
//     └─────────────────────────────┘ give_up() ──▶ nothing is left here; another process goes on
//
// It may take a call while fewer than `calls` are open and nothing waits to be sent (`unsent`): a client that does not read
// its answers is not read either, nor one whose stream (stream.h) cannot take more. Wrong messages get the answers of libvirt's daemons, in their order of checks (docs/protocol.md).
//
// Trust:  input is hostile, whoever the peer is.
// Limits: ClientLimits. A frame that is too long is passed over and answered with an error, never stored; what waits
//         unread in this process is at most one piece of k_piece bytes. The data of a stream is read in longer ones where
//         its user has room for it.
// Owns:   the socket, a partial frame, unsent answers. Streams are their users', and are told when it ends.
#pragma once

#include <memory>
#include <string>

#include "libshared/loop/loop.h"
#include "libshared/rpc/cutter.h"
#include "libshared/rpc/ping_schedule.h"
#include "libshared/server/call.h"
#include "libshared/server/peer.h"
#include "libshared/server/program.h"
#include "libshared/server/stream.h"

namespace virtgate::server {

// Unique for the life of a Server.
using ClientId = std::uint64_t;

struct ClientLimits {
    std::size_t frame_max = 16384;  // bytes of a whole frame that is served, at most k_piece
    unsigned calls = 1;             // open at a time; more wait in the socket
    Milliseconds ping_interval{0};  // of silence, after which a client that asked is pinged; 0: never
    unsigned ping_count = 5;
    // Bytes that may wait to be sent while calls are still taken: for whoever sends streams, which fill the socket.
    std::size_t unsent = 0;
};

class ClientOwner {
public:
    virtual ~ClientOwner() = default;
    // `client` is over and has to be destroyed now. Comes from the loop, never from within another call.
    virtual void on_over(Client& client, std::string_view reason) noexcept = 0;
    // A call was answered.
    virtual void on_answered(Client& client) noexcept = 0;
};

class Client {
public:
    // As much is read at a time.
    static constexpr std::size_t k_piece = 16384;

    // What goes from one process to another when a connection is handed over.
    struct Handed {
        UniqueFd socket;
        ByteVector input;   // read, and not served yet; at most k_piece bytes
        ByteVector output;  // not sent yet
    };

    // Serves `handed`, a connected stream socket that is made non-blocking here, for `peer`. `programs`, `limits` and
    // `owner` outlive it. `listener`: for the owner, which one it came by.
    Client(loop::Loop& loop, Handed handed, const Peer& peer, ClientId id, unsigned listener,
           const std::vector<const Program*>& programs, const ClientLimits& limits, ClientOwner& owner);
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    [[nodiscard]] ClientId id() const noexcept { return id_; }
    [[nodiscard]] const Peer& peer() const noexcept { return peer_; }
    [[nodiscard]] unsigned listener() const noexcept { return listener_; }
    // Borrowed: to be asked about, or kept a copy of.
    [[nodiscard]] int socket() const noexcept { return socket_.get(); }

    // Ends it, from wherever; on_over() follows in the loop.
    void close(std::string_view reason) noexcept;

    // The client asked to be pinged (feature 10 of libvirt's remote program).
    void start_pings() noexcept;

    // Sends `frame`, an event. Nothing happens if it is over.
    void send(ByteView frame) noexcept;
    // Bytes that wait to be sent.
    [[nodiscard]] std::size_t unsent() const noexcept { return output_.size() + lent_.size(); }

    // Open streams.
    [[nodiscard]] std::size_t streams() const noexcept { return streams_.size(); }

    // Takes no call any more; those that are open go on. For good.
    void pause() noexcept;
    // No call is open.
    [[nodiscard]] bool is_settled() const noexcept { return open_calls_ == 0; }
    // In the middle of a frame that is too long: nobody else could go on with it.
    [[nodiscard]] bool is_skipping() const noexcept { return skipping_; }
    // All that another process needs. Only if paused, settled, and not skipping; afterwards the object can only be
    // destroyed.
    [[nodiscard]] Handed give_up();

private:
    friend class Call;
    friend class Stream;
    void answer(ByteView frame) noexcept;
    // A frame in two parts; `body` stays where it is if it is `lender`'s.
    void send(ByteView head, ByteView body, Stream* lender) noexcept;
    void keep_lent() noexcept;
    void add_stream(Stream& stream);
    void remove_stream(Stream& stream) noexcept;
    void hold() noexcept { ++holds_; }
    void release() noexcept;
    [[nodiscard]] Stream* find_stream(const rpc::Header& header) const noexcept;
    void take_header(const rpc::Cut& cut);
    void take_piece(const rpc::Cut& cut);
    void take_stream_end(const rpc::Header& header, ByteView payload);
    void tell_sent() noexcept;

    void on_ready(loop::Want ready) noexcept;
    void on_time() noexcept;
    void read_some();
    [[nodiscard]] MutableBytes room_of_stream() noexcept;
    void cut(MutableBytes in);
    [[nodiscard]] bool take_cut(const rpc::Cut& cut);
    void take_frame(const rpc::Header& header, ByteView payload);
    void dispatch(const Program& program, const rpc::Header& header, ByteView payload);
    void refuse(const rpc::Header& header, std::string_view text) noexcept;
    void flush() noexcept;
    void want() noexcept;
    [[nodiscard]] bool may_take() const noexcept {
        return !is_over_ && !is_paused_ && open_calls_ < limits_.calls && unsent() <= limits_.unsent &&
               holds_ == 0;
    }
    [[nodiscard]] ByteVector input();

    loop::Loop& loop_;
    UniqueFd socket_;
    const Peer peer_;
    const ClientId id_;
    const unsigned listener_;
    const std::vector<const Program*>& programs_;
    const ClientLimits& limits_;
    ClientOwner& owner_;
    std::shared_ptr<ClientLink> link_;
    std::unique_ptr<loop::Watch> watch_;
    rpc::Cutter cutter_;
    std::size_t frame_left_ = 0;  // of a frame that is taken in pieces, after the first one
    ByteVector rest_;             // read, and behind what was taken
    ByteVector output_;           // not sent yet
    ByteView lent_;               // neither, and behind it
    Stream* lender_ = nullptr;    // whose that is
    unsigned open_calls_ = 0;
    unsigned holds_ = 0;            // streams that cannot take more
    std::vector<Stream*> streams_;  // open, in no order
    bool reads_ = true;             // the watch waits for input
    bool skipping_ = false;
    bool owes_news_ = false;  // all was sent at once, and streams have not heard of it
    bool is_paused_ = false;
    bool is_over_ = false;
    std::string reason_;
    rpc::PingSchedule pings_;
    std::unique_ptr<loop::Timer> ping_timer_;
};

}  // namespace virtgate::server
