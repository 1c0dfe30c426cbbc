// SPDX-License-Identifier: LGPL-2.1-or-later
// vet - is this frame of a client well-formed, and may it come now?
//
// Every frame is judged twice: when its header is known (before a byte behind it is kept), and when its payload is
// there. No byte of a frame that is refused goes to the worker. What passes has exactly one reading: the schema
// interpreter has rewritten padding and booleans to their canonical form in place.
//
// Trust:  the frames are hostile.
// Limits: pure functions of their arguments; no state, no system call. Text is allocated only for a refusal.
// Source: docs/protocol.md has the table of situations and reactions that libvirt's clients expect.
#pragma once

#include <string>

#include "netd/gate/ledger.h"
#include "proto/programs.h"

namespace virtgate::netd::gate {

enum class Action : unsigned char {
    whole,    // keep the frame until it is complete, then judge its payload
    pieces,   // stream data: pass it on as it comes
    skip,     // pass over it silently
    refuse,   // answer with an error reply, and pass over it
    close,    // the peer broke the protocol: close the connection
    forward,  // (payload) pass it on
};

struct Ruling {
    Action action = Action::close;
    const proto::ProcedureInfo* procedure = nullptr;  // of calls of a known procedure
    int code = 0;                                     // of a refusal
    int domain = 0;
    std::string text{};  // of a refusal (for the client) or of a close (for the log)
};

// Judges the header of a frame of `frame_size` bytes that a client sent. `fds_allowed`: the transport can carry
// descriptors.
[[nodiscard]] Ruling vet_header(const rpc::Header& header, std::size_t frame_size, const Ledger& ledger,
                                bool fds_allowed);

// Judges a complete call with `count` descriptors. Action::whole: its payload comes next.
[[nodiscard]] Ruling vet_descriptor_call(const rpc::Header& header, std::size_t frame_size,
                                         std::uint32_t count, const Ledger& ledger);

// Judges the payload of a call that vet_header() let pass with `procedure`, and makes it canonical. With
// Extent::prefix `payload` is only its beginning: Action::whole then means that nothing is wrong so far.
[[nodiscard]] Ruling vet_payload(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure,
                                 MutableBytes payload, proto::Extent extent);

// Judges a whole STREAM (without data) or STREAM_HOLE frame of a client.
[[nodiscard]] Ruling vet_stream(const rpc::Header& header, ByteView payload);

// True if a call of `procedure` with this payload opens a stream in which holes may be sent.
[[nodiscard]] bool asks_for_holes(const proto::ProcedureInfo& procedure, ByteView payload) noexcept;

// The same judgements for what a worker sends: a taken-over worker must not reach the client's parser with anything
// that its calls did not ask for. The payload of a reply with descriptors begins behind their count. Action::close means that the worker broke the rules; there are no refusals.
[[nodiscard]] Ruling vet_answer_header(const rpc::Header& header, std::size_t frame_size,
                                       const Ledger& ledger, bool fds_allowed);
[[nodiscard]] Ruling vet_answer_payload(const rpc::Header& header, const Ledger& ledger,
                                        MutableBytes payload);

// And for what the lock daemon sends: answers to open calls of the program lock, which have nothing in them, and errors, of
// which the second one judges the payload and makes it canonical.
inline constexpr std::size_t k_lock_answer_max = 65'536;
[[nodiscard]] Ruling vet_lock_answer(const rpc::Header& header, std::size_t frame_size, const Ledger& ledger);
[[nodiscard]] Ruling vet_lock_error(MutableBytes payload);

}  // namespace virtgate::netd::gate
