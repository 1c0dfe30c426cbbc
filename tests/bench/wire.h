// SPDX-License-Identifier: LGPL-2.1-or-later
// wire - the few libvirt RPC frames that the load generator speaks.
//
// It shares no code with the daemons on purpose: a mistake in their encoder must not be made twice,
// and a measurement must not get faster because the measured code did.
// A frame is a length word that counts itself, a header of six words, and a payload in XDR.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "libshared/base/bytes.h"

namespace virtgate::bench {

constexpr std::uint32_t k_remote_program = 0x20008086;
constexpr std::uint32_t k_keepalive_program = 0x6b656570;
constexpr std::size_t k_head_size = 28;              // length word and header
constexpr std::size_t k_stream_payload = 262120;     // what libvirt's own client puts in a stream frame
constexpr std::uint32_t k_frame_max = 33554432 + 4;  // largest length word of the protocol
constexpr std::int32_t k_feature_keepalive = 10;     // argument of CONNECT_SUPPORTS_FEATURE

enum class Call : std::uint32_t {
    none = 0,
    connect_open = 1,
    connect_close = 2,
    domain_get_xml_desc = 14,
    domain_lookup_by_name = 23,
    connect_supports_feature = 60,
    auth_list = 66,
    connect_get_lib_version = 157,
    storage_vol_upload = 208,
    storage_vol_download = 209,
};

enum class Kind : std::uint32_t { call = 0, reply = 1, message = 2, stream = 3 };
enum class Status : std::uint32_t { ok = 0, error = 1, more = 2 };

struct Header {
    std::uint32_t program = k_remote_program;
    std::uint32_t version = 1;
    std::uint32_t procedure = 0;
    Kind kind = Kind::call;
    std::uint32_t serial = 0;
    Status status = Status::ok;
};

// Reads the header of a frame of at least k_head_size bytes.
[[nodiscard]] Header read_header(ByteView frame) noexcept;

// The whole frame of `header` and `payload`.
[[nodiscard]] ByteVector make_frame(const Header& header, ByteView payload);

// XDR values appended to a payload. Text is cut by nobody: the caller keeps it short.
class Payload {
public:
    Payload& u32(std::uint32_t value);
    Payload& u64(std::uint64_t value);
    Payload& text(std::string_view value);
    Payload& raw(ByteView value);
    [[nodiscard]] ByteView view() const noexcept { return bytes_; }

private:
    ByteVector bytes_;
};

// The text of an error reply's payload (code, domain, optional text), for the operator.
[[nodiscard]] std::string read_error(ByteView payload);

}  // namespace virtgate::bench
