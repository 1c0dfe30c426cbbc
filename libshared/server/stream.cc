// SPDX-License-Identifier: LGPL-2.1-or-later
// stream - the server's end of one stream.
#include "libshared/server/stream.h"

#include <array>
#include <limits>
#include <utility>

#include "libshared/server/client.h"

namespace virtgate::server {

namespace {

constexpr std::size_t k_hole_size = 12;  // a hyper, and flags

}  // namespace

Stream::Stream(Client& client, const rpc::Header& call, bool sparse, StreamUser& user)
    : client_(&client), call_(call), sparse_(sparse), user_(user) {
    client.add_stream(*this);
}

Stream::~Stream() { end(); }

rpc::Header Stream::packet(rpc::Status status, rpc::Type type) const noexcept {
    rpc::Header header = call_;
    header.type = type;
    header.status = status;
    return header;
}

bool Stream::is_of(const rpc::Header& header) const noexcept {
    return header.serial == call_.serial && header.procedure == call_.procedure &&
           header.program == call_.program && header.version == call_.version;
}

void Stream::end() noexcept {
    if (client_ == nullptr) return;
    release();
    std::exchange(client_, nullptr)->remove_stream(*this);
    state_ = State::over;
}

void Stream::send(ByteView bytes) noexcept {
    if (client_ == nullptr) return;
    require(!bytes.empty() && bytes.size() <= k_stream_piece, "a piece of a stream of a wrong size");
    send_packet(packet(rpc::Status::proceed), bytes);
}

void Stream::lend(ByteView bytes) noexcept {
    if (client_ == nullptr) return;
    require(!bytes.empty() && bytes.size() <= k_stream_piece, "a piece of a stream of a wrong size");
    send_packet(packet(rpc::Status::proceed), bytes, true);
}

void Stream::send_packet(const rpc::Header& header, ByteView payload, bool is_lent) noexcept {
    std::array<std::byte, rpc::k_frame_min> head;
    rpc::write_header(head.data(), head.size() + payload.size(), header);
    awaits_room_ = true;
    client_->send(head, payload, is_lent ? this : nullptr);
}

void Stream::send_hole(std::uint64_t length) noexcept {
    if (client_ == nullptr) return;
    std::array<std::byte, k_hole_size> payload{};
    store_be32(payload.data(), static_cast<std::uint32_t>(length >> 32));
    store_be32(payload.data() + 4, static_cast<std::uint32_t>(length));
    send_packet(packet(rpc::Status::proceed, rpc::Type::stream_hole), payload);
}

void Stream::send_end() noexcept {
    if (client_ != nullptr) client_->send(rpc::make_frame(packet(rpc::Status::proceed), {}));
}

void Stream::confirm() noexcept {
    if (client_ == nullptr) return;
    client_->send(rpc::make_frame(packet(rpc::Status::ok), {}));
    end();
}

void Stream::fail(const rpc::Failure& failure) noexcept {
    if (client_ == nullptr) return;
    client_->send(rpc::make_frame(packet(rpc::Status::error), make_error_payload(failure)));
    end();
}

void Stream::hold() noexcept {
    if (client_ != nullptr && !std::exchange(holds_, true)) client_->hold();
}

void Stream::release() noexcept {
    if (client_ != nullptr && std::exchange(holds_, false)) client_->release();
}

void Stream::take_data(ByteView bytes) noexcept {
    if (state_ == State::open && !bytes.empty()) user_.on_data(bytes);
}

MutableBytes Stream::room() noexcept { return state_ == State::open ? user_.room() : MutableBytes{}; }

// Anything but data: what is neither a finish nor an abort counts as the latter, and is answered as an error.
void Stream::take_end(const rpc::Header& header) noexcept {
    if (std::exchange(state_, State::closing) != State::open) return;
    if (header.status == rpc::Status::ok) return user_.on_finish();
    if (header.status == rpc::Status::error) return user_.on_abort();
    Client& client = *client_;
    const rpc::Header answer = packet(rpc::Status::error);
    end();
    user_.on_gone();  // which may destroy this
    client.send(rpc::make_frame(
        answer, rpc::make_error_payload(rpc::k_code_rpc, "unexpected status of a stream's packet")));
}

bool Stream::take_hole(ByteView payload) noexcept {
    if (!sparse_ || payload.size() != k_hole_size) return false;
    const std::uint64_t length = load_be64(payload.data());
    if (length == 0 || length > std::numeric_limits<std::int64_t>::max() ||
        load_be32(payload.data() + 8) != 0)
        return false;
    if (state_ == State::open) user_.on_hole(length);
    return true;
}

void Stream::lose_client() noexcept {
    if (client_ == nullptr) return;
    client_ = nullptr;
    holds_ = false;
    state_ = State::over;
    user_.on_gone();
}

}  // namespace virtgate::server
