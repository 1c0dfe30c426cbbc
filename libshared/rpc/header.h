// SPDX-License-Identifier: LGPL-2.1-or-later
// header - the length word and the six words in front of every message.
//
// A frame is: length word (counts itself) · program · version · procedure · type · serial · status · payload; each
// word 32 bits, big endian. See docs/protocol.md.
#pragma once

#include <array>

#include "libshared/base/bytes.h"

namespace virtgate::rpc {

constexpr std::size_t k_length_size = 4;
constexpr std::size_t k_header_size = 24;
// The shortest frame: a length word and a header.
constexpr std::size_t k_frame_min = k_length_size + k_header_size;
// The longest frame that libvirt sends: 32 MiB and the length word.
constexpr std::size_t k_frame_max = 33554436;
// The longest frame that we accept from a client: 32 MiB in all.
constexpr std::size_t k_request_max = 33554432;
// The largest payload of one stream packet that libvirt's own helpers send.
constexpr std::size_t k_stream_piece_max = 262120;

enum class Type : std::uint32_t {
    call = 0,
    reply = 1,
    message = 2,  // an event, or a keepalive packet
    stream = 3,
    call_with_fds = 4,
    reply_with_fds = 5,
    stream_hole = 6,
};
constexpr std::uint32_t k_type_last = 6;

enum class Status : std::uint32_t { ok = 0, error = 1, proceed = 2 };

// The words as they came: nothing in here has been checked, enumerations may hold any value.
struct Header {
    std::uint32_t program = 0;
    std::uint32_t version = 0;
    std::uint32_t procedure = 0;
    Type type = Type::call;
    std::uint32_t serial = 0;
    Status status = Status::ok;

    bool operator==(const Header&) const = default;
};

// The header of the frame that starts at `frame`, which has at least k_frame_min bytes.
[[nodiscard]] Header read_header(const std::byte* frame) noexcept;

// Writes a length word of `frame_size` and `header` to the first k_frame_min bytes at `frame`.
void write_header(std::byte* frame, std::size_t frame_size, const Header& header) noexcept;

// The header of a call, and of a message (which has no answer), of `procedure`, an enumerator of the program's
// generated Procedure.
template <class Procedure>
[[nodiscard]] constexpr Header make_call(std::uint32_t program, std::uint32_t version, Procedure procedure,
                                         std::uint32_t serial) noexcept {
    return {.program = program,
            .version = version,
            .procedure = static_cast<std::uint32_t>(procedure),
            .type = Type::call,
            .serial = serial};
}
template <class Procedure>
[[nodiscard]] constexpr Header make_message(std::uint32_t program, std::uint32_t version, Procedure procedure,
                                            std::uint32_t serial = 0) noexcept {
    Header header = make_call(program, version, procedure, serial);
    header.type = Type::message;
    return header;
}

// A whole frame of `header` and `payload`.
[[nodiscard]] ByteVector make_frame(const Header& header, ByteView payload);

// The header of a reply to `call`: the same program, version, procedure and serial.
[[nodiscard]] Header reply_to(const Header& call, Status status = Status::ok) noexcept;

// keepalive: program "keep", version 1, message procedures without a payload, serial 0.
constexpr std::uint32_t k_keepalive_program = 0x6b656570;
constexpr std::uint32_t k_keepalive_version = 1;
enum class Keepalive : std::uint32_t { ping = 1, pong = 2 };
[[nodiscard]] std::array<std::byte, k_frame_min> make_keepalive(Keepalive procedure) noexcept;

}  // namespace virtgate::rpc
