// SPDX-License-Identifier: LGPL-2.1-or-later
// signer - asks the keeper for the server's signature.
#include "netd/gate/tls/signer.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>

#include "libshared/channel/packet.h"
#include "libshared/rpc/error.h"
#include "libshared/rpc/header.h"
#include "proto/codec.h"
#include "proto/keeper.h"

namespace virtgate::netd::gate {

using channel::Outcome;

Done Signer::adopt(UniqueFd channel) {
    constexpr timeval k_limit{.tv_sec = k_answer_time.count() / 1000, .tv_usec = 0};
    if (auto blocking = set_nonblocking(channel.get(), false); !blocking) return blocking;
    for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO})
        if (setsockopt(channel.get(), SOL_SOCKET, option, &k_limit, sizeof k_limit) < 0)
            return system_fault(errno, "cannot set a time limit on the keeper's channel");
    channel_ = std::move(channel);
    return {};
}

bool Signer::ready() noexcept {
    // A keeper never speaks unasked: whatever there is to see means that it is gone.
    pollfd keeper{.fd = channel_.get(), .events = POLLIN | POLLRDHUP, .revents = 0};
    if (channel_ && poll(&keeper, 1, 0) != 0) channel_.reset();
    return static_cast<bool>(channel_);
}

Result<ByteVector> Signer::ask_sign(std::uint16_t scheme, ByteView transcript_hash) {
    if (!channel_) return system_fault(0, "there is no keeper");
    return exchange(scheme, transcript_hash);
}

Result<ByteVector> Signer::exchange(std::uint16_t scheme, ByteView transcript_hash) {
    namespace keeper = proto::keeper;
    const auto call =
        rpc::make_call(keeper::k_program, keeper::k_version, keeper::Procedure::sign, ++serial_);
    const auto arguments = proto::encode(keeper::SignArgs{
        .scheme = scheme, .transcript_hash = {transcript_hash.begin(), transcript_hash.end()}});
    if (!arguments) return system_fault(0, "a transcript hash of an impossible size");
    if (channel::send_packet(channel_.get(), rpc::make_frame(call, *arguments)) != Outcome::done) {
        channel_.reset();
        return system_fault(0, "the keeper does not listen");
    }
    std::array<std::byte, 4096> buffer;
    std::size_t size = 0;
    if (channel::receive_packet(channel_.get(), buffer, size) != Outcome::done || size < rpc::k_frame_min ||
        load_be32(buffer.data()) != size) {
        channel_.reset();
        return system_fault(0, "the keeper does not answer");
    }
    const rpc::Header header = rpc::read_header(buffer.data());
    const ByteView payload = ByteView(buffer).subspan(rpc::k_frame_min, size - rpc::k_frame_min);
    if (header == rpc::reply_to(call, rpc::Status::error))
        return system_fault(0, fmt::format("the keeper refused: {}", rpc::read_error_text(payload)));
    auto answer = proto::decode<keeper::SignRet>(payload);
    if (header != rpc::reply_to(call) || !answer) {
        channel_.reset();
        return system_fault(0, "the keeper's answer cannot be understood");
    }
    return std::move(answer->signature);
}

}  // namespace virtgate::netd::gate
