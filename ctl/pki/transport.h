// SPDX-License-Identifier: LGPL-2.1-or-later
// transport - a TCP connection with a deadline, below a GnuTLS session, that remembers how the peer began.
//
// Limits: all calls together end at the deadline.
// Owns:   the socket.
#pragma once

#include <gnutls/gnutls.h>

#include <chrono>
#include <string>

#include "libshared/base/fd.h"

namespace virtgate::ctl::pki {

using Deadline = std::chrono::steady_clock::time_point;

// Connects to the first address of `host` that answers, and gives each until `patience` has passed. Error:
// peer's fault if it was reached and refused (number ECONNREFUSED) or did not answer (ETIMEDOUT and others);
// system's fault if the name cannot be resolved (number 0).
Result<UniqueFd> connect_to(const std::string& host, const std::string& port,
                            std::chrono::milliseconds patience);

class Transport {
public:
    Transport(UniqueFd socket, Deadline deadline) : socket_(std::move(socket)), deadline_(deadline) {}
    Transport(const Transport&) = delete;
    Transport& operator=(const Transport&) = delete;

    // Makes `session` read and write here. It has to end before this does.
    void carry(gnutls_session_t session) noexcept;

    // The first bytes that came, at most k_head_max.
    static constexpr std::size_t k_head_max = 64;
    [[nodiscard]] const std::string& head() const noexcept { return head_; }
    [[nodiscard]] bool late() const noexcept { return late_; }      // the deadline has passed in a call
    [[nodiscard]] bool closed() const noexcept { return closed_; }  // the peer has closed or reset it

private:
    bool wait(short events, unsigned most_ms) noexcept;
    ssize_t pull(void* to, std::size_t size) noexcept;
    ssize_t push(const void* from, std::size_t size) noexcept;

    UniqueFd socket_;
    Deadline deadline_;
    gnutls_session_t session_ = nullptr;
    std::string head_;
    bool late_ = false, closed_ = false;
};

}  // namespace virtgate::ctl::pki
