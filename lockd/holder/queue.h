// SPDX-License-Identifier: LGPL-2.1-or-later
// queue - the reading end of the queue by which a locker says what to keep and what is over (proto/holder.x).
//
// What a locker has sent is in the kernel, with the descriptors that came along, as long as anybody has the reading end:
// this process, the service manager, or a message between them. So it is looked at first, and taken out when everything
// that it asks for is done. A holder that dies in between leaves it to the next one, which does it once more.
//
// The bytes are looked at without the descriptors: of most that come, nothing is left at the end of a batch (intake.h), and
// each one that is received is an open file more.
//
// Trust:  whoever writes may have been taken over. A packet that is empty or too long is a breach.
// Limits: k_buffer bytes in the kernel, and as many again with what it counts for itself; k_look_max packets are looked at at
//         a time.
// Owns:   the reading end. Its place in the queue belongs to the open file: one process at a time reads.
// Source: SO_PEEK_OFF of socket(7): a look goes on behind the one before; unix(7).
#pragma once

#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"

namespace virtgate::lockd::holder {

class Queue {
public:
    static constexpr int k_buffer = 212'992;
    static constexpr std::size_t k_look_max = 256;

    // A new one, and its writing end. Error: system's fault.
    struct Ends;
    [[nodiscard]] static Result<Ends> make();

    // Goes on with `reading`, of make(), perhaps of another process.
    explicit Queue(UniqueFd reading) : reading_(std::move(reading)) {}

    struct Packet {
        ByteView bytes;
        bool has_fds = false;
        int offset = 0;  // of its first byte, behind those of all packets before
    };
    // What there is now, from the front, at most k_look_max. Valid until the next call of anything here.
    struct Look {
        std::vector<Packet> packets;
        bool is_end = false;     // nothing comes behind these, ever
        bool is_breach = false;  // what comes behind these is no packet of ours
    };
    // Error: system's fault.
    [[nodiscard]] Result<Look> look();

    // A copy of the one descriptor that came with `packet`. Empty: there is more than one. Error: system's fault; this
    // process has no descriptor left.
    [[nodiscard]] Result<UniqueFd> copy_fd(const Packet& packet);

    // Takes the first `count` packets out.
    void consume(std::size_t count) noexcept;

    // Whoever has the writing end can write nothing any more, and sees the end. What is in the queue stays.
    void shut() noexcept;

    [[nodiscard]] int get() const noexcept { return reading_.get(); }

private:
    [[nodiscard]] Done look_from(int offset);
    [[nodiscard]] Result<bool> look_at_some(Look& look);
    [[nodiscard]] Result<bool> look_at_large(Look& look);

    UniqueFd reading_;
    int offset_ = 0;      // how far has been looked
    ByteVector small_{};  // packets, k_small bytes for each; and those that are larger
    std::vector<ByteVector> large_{};
};

struct Queue::Ends {
    Queue reading;
    UniqueFd writing;
};

}  // namespace virtgate::lockd::holder
