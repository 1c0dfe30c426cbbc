// SPDX-License-Identifier: LGPL-2.1-or-later
// roll - the connections of a gate, as an administrator sees them.
//
// A connection has an entry from its first moment to its end, and takes it along from one thread of the gate to the other.
//
// Trust:  what is counted here is for people to look at; nothing is decided by it.
// Limits: one entry for each connection, which others bound.
// Owns:   the facts and the counts. Read by one thread while another counts.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "libshared/metrics/tally.h"
#include "proto/control.h"
#include "proto/who.h"

namespace virtgate::netd::gate {

class Roll {
public:
    // Of a gate. Numbers are used again behind it, if it lives to see that.
    static constexpr std::uint64_t k_id_max = 999'999'999;
    // Bytes of a list, more or less.
    static constexpr std::size_t k_page = 40'960;

    // Why a connection ended before it was a session.
    enum class Refusal : unsigned char { source_limit, handshake, denied, deadline, left, closed, system };
    // What was not done in time.
    enum class Late : unsigned char { handshake, authentication, login, frame, keepalive };

    // What never changes of a connection.
    struct Facts {
        proto::control::Transport transport{};
        std::string source{};
        std::optional<proto::control::Peer> local{};
        bool read_only = false;
    };

    Roll() = default;
    Roll(const Roll&) = delete;
    Roll& operator=(const Roll&) = delete;

private:
    struct Record;

public:
    // One connection. Leaves the roll when it is destroyed, in any thread. An empty one counts nothing.
    class Entry {
    public:
        Entry() noexcept;
        Entry(Entry&& other) noexcept;
        Entry& operator=(Entry&& other) noexcept;
        ~Entry();

        [[nodiscard]] std::uint64_t id() const noexcept;
        // It has to log in.
        void enter_login() noexcept;
        // What `grant` says of it is kept for administrators.
        void enter_session(const proto::who::SessionGrant& grant);
        // The thread that has the connection counts.
        void add_in(std::size_t bytes) noexcept;
        void add_out(std::size_t bytes) noexcept;
        void add_call() noexcept;
        void add_event() noexcept;
        void set_open(std::size_t calls, std::size_t streams) noexcept;
        // What happens once, or seldom.
        void note_refused(Refusal why) noexcept;
        void note_handshake(bool good) noexcept;
        void note_late(Late what) noexcept;
        void note_breach(bool of_client) noexcept;
        void note_refused_call() noexcept;

    private:
        friend class Roll;
        explicit Entry(std::unique_ptr<Record> record) noexcept;
        void leave() noexcept;
        std::unique_ptr<Record> record_;
    };

    [[nodiscard]] Entry add(Facts facts);
    // One was closed at once, because its source has too many.
    void note_crowded(proto::control::Transport transport) noexcept;

    // Some of them with larger numbers than `after`.
    [[nodiscard]] proto::control::ConnectionsRet list(std::uint64_t after) const;
    [[nodiscard]] bool has(std::uint64_t id) const;
    [[nodiscard]] proto::control::Counters count() const;
    // The same and more, for the exporter.
    [[nodiscard]] metrics::Samples read() const;

private:
    static constexpr std::size_t k_transports = 3, k_refusals = 7, k_late = 5;
    // Of one transport.
    struct Counts {
        std::uint64_t accepted = 0, sessions = 0, bytes_in = 0, bytes_out = 0, calls = 0, events = 0;
        std::array<std::uint64_t, k_refusals> refused{};
    };
    void remove(const Record& record) noexcept;
    [[nodiscard]] Counts& counts_of(proto::control::Transport transport) noexcept {
        return ended_.at(static_cast<std::size_t>(transport));
    }

    mutable std::mutex mutex_;
    std::map<std::uint64_t, Record*> records_;
    std::uint64_t last_ = 0;
    std::array<Counts, k_transports>
        ended_{};  // what those had counted that are gone; and what no connection counts
    std::array<std::uint64_t, k_late> late_{};
    std::array<std::uint64_t, 2> handshakes_{}, breaches_{};  // failed, good; of workers, of clients
    std::uint64_t refused_calls_ = 0;
};

}  // namespace virtgate::netd::gate
