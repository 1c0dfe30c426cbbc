// SPDX-License-Identifier: LGPL-2.1-or-later
// stream - a file, a console or a screen shot that travels in pieces, beside calls and other streams.
#include "libshared/client/stream.h"

#include <algorithm>

#include "libshared/client/core.h"

namespace virtgate::client {

namespace {

constexpr std::size_t k_copy_size = 262144;
// A stream that failed here is ended over there; how long that may take when the caller set no deadline.
constexpr Milliseconds k_abort_patience{10000};

Stream::Piece convert(const Core::Piece& piece) {
    using From = Core::Piece::Kind;
    using To = Stream::Piece::Kind;
    switch (piece.kind) {
        case From::data: return {To::data, piece.size};
        case From::hole: return {To::hole, piece.size};
        case From::end: return {To::end, 0};
        case From::blocked: break;
    }
    return {To::blocked, 0};
}

// Hands `size` zero bytes to `sink`.
Done fill(const Stream::Sink& sink, std::uint64_t size) {
    static constexpr std::array<std::byte, 65536> k_zeros{};
    while (size > 0) {
        const std::size_t part = std::min<std::uint64_t>(size, k_zeros.size());
        if (auto done = sink(ByteView(k_zeros).first(part)); !done) return done;
        size -= part;
    }
    return {};
}

}  // namespace

Stream& Stream::operator=(Stream&& other) noexcept {
    if (this != &other) {
        forget();
        core_ = std::move(other.core_);
        state_ = std::move(other.state_);
    }
    return *this;
}

void Stream::forget() noexcept {
    if (core_ && state_) core_->forget_stream(state_);
    state_.reset();
    core_.reset();
}

Result<Stream::Piece> Stream::read(MutableBytes buffer, const Deadline& deadline) {
    return core_->read_stream(*state_, buffer, &deadline).map(convert);
}

Result<Stream::Piece> Stream::try_read(MutableBytes buffer) {
    return core_->read_stream(*state_, buffer, nullptr).map(convert);
}

Done Stream::write(ByteView bytes, const Deadline& deadline) {
    return core_->write_stream(state_, bytes, &deadline).map([](std::size_t) {});
}

Result<std::size_t> Stream::try_write(ByteView bytes) { return core_->write_stream(state_, bytes, nullptr); }

Done Stream::write_hole(std::uint64_t length, const Deadline& deadline) {
    return core_->write_hole(state_, length, &deadline).map([](bool) {});
}

void Stream::watch(Want want, std::function<void(Want)> handler) {
    if (want == Want::nothing) handler = nullptr;
    core_->watch_stream(state_, want, std::move(handler));
}

Done Stream::finish(const Deadline& deadline) { return core_->end_stream(state_, false, deadline); }

Done Stream::abort(const Deadline& deadline) { return core_->end_stream(state_, true, deadline); }

Done Stream::receive_all(const Sink& sink, const HoleSink& hole, const Deadline& deadline) {
    ByteVector buffer(k_copy_size);
    Done done;
    while (done) {
        const auto piece = read(buffer, deadline);
        if (!piece)
            done = tl::unexpected(piece.error());
        else if (piece->kind == Piece::Kind::end)
            return finish(deadline);
        else if (piece->kind == Piece::Kind::hole)
            done = hole ? hole(piece->size) : fill(sink, piece->size);
        else
            done = sink(ByteView(buffer).first(piece->size));
    }
    static_cast<void>(abort(Deadline::in(k_abort_patience)));
    return done;
}

Done Stream::send_all(const Source& source, const Deadline& deadline) {
    ByteVector buffer(rpc::k_stream_piece_max);
    Done done;
    while (done) {
        const auto size = source(buffer);
        if (!size)
            done = tl::unexpected(size.error());
        else if (*size == 0)
            return finish(deadline);
        else
            done = write(ByteView(buffer).first(std::min(*size, buffer.size())), deadline);
    }
    static_cast<void>(abort(Deadline::in(k_abort_patience)));
    return done;
}

}  // namespace virtgate::client
