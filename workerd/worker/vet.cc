// SPDX-License-Identifier: LGPL-2.1-or-later
// vet - the form of what a gate and a libvirt daemon send.
#include "workerd/worker/vet.h"

#include "proto/programs.h"

namespace virtgate::workerd::worker {

using proto::ProcedureInfo;
using rpc::Header;
using rpc::Status;
using rpc::Type;

namespace {

constexpr std::size_t k_hole_payload = 12;

FromGate lie(std::string_view flaw) noexcept { return {.kind = FromGate::Kind::lie, .flaw = flaw}; }

FromGate vet_call_header(const Header& header, std::size_t args_size) noexcept {
    if (header.status != Status::ok) return lie("a call with a status");
    const proto::ProgramInfo* program = proto::find_relayed_program(header.program, header.version);
    if (program == nullptr) return lie("a call of an unknown program");
    const ProcedureInfo* procedure = program->find(header.procedure);
    if (procedure == nullptr || procedure->kind != ProcedureInfo::Kind::call)
        return lie("a call of an unknown procedure");
    if (args_size > procedure->args_max) return lie("a call that is longer than its arguments can be");
    return {.kind = FromGate::Kind::call, .program = program, .procedure = procedure};
}

}  // namespace

FromGate vet_from_gate(const Header& header, std::size_t frame_size) noexcept {
    switch (header.type) {
        case Type::call: return vet_call_header(header, frame_size - rpc::k_frame_min);
        case Type::stream:
            if (header.status == Status::proceed) return {.kind = FromGate::Kind::stream};
            if (header.status != Status::ok && header.status != Status::error)
                return lie("a stream packet of an unknown status");
            if (frame_size != rpc::k_frame_min) return lie("the end of a stream with a payload");
            return {.kind = FromGate::Kind::stream};
        case Type::stream_hole:
            if (header.status != Status::proceed || frame_size != rpc::k_frame_min + k_hole_payload)
                return lie("a malformed hole");
            return {.kind = FromGate::Kind::hole};
        case Type::call_with_fds: return lie("a call without its descriptors");
        case Type::reply:
        case Type::message:
        case Type::reply_with_fds: break;
    }
    return lie("a packet of a type that no client sends");
}

FromGate vet_packet_with_fds(ByteView packet, std::size_t fds) noexcept {
    if (packet.size() < k_fds_head_size || load_be32(packet.data()) != packet.size())
        return lie("descriptors with a packet that is not one frame");
    const Header header = rpc::read_header(packet.data());
    if (header.type != Type::call_with_fds) return lie("descriptors that it did not announce");
    if (load_be32(packet.data() + rpc::k_frame_min) != fds)
        return lie("another number of descriptors than it announced");
    return vet_call_header(header, packet.size() - k_fds_head_size);
}

std::string_view vet_call(const FromGate& call, MutableBytes payload) noexcept {
    const auto verdict =
        proto::validate(call.program->schema, call.procedure->args, payload, proto::Extent::whole);
    return verdict.flaw == proto::Flaw::none ? std::string_view{} : proto::to_text(verdict.flaw);
}

std::string_view vet_hole(ByteView payload) noexcept {
    const auto length = static_cast<std::int64_t>(load_be64(payload.data()));
    if (length <= 0 || load_be32(payload.data() + 8) != 0) return "a hole of an impossible length";
    return {};
}

bool is_known_event(const Header& header) noexcept {
    const proto::ProgramInfo* program = proto::find_relayed_program(header.program, header.version);
    const ProcedureInfo* event = program != nullptr ? program->find(header.procedure) : nullptr;
    return event != nullptr && event->kind == ProcedureInfo::Kind::event;
}

}  // namespace virtgate::workerd::worker
