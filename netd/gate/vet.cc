// SPDX-License-Identifier: LGPL-2.1-or-later
// vet - is this frame of a client well-formed, and may it come now?
#include "netd/gate/vet.h"

#include <fmt/format.h>

#include "libshared/channel/packet.h"
#include "libshared/rpc/error.h"
#include "proto/net.h"

namespace virtgate::netd::gate {

using proto::Extent;
using proto::Flaw;
using proto::ProcedureInfo;
using proto::ProgramInfo;
using rpc::Header;
using rpc::Status;
using rpc::Type;

namespace {

constexpr std::size_t k_hole_size = rpc::k_frame_min + 12;
constexpr std::size_t k_count_size = 4;  // of descriptors, in front of the payload

Ruling pass(Action action, const ProcedureInfo* procedure = nullptr) {
    return {.action = action, .procedure = procedure};
}

Ruling close(std::string why) { return {.action = Action::close, .text = std::move(why)}; }

Ruling refuse(std::string text, int code = rpc::k_code_rpc, int domain = rpc::k_domain_rpc) {
    return {.action = Action::refuse, .code = code, .domain = domain, .text = std::move(text)};
}

Ruling refuse_payload(const proto::Verdict& verdict) {
    return refuse(fmt::format("Unable to decode message payload: {} at byte {}", proto::to_text(verdict.flaw),
                              verdict.offset));
}

Ruling vet_call_header(const Header& header, std::size_t frame_size, const ProgramInfo& program,
                       const Ledger& ledger, bool fds_allowed) {
    if (header.status != Status::ok)
        return refuse(fmt::format("Unexpected message status {}", static_cast<std::uint32_t>(header.status)));
    const ProcedureInfo* procedure = program.find(header.procedure);
    if (procedure == nullptr || procedure->kind != ProcedureInfo::Kind::call)
        return refuse(fmt::format("unknown procedure: {}", static_cast<std::int32_t>(header.procedure)));
    if (!fds_allowed && (procedure->fds_call_min != 0 || procedure->fds_reply_min != 0))
        return refuse(fmt::format("{} passes file descriptors, which this transport cannot", procedure->name),
                      rpc::k_code_no_support);
    if (header.type == Type::call && procedure->fds_call_min != 0)
        return refuse(fmt::format("{} needs file descriptors", procedure->name),
                      rpc::k_code_invalid_argument);
    if (frame_size - rpc::k_frame_min > procedure->args_max) {
        // Bytes behind the arguments are a second reading of the frame; for a call without arguments that is clear
        // from the header alone.
        if (procedure->args_max == 0)
            return close(fmt::format("{} bytes behind the arguments of {}", frame_size - rpc::k_frame_min,
                                     procedure->name));
        return refuse(fmt::format("Unable to decode message payload: more than {} bytes for {}",
                                  procedure->args_max, procedure->name));
    }
    if (procedure->stream != proto::Stream::none &&
        (ledger.find_stream(key_of(header)) != nullptr || ledger.find_call(key_of(header)) != nullptr))
        return refuse(fmt::format("serial {} already names a stream", header.serial),
                      rpc::k_code_operation_invalid);
    return pass(Action::whole, procedure);
}

Ruling vet_stream_header(const Header& header, std::size_t frame_size, const Ledger& ledger) {
    const OpenStream* stream = ledger.find_stream(key_of(header));
    // Late packets of a stream that has just ended are normal.
    if (stream == nullptr || stream->opening || stream->finishing) return pass(Action::skip);
    if (header.type == Type::stream_hole) {
        if (!stream->sparse) return close("a hole in a stream that has none");
        if (header.status != Status::proceed || frame_size != k_hole_size) return close("a malformed hole");
        return pass(Action::whole);
    }
    switch (header.status) {
        case Status::proceed: return pass(Action::pieces);
        case Status::ok:
        case Status::error:
            if (frame_size == rpc::k_frame_min) return pass(Action::whole);
            return close("the end of a stream with a payload");
    }
    return close(fmt::format("a stream packet with status {}", static_cast<std::uint32_t>(header.status)));
}

}  // namespace

Ruling vet_header(const Header& header, std::size_t frame_size, const Ledger& ledger, bool fds_allowed) {
    if (header.program == rpc::k_keepalive_program) {
        if (header.version != rpc::k_keepalive_version || header.type != Type::message ||
            frame_size != rpc::k_frame_min)
            return close("a malformed keepalive packet");
        return pass(Action::whole);
    }
    if (static_cast<std::uint32_t>(header.type) > rpc::k_type_last)
        return close(fmt::format("a packet of type {}", static_cast<std::uint32_t>(header.type)));
    const ProgramInfo* program = proto::find_session_program(header.program, header.version);
    switch (header.type) {
        case Type::call_with_fds:
            // Its descriptors come behind it, also when it is refused: it is judged when they are there.
            if (!fds_allowed) return close("file descriptors on a transport that cannot carry them");
            if (frame_size < rpc::k_frame_min + k_count_size || frame_size > channel::k_packet_max)
                return close("a call with descriptors of an impossible length");
            return pass(Action::whole);
        case Type::call:
            if (program == nullptr)
                return refuse(fmt::format("Cannot find program {} version {}",
                                          static_cast<std::int32_t>(header.program),
                                          static_cast<std::int32_t>(header.version)));
            return vet_call_header(header, frame_size, *program, ledger, fds_allowed);
        case Type::stream:
        case Type::stream_hole: return vet_stream_header(header, frame_size, ledger);
        case Type::reply:
        case Type::reply_with_fds: return close("a client does not send replies");
        case Type::message: return close("a client does not send events");
    }
    return close("a packet of an unknown type");
}

Ruling vet_descriptor_call(const Header& header, std::size_t frame_size, std::uint32_t count,
                           const Ledger& ledger) {
    const ProgramInfo* program = proto::find_relayed_program(header.program, header.version);
    if (program == nullptr)
        return refuse(fmt::format("Cannot find program {} version {}",
                                  static_cast<std::int32_t>(header.program),
                                  static_cast<std::int32_t>(header.version)));
    Ruling ruling = vet_call_header(header, frame_size - k_count_size, *program, ledger, true);
    if (ruling.action != Action::whole) return ruling;
    if (count < ruling.procedure->fds_call_min || count > ruling.procedure->fds_call_max)
        return refuse(fmt::format("{} file descriptors for {}", count, ruling.procedure->name),
                      rpc::k_code_invalid_argument);
    return ruling;
}

Ruling vet_payload(const ProgramInfo& program, const ProcedureInfo& procedure, MutableBytes payload,
                   Extent extent) {
    const proto::Verdict verdict = proto::validate(program.schema, procedure.args, payload, extent);
    if (verdict.flaw == Flaw::none || (verdict.flaw == Flaw::truncated && extent == Extent::prefix))
        return pass(extent == Extent::prefix ? Action::whole : Action::forward, &procedure);
    if (verdict.flaw == Flaw::trailing_bytes)
        return close(fmt::format("bytes behind the arguments of {}", procedure.name));
    return refuse_payload(verdict);
}

Ruling vet_stream(const Header& header, ByteView payload) {
    if (header.type == Type::stream) return pass(Action::forward);
    const auto length = static_cast<std::int64_t>(load_be64(payload.data()));
    if (length <= 0 || load_be32(payload.data() + 8) != 0) return close("a hole of an impossible length");
    return pass(Action::forward);
}

bool asks_for_holes(const ProcedureInfo& procedure, ByteView payload) noexcept {
    // The flags are the last argument of all calls that open sparse streams.
    return procedure.sparse_flag != 0 && payload.size() >= 4 &&
           (load_be32(payload.data() + payload.size() - 4) & procedure.sparse_flag) != 0;
}

Ruling vet_answer_header(const Header& header, std::size_t frame_size, const Ledger& ledger,
                         bool fds_allowed) {
    const ProgramInfo* program = proto::find_relayed_program(header.program, header.version);
    if (program == nullptr) return close("a packet of a program that the session does not use");
    const OpenStream* stream = ledger.find_stream(key_of(header));
    switch (header.type) {
        case Type::reply: {
            if (const OpenCall* call = ledger.find_call(key_of(header))) {
                if (header.status == Status::ok && frame_size - rpc::k_frame_min > call->procedure->ret_max)
                    return close(fmt::format("a reply to {} that is too long", call->procedure->name));
                return header.status == Status::ok || header.status == Status::error
                           ? pass(Action::whole, call->procedure)
                           : close("a reply with an impossible status");
            }
            // libvirt reports a hole that could not be written as an error reply to the stream's call.
            if (stream != nullptr && header.status == Status::error)
                return pass(Action::whole, stream->procedure);
            return close("a reply to a call that is not open");
        }
        case Type::message: {
            const ProcedureInfo* event = program->find(header.procedure);
            if (event == nullptr || event->kind != ProcedureInfo::Kind::event || header.status != Status::ok)
                return close(fmt::format("an unknown event {}", header.procedure));
            if (frame_size - rpc::k_frame_min > event->args_max)
                return close(fmt::format("an event {} that is too long", event->name));
            return pass(Action::whole, event);
        }
        case Type::stream:
            if (stream == nullptr) return pass(Action::skip);
            if (header.status == Status::error) return pass(Action::whole, stream->procedure);
            if (header.status == Status::ok && stream->finishing && frame_size == rpc::k_frame_min)
                return pass(Action::whole, stream->procedure);
            // Data in the wrong direction is forbidden to the worker as well.
            if (header.status == Status::proceed && stream->procedure->stream != proto::Stream::write)
                return pass(Action::pieces, stream->procedure);
            return close("a stream packet that does not fit the stream");
        case Type::stream_hole:
            if (stream == nullptr) return pass(Action::skip);
            if (stream->sparse && header.status == Status::proceed && frame_size == k_hole_size)
                return pass(Action::whole, stream->procedure);
            return close("a hole in a stream that has none");
        case Type::call:
        case Type::call_with_fds: return close("a worker does not call");
        case Type::reply_with_fds: {
            if (!fds_allowed) return close("file descriptors on a transport that cannot carry them");
            const OpenCall* call = ledger.find_call(key_of(header));
            if (call == nullptr || header.status != Status::ok)
                return close("a reply to a call that is not open");
            if (frame_size < rpc::k_frame_min + k_count_size ||
                frame_size - rpc::k_frame_min - k_count_size > call->procedure->ret_max)
                return close(fmt::format("a reply to {} of an impossible length", call->procedure->name));
            return pass(Action::whole, call->procedure);
        }
    }
    return close("a packet of an unknown type");
}

Ruling vet_lock_answer(const Header& header, std::size_t frame_size, const Ledger& ledger) {
    const OpenCall* call = ledger.find_call(key_of(header));
    if (header.program != proto::lock_program().number || header.type != Type::reply || call == nullptr)
        return close("a packet that answers no open call");
    if (header.status == Status::ok)
        return frame_size == rpc::k_frame_min ? pass(Action::whole, call->procedure)
                                              : close("an answer with something in it");
    if (header.status != Status::error || frame_size > k_lock_answer_max)
        return close("an answer that makes no sense");
    return pass(Action::whole, call->procedure);
}

Ruling vet_lock_error(MutableBytes payload) {
    const proto::Verdict verdict =
        proto::validate(proto::net::schema(), proto::net::Error::k_type, payload, Extent::whole);
    return verdict.flaw == Flaw::none ? pass(Action::forward) : close("an invalid error");
}

Ruling vet_answer_payload(const Header& header, const Ledger& ledger, MutableBytes payload) {
    const ProgramInfo& program = *proto::find_relayed_program(header.program, header.version);
    proto::Verdict verdict{};
    if (header.status == Status::error) {
        verdict = proto::validate(proto::net::schema(), proto::net::Error::k_type, payload, Extent::whole);
    } else if (header.type == Type::reply || header.type == Type::reply_with_fds) {
        verdict = proto::validate(program.schema, ledger.find_call(key_of(header))->procedure->ret, payload,
                                  Extent::whole);
    } else if (header.type == Type::message) {
        verdict =
            proto::validate(program.schema, program.find(header.procedure)->args, payload, Extent::whole);
    } else if (header.type == Type::stream_hole) {
        return vet_stream(header, payload);
    }
    if (verdict.flaw != Flaw::none)
        return close(fmt::format("an invalid payload in a packet of procedure {}: {} at byte {}",
                                 header.procedure, proto::to_text(verdict.flaw), verdict.offset));
    return pass(Action::forward);
}

}  // namespace virtgate::netd::gate
