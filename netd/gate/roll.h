// SPDX-License-Identifier: LGPL-2.1-or-later
// roll - the connections of a gate, as an administrator sees them.
//
// A connection has an entry from its first moment to its end, and takes it along from one thread of the gate to the other.
//
// Trust:  what is counted here is for people to look at; nothing is decided by it.
// Limits: one entry for each connection, which others bound.
// Owns:   the facts and the counts. Read by one thread while another counts.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "proto/control.h"
#include "proto/who.h"

namespace virtgate::netd::gate {

class Roll {
public:
    // Of a gate. Numbers are used again behind it, if it lives to see that.
    static constexpr std::uint64_t k_id_max = 999'999'999;
    // Bytes of a list, more or less.
    static constexpr std::size_t k_page = 40'960;

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
        void set_open(std::size_t calls, std::size_t streams) noexcept;

    private:
        friend class Roll;
        explicit Entry(std::unique_ptr<Record> record) noexcept;
        void leave() noexcept;
        std::unique_ptr<Record> record_;
    };

    [[nodiscard]] Entry add(Facts facts);
    // One was closed at once, because its source has too many.
    void note_crowded() noexcept;

    // Some of them with larger numbers than `after`.
    [[nodiscard]] proto::control::ConnectionsRet list(std::uint64_t after) const;
    [[nodiscard]] bool has(std::uint64_t id) const;
    [[nodiscard]] proto::control::Counters count() const;

private:
    void remove(const Record& record) noexcept;

    mutable std::mutex mutex_;
    std::map<std::uint64_t, Record*> records_;
    std::uint64_t last_ = 0;
    proto::control::Counters ended_{};  // what those had counted that are gone; and what no connection counts
};

}  // namespace virtgate::netd::gate
