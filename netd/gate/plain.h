// SPDX-License-Identifier: LGPL-2.1-or-later
// plain - a connection whose bytes travel as they are: a UNIX socket, or TCP before a SASL layer is on it.
//
// Trust, limits: see connection.h. Descriptors that were attached to a client's bytes are held until they are asked
//         for; one more than k_descriptors_max and the connection has failed.
// Owns:   the socket, what waits to be sent, and the descriptors that came.
#pragma once

#include <deque>

#include "netd/gate/connection.h"

namespace virtgate::netd::gate {

class PlainConnection final : public Connection {
public:
    // `socket`: a connected stream socket; made non-blocking here. `passes_descriptors`: it is a UNIX socket and the
    // client may send descriptors; otherwise the kernel drops them.
    PlainConnection(UniqueFd socket, bool passes_descriptors);

    Step receive(MutableBytes into, std::size_t& size) override;
    Step receive_some(MutableBytes into, std::size_t& size) override { return receive(into, size); }
    bool has_input() const noexcept override { return false; }
    void begin_records() noexcept override { run_ = {}; }
    Step add_records(ByteView bytes) override;
    Step send_records() override;
    Step flush() override;
    bool has_output() const noexcept override { return !waiting_.empty(); }
    void bye() noexcept override {}
    bool passes_descriptors() const noexcept override { return passes_descriptors_; }
    std::size_t descriptors_held() const noexcept override { return came_.size(); }
    std::vector<UniqueFd> take_descriptors() override { return std::exchange(came_, {}); }
    Step send_descriptors(std::vector<UniqueFd> descriptors) override;
    int socket() const noexcept override { return socket_.get(); }
    UniqueFd release_socket() noexcept override { return std::move(socket_); }
    std::string_view why() const noexcept override { return why_; }

private:
    // What waits: bytes, or one descriptor with its byte.
    struct Waiting {
        ByteVector bytes;
        UniqueFd descriptor;
    };
    Step write_out(ByteView bytes);
    Step fail(std::string_view why) noexcept;

    UniqueFd socket_;
    bool passes_descriptors_;
    ByteView run_{};  // neighbouring bytes of this turn, to leave with one system call
    std::deque<Waiting> waiting_;
    std::vector<UniqueFd> came_;
    std::string_view why_;
};

}  // namespace virtgate::netd::gate
