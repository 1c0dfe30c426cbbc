// SPDX-License-Identifier: LGPL-2.1-or-later
// opening - from a client's CONNECT_OPEN to an open connection with a libvirt daemon, or to an error reply.
//
// It tries the sockets in order until one accepts, talks the prologue (prologue.h), and gives up at the
// deadline.
//
// Trust:  the sockets come from the configuration; what the daemon answers is decoded with care, and its
//         error to CONNECT_OPEN goes to the client as it is.
// Limits: one deadline for everything; frames of the daemon of at most 64 KiB until it is open.
// Owns:   the connection until take().
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libshared/base/fd.h"
#include "libshared/base/log.h"
#include "libshared/loop/loop.h"
#include "libshared/rpc/cutter.h"
#include "workerd/worker/connector.h"
#include "workerd/worker/lane.h"
#include "workerd/worker/prologue.h"

namespace virtgate::workerd::worker {

class Opening {
public:
    struct Request {
        rpc::Header call{};                // the client's CONNECT_OPEN
        std::string uri{};                 // the table's constant
        std::vector<std::string> sockets;  // absolute paths, best first
        bool read_only = false;
        std::uint64_t session = 0;                        // and for which session; 0: for none
        Prologue::Identity identity{};                    // whom it is for
        std::string_view backend = "the libvirt daemon";  // what is there, for messages; a constant
        Milliseconds timeout{};
    };
    struct Outcome {
        UniqueFd upstream{};  // open, non-blocking; empty if there is none
        ByteVector reply{};   // a frame for the client
    };

    // Begins. `on_done` is called once, from the loop, and may destroy this object after take().
    // The others are borrowed.
    Opening(loop::Loop& loop, Scratch& scratch, Connector& connector, const Log& log, Request request,
            loop::Target<> on_done);
    ~Opening();
    Opening(const Opening&) = delete;
    Opening& operator=(const Opening&) = delete;

    // What was asked for, and the socket that was connected to if the outcome is a connection.
    [[nodiscard]] const Request& request() const noexcept { return request_; }
    [[nodiscard]] const std::string& socket() const noexcept { return request_.sockets[next_socket_]; }

    // The outcome; once, after `on_done`.
    [[nodiscard]] Outcome take() noexcept { return std::move(outcome_); }

private:
    void connect_next();
    void on_connected(Connector::Connected& connected) noexcept;
    void start_talking(UniqueFd socket);
    void on_timer() noexcept;
    void await_deadline() noexcept;
    void on_ready(loop::Want ready) noexcept;
    void on_bytes(MutableBytes in);
    void on_frame(const rpc::Cut& cut);
    void send(ByteView frame);
    // `for_client`: {} stands for what is there.
    void fail(std::string_view for_log, std::string_view for_client);
    void finish(Outcome outcome);

    loop::Loop& loop_;
    Scratch& scratch_;
    Connector& connector_;
    const Log& log_;
    Request request_;
    Prologue prologue_;
    loop::Target<> on_done_;
    Instant deadline_;
    std::size_t next_socket_ = 0;
    std::string misses_;                       // why the sockets so far did not do, for the log
    std::optional<Connector::Ticket> ticket_;  // while a connection is asked for
    UniqueFd socket_;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> timer_;
    rpc::Cutter cutter_;
    bool finished_ = false;
    Outcome outcome_;
};

}  // namespace virtgate::workerd::worker
