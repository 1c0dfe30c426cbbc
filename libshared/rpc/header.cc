// SPDX-License-Identifier: LGPL-2.1-or-later
// header - the length word and the six words in front of every message.
#include "libshared/rpc/header.h"

#include <algorithm>

#include "libshared/base/result.h"

namespace virtgate::rpc {

Header read_header(const std::byte* frame) noexcept {
    return {.program = load_be32(frame + 4),
            .version = load_be32(frame + 8),
            .procedure = load_be32(frame + 12),
            .type = static_cast<Type>(load_be32(frame + 16)),
            .serial = load_be32(frame + 20),
            .status = static_cast<Status>(load_be32(frame + 24))};
}

void write_header(std::byte* frame, std::size_t frame_size, const Header& header) noexcept {
    require(frame_size >= k_frame_min && frame_size <= k_frame_max, "a frame of a wrong size");
    store_be32(frame, static_cast<std::uint32_t>(frame_size));
    store_be32(frame + 4, header.program);
    store_be32(frame + 8, header.version);
    store_be32(frame + 12, header.procedure);
    store_be32(frame + 16, static_cast<std::uint32_t>(header.type));
    store_be32(frame + 20, header.serial);
    store_be32(frame + 24, static_cast<std::uint32_t>(header.status));
}

ByteVector make_frame(const Header& header, ByteView payload) {
    ByteVector frame(k_frame_min + payload.size());
    write_header(frame.data(), frame.size(), header);
    std::copy(payload.begin(), payload.end(), frame.begin() + k_frame_min);
    return frame;
}

Header reply_to(const Header& call, Status status) noexcept {
    Header reply = call;
    reply.type = Type::reply;
    reply.status = status;
    return reply;
}

std::array<std::byte, k_frame_min> make_keepalive(Keepalive procedure) noexcept {
    std::array<std::byte, k_frame_min> frame;
    write_header(frame.data(), frame.size(),
                 {.program = k_keepalive_program,
                  .version = k_keepalive_version,
                  .procedure = static_cast<std::uint32_t>(procedure),
                  .type = Type::message,
                  .serial = 0,
                  .status = Status::ok});
    return frame;
}

}  // namespace virtgate::rpc
