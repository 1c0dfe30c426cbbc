// SPDX-License-Identifier: LGPL-2.1-or-later
// open_calls - what a session waits for: replies to its calls, and the streams that it has open.
//
// A client names a call by program, procedure and serial, and a stream by those of the call that opened it.
// Nobody checks that serials differ, so the same name may be there several times; each reply then ends one of
// them.
//
// Trust:  names come from the client; a taken-over upstream could send replies that nobody asked for, and a
//         reply that matches no open call is refused here.
// Limits: k_calls_max calls: when full() the session stops reading its client. k_streams_max streams, those
//         that an open call may still open included: a call for one more is refused.
// Owns:   the table. It grows to the most that the session ever had open, and allocates nothing after that.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "libshared/base/clock.h"
#include "libshared/rpc/header.h"

namespace virtgate::workerd::worker {

class OpenCalls {
public:
    static constexpr std::size_t k_calls_max = 1024;
    static constexpr std::size_t k_streams_max = 256;

    // How much is open, over several OpenCalls.
    struct Usage {
        std::size_t calls = 0, streams = 0;
    };
    // `usage`, if it is there, counts what is open here as well, and has to outlive it.
    explicit OpenCalls(Usage* usage = nullptr) noexcept : usage_(usage) {}
    ~OpenCalls();
    OpenCalls(const OpenCalls&) = delete;
    OpenCalls& operator=(const OpenCalls&) = delete;

    [[nodiscard]] bool full() const noexcept { return calls_.size() >= k_calls_max; }
    [[nodiscard]] std::size_t calls() const noexcept { return calls_.size(); }
    [[nodiscard]] bool empty() const noexcept { return calls_.empty() && streams_.empty(); }
    [[nodiscard]] bool streams_full() const noexcept { return opening_ + streams_.size() >= k_streams_max; }

    // How many descriptors may come with the reply to a call.
    struct Fds {
        std::uint8_t min = 0, max = 0;
    };
    // What is recorded of a call: its number at the auditor, 0 if nothing is, and when it came.
    struct Record {
        std::uint64_t number = 0;
        Instant began{};
    };
    // Notes a call that goes upstream. Not when full().
    // `asked`: the client's procedure, if the daemon is asked something else in its place.
    void add(const rpc::Header& call, bool opens_stream, Fds fds = {0, 0},
             std::optional<std::uint32_t> asked = std::nullopt, Record record = {0, {}});

    // True if an open call has the name of `reply`; and if so many descriptors may come with that reply.
    [[nodiscard]] bool has_call(const rpc::Header& reply) const noexcept { return find(reply) != nullptr; }
    [[nodiscard]] bool may_bring(const rpc::Header& reply, std::size_t fds) const noexcept {
        const Entry* call = find(reply);
        return call != nullptr && fds >= std::max<std::size_t>(call->fds.min, 1) && fds <= call->fds.max;
    }

    // Ends the call that `reply` answers. A good reply to a call that opens a stream opens it. An error reply
    // with the name of an open stream ends that stream: libvirt reports a hole that it could not write this
    // way. Returns what is recorded of the call; nothing if nothing open has that name.
    [[nodiscard]] std::optional<Record> end_call(const rpc::Header& reply);

    // True if `packet` (a stream packet or hole, from either side) belongs to a stream that is open, or that
    // an open call is about to open: libvirtd sends the reply from another thread than the data, so some of a
    // download may come before it.
    [[nodiscard]] bool has_stream(const rpc::Header& packet) const noexcept;

    // Ends that stream, if it is there; one that a call is about to open will not be opened then.
    void end_stream(const rpc::Header& packet) noexcept;

    // Calls answer(header) for each open call and end(header) for each open stream, and forgets them all.
    template <class Answer, class End>
    void drain(Answer&& answer, End&& end) {
        for (const Entry& call : calls_) {
            rpc::Header header = call.header();
            header.procedure = call.asked;
            answer(header);
        }
        for (const Entry& stream : streams_) end(stream.header());
        calls_.clear();
        streams_.clear();
        opening_ = 0;
        count();
    }

private:
    struct Entry {
        std::uint32_t program, version, procedure, serial;
        bool opens_stream;
        Fds fds;
        std::uint32_t asked;
        Record record;
        [[nodiscard]] bool is(const rpc::Header& other) const noexcept {
            return serial == other.serial && procedure == other.procedure && program == other.program;
        }
        [[nodiscard]] rpc::Header header() const noexcept;
    };
    void count() noexcept;
    [[nodiscard]] const Entry* find(const rpc::Header& reply) const noexcept;
    Usage* usage_;
    Usage counted_{};  // what of ours is in *usage_
    std::vector<Entry> calls_;
    std::vector<Entry> streams_;
    std::size_t opening_ = 0;  // open calls that open a stream
};

}  // namespace virtgate::workerd::worker
