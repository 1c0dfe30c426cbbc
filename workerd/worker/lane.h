// SPDX-License-Identifier: LGPL-2.1-or-later
// lane - one direction of a session: the cutter, and what waits while the socket it leads to is full.
//
// What comes in is looked at in the process's one Scratch. Frames that may pass form a run: neighbouring
// bytes that are sent with one system call. When the socket is full, the rest of the run (unsent) and the
// bytes behind it that nobody looked at (unread) move to a buffer of the lane, and the session stops reading
// the other side.
//
// Limits: one packet's rest, at most k_packet_max bytes; or a held frame of the cutter and one packet's rest.
// Owns:   the rest. It is allocated when the socket is full and freed when it has gone.
#pragma once

#include <array>

#include "libshared/channel/packet.h"
#include "libshared/rpc/cutter.h"

namespace virtgate::workerd::worker {

// Where every session reads to: one buffer for the whole process, since nothing stays in it between two
// callbacks. In front of it there is room for the part of a frame that came earlier.
class Scratch {
public:
    // Where to read to: k_packet_max bytes.
    [[nodiscard]] MutableBytes area() noexcept { return MutableBytes(bytes_).subspan(k_headroom); }
    // True if `size` bytes may be written in front of `at`, which points into the area.
    [[nodiscard]] bool has_room_before(const std::byte* at, std::size_t size) const noexcept;

private:
    static constexpr std::size_t k_headroom = channel::k_packet_max;
    std::array<std::byte, k_headroom + channel::k_packet_max> bytes_;
};

class Lane {
public:
    explicit Lane(std::size_t frame_max) noexcept : cutter(frame_max) {}

    rpc::Cutter cutter;

    [[nodiscard]] bool blocked() const noexcept { return !unsent_.empty(); }
    [[nodiscard]] bool has_unread() const noexcept { return !unread_.empty(); }

    // Keeps `run` and then `in`. They are copied, except a run that the cutter holds (`run_is_held`).
    void park(MutableBytes run, bool run_is_held, MutableBytes in);

    // What has to be sent first.
    [[nodiscard]] MutableBytes unsent() const noexcept { return unsent_; }
    // `size` bytes of it were sent.
    void sent(std::size_t size) noexcept;
    // What has to be looked at next; not while blocked(). The bytes stay until the next park() or tidy().
    [[nodiscard]] MutableBytes take_unread() noexcept;
    // Frees the buffer if nothing waits in it.
    void tidy() noexcept;
    // Forgets what waits.
    void clear() noexcept;

private:
    ByteVector rest_;
    MutableBytes unsent_;
    MutableBytes unread_;
};

// A run grows by frames in the order in which they lie in the buffer.
class Run {
public:
    [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }
    [[nodiscard]] MutableBytes bytes() const noexcept { return bytes_; }
    [[nodiscard]] bool is_held() const noexcept { return held_; }

    // Adds `bytes` of the buffer. Frames between the run and them were dropped: the run moves up to them.
    void add(MutableBytes bytes) noexcept;
    // The whole run is `bytes`, which the cutter holds until its next call. Only on an empty run.
    void hold(MutableBytes bytes) noexcept;
    void clear() noexcept { *this = Run{}; }

private:
    MutableBytes bytes_;
    bool held_ = false;
};

}  // namespace virtgate::workerd::worker
