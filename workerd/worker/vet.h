// SPDX-License-Identifier: LGPL-2.1-or-later
// vet - the form of what a gate and a libvirt daemon send.
//
// A gate has checked all this before. It is done again, with the same tools, because a gate is the exposed
// process: a frame that the gate should have refused means that it lies or has a bug, and ends the session.
//
// Trust:  input is hostile.
// Limits: a call has at most the size that its arguments' type can have, and never more than 32 MiB.
// Owns:   nothing. A flaw is static text.
// Source: a frame with descriptors has their number between header and payload. From a gate it comes with
//         them in one packet; with libvirt they follow one by one (session_fds.cc).
#pragma once

#include <string_view>

#include "libshared/rpc/header.h"
#include "proto/program.h"

namespace virtgate::workerd::worker {

// The word that says how many descriptors come with a frame, and the header in front of it.
inline constexpr std::size_t k_fds_count_size = 4;
inline constexpr std::size_t k_fds_head_size = rpc::k_frame_min + k_fds_count_size;

// A frame of the gate, judged by its header.
struct FromGate {
    enum class Kind : unsigned char {
        call,    // take it whole, then vet_call()
        stream,  // data or the end of a stream: pass it in pieces, if the stream is open
        hole,    // take it whole, then vet_hole()
        lie,     // no gate may send this: `flaw` says what it is
    };
    Kind kind = Kind::lie;
    const proto::ProgramInfo* program = nullptr;      // of a call
    const proto::ProcedureInfo* procedure = nullptr;  // of a call
    std::string_view flaw{};
};
[[nodiscard]] FromGate vet_from_gate(const rpc::Header& header, std::size_t frame_size) noexcept;

// The same for a packet that brought `fds` descriptors (1..k_packet_fds_max): it has to be one call that
// announces exactly these.
[[nodiscard]] FromGate vet_packet_with_fds(ByteView packet, std::size_t fds) noexcept;

// Validates the arguments of a whole call that vet_from_gate() let pass, and makes them canonical in place:
// padding becomes zero, booleans 0 or 1. Returns what is wrong with them, empty if nothing is.
[[nodiscard]] std::string_view vet_call(const FromGate& call, MutableBytes payload) noexcept;

// The same for a hole of a stream: a positive length, and flags 0.
[[nodiscard]] std::string_view vet_hole(ByteView payload) noexcept;

// True if `header` is that of an event which the schema knows. Others are dropped: no client of a gate that
// has the same schema could get them.
[[nodiscard]] bool is_known_event(const rpc::Header& header) noexcept;

}  // namespace virtgate::workerd::worker
