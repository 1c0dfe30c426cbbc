// SPDX-License-Identifier: LGPL-2.1-or-later
// cutter - cut one side's byte stream into frames.
//
// The stream arrives in pieces of any size, from TLS records, packets or a stream socket. The cutter finds the
// frames without copying those that are complete in one piece, and lets its owner decide, when it has seen a
// header, what to do with the rest: have it whole, have it in pieces as they come, or skip it.
//
//     while (true) switch (auto cut = cutter.next(in); cut.kind) {
//         case Cut::Kind::more:    return;                        // `in` is used up
//         case Cut::Kind::header:  cutter.take_whole(); break;    // or take_pieces() or skip()
//         case Cut::Kind::frame:   handle(cut.header, cut.bytes); break;
//         case Cut::Kind::piece:   forward(cut.bytes, cut.last); break;
//         case Cut::Kind::skipped: break;
//         case Cut::Kind::flaw:    close; return;
//     }
//
// Trust:  input is hostile.
// Limits: the length word is checked against `frame_max` before a byte behind it is stored. Memory grows with the
//         bytes that really came, never with what a length word promises.
// Owns:   the bytes of one partial frame. Spans that it returns are valid until the next call to next().
#pragma once

#include "libshared/rpc/header.h"

namespace virtgate::rpc {

struct Cut {
    enum class Kind : unsigned char {
        more,    // all input is used; nothing else to report
        header,  // a header is known: call take_whole(), take_pieces() or skip() before next()
        frame,   // `bytes` is a whole frame, length word included; it may be changed in place
        piece,  // `bytes` is the next part of the frame, length word and header included; `last` ends the frame
        skipped,  // the end of a skipped frame was passed
        flaw,     // the length word is below 28 or above the limit: the stream cannot be followed any more
    };
    Kind kind = Kind::more;
    bool first = false;  // of a piece: it starts with the length word
    bool last = false;   // of a piece: it ends the frame
    Header header{};     // of a header, frame, piece or skipped frame
    std::size_t frame_size = 0;
    MutableBytes bytes{};
};

class Cutter {
public:
    // `frame_max`: the largest length word to accept, k_frame_min..k_frame_max.
    explicit Cutter(std::size_t frame_max) noexcept : frame_max_(frame_max) {}

    // Goes on with `in`, and removes from its front what was used.
    [[nodiscard]] Cut next(MutableBytes& in);

    void take_whole() noexcept { decide(State::whole); }
    void take_pieces() noexcept { decide(State::pieces); }
    void skip() noexcept { decide(State::skipping); }

    void set_frame_max(std::size_t frame_max) noexcept { frame_max_ = frame_max; }

    // True if a frame has begun and not ended.
    [[nodiscard]] bool in_frame() const noexcept {
        return state_ != State::start || (!held_.empty() && !held_is_given_);
    }
    // True if that frame is being taken in pieces.
    [[nodiscard]] bool in_pieces() const noexcept { return state_ == State::pieces; }
    // The bytes so far of a frame taken whole, after Cut::Kind::more; to judge it before it is complete.
    [[nodiscard]] MutableBytes held() noexcept { return held_; }
    [[nodiscard]] const Header& header() const noexcept { return header_; }
    // Gives up a frame that was taken whole: what is held is freed, what is to come is skipped.
    void abandon() noexcept;

private:
    enum class State : unsigned char { start, deciding, whole, pieces, skipping };
    void decide(State state) noexcept;
    Cut at_start(MutableBytes& in);
    Cut at_whole(MutableBytes& in);
    Cut at_pieces(MutableBytes& in);
    Cut at_skipping(MutableBytes& in);
    Cut finish(Cut cut) noexcept;

    std::size_t frame_max_;
    State state_ = State::start;
    Header header_{};
    std::size_t frame_size_ = 0;
    std::size_t passed_ = 0;      // bytes of this frame that were given away or skipped
    ByteVector held_;             // a partial frame, or fewer bytes than a header
    bool held_is_given_ = false;  // held_ was returned as a frame and is freed at the next call
};

}  // namespace virtgate::rpc
