// SPDX-License-Identifier: LGPL-2.1-or-later
// cutter - cut one side's byte stream into frames.
#include "libshared/rpc/cutter.h"

#include <algorithm>

#include "libshared/base/result.h"

namespace virtgate::rpc {

namespace {

// Above this a frame's buffer is given back once the frame is done: one large call does not keep its memory.
constexpr std::size_t k_keep_max = 4096;

MutableBytes cut_front(MutableBytes& in, std::size_t size) noexcept {
    const MutableBytes front = in.first(size);
    in = in.subspan(size);
    return front;
}

}  // namespace

Cut Cutter::next(MutableBytes& in) {
    if (held_is_given_) {
        held_is_given_ = false;
        held_.clear();
        if (held_.capacity() > k_keep_max) held_ = ByteVector{};
    }
    switch (state_) {
        case State::start: return at_start(in);
        case State::whole: return at_whole(in);
        case State::pieces: return at_pieces(in);
        case State::skipping: return at_skipping(in);
        case State::deciding: break;
    }
    panic("a frame's header was not decided upon");
}

Cut Cutter::at_start(MutableBytes& in) {
    // A header that is complete in the input is not copied. Otherwise its bytes are collected first.
    const std::byte* head = in.data();
    std::size_t known = in.size();
    if (!held_.empty()) {
        const std::size_t missing = std::min(k_frame_min - held_.size(), in.size());
        const MutableBytes front = cut_front(in, missing);
        held_.insert(held_.end(), front.begin(), front.end());
        head = held_.data();
        known = held_.size();
    }
    if (known >= k_length_size) {
        frame_size_ = load_be32(head);
        if (frame_size_ < k_frame_min || frame_size_ > frame_max_) return {.kind = Cut::Kind::flaw};
    }
    if (known < k_frame_min) {
        if (held_.empty()) held_.assign(in.begin(), in.end());
        in = {};
        return {};
    }
    header_ = read_header(head);
    passed_ = 0;
    state_ = State::deciding;
    return {.kind = Cut::Kind::header, .header = header_, .frame_size = frame_size_};
}

void Cutter::decide(State state) noexcept {
    require(state_ == State::deciding, "there is no header to decide upon");
    state_ = state;
}

Cut Cutter::finish(Cut cut) noexcept {
    cut.header = header_;
    cut.frame_size = frame_size_;
    state_ = State::start;
    return cut;
}

Cut Cutter::at_whole(MutableBytes& in) {
    if (held_.empty() && in.size() >= frame_size_)
        return finish({.kind = Cut::Kind::frame, .bytes = cut_front(in, frame_size_)});
    const MutableBytes part = cut_front(in, std::min(frame_size_ - held_.size(), in.size()));
    held_.insert(held_.end(), part.begin(), part.end());
    if (held_.size() < frame_size_) return {};
    held_is_given_ = true;
    return finish({.kind = Cut::Kind::frame, .bytes = held_});
}

Cut Cutter::at_pieces(MutableBytes& in) {
    // A header that was collected goes out as a piece of its own.
    Cut cut{.kind = Cut::Kind::piece, .first = passed_ == 0};
    if (!held_.empty()) {
        cut.bytes = held_;
        held_is_given_ = true;
    } else {
        if (in.empty()) return {};
        cut.bytes = cut_front(in, std::min(frame_size_ - passed_, in.size()));
    }
    passed_ += cut.bytes.size();
    cut.last = passed_ == frame_size_;
    cut.header = header_;
    cut.frame_size = frame_size_;
    if (cut.last) state_ = State::start;
    return cut;
}

Cut Cutter::at_skipping(MutableBytes& in) {
    passed_ += held_.size();
    held_ = ByteVector{};
    passed_ += cut_front(in, std::min(frame_size_ - passed_, in.size())).size();
    if (passed_ < frame_size_) return {};
    return finish({.kind = Cut::Kind::skipped});
}

void Cutter::abandon() noexcept {
    require(state_ == State::whole, "there is no frame to abandon");
    state_ = State::skipping;
}

}  // namespace virtgate::rpc
