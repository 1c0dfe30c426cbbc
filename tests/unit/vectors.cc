// SPDX-License-Identifier: LGPL-2.1-or-later
// vectors - frames as libvirt's clients and servers send them (tests/vectors/frames.json): the bytes say what the file
// claims, pass the interpreter unchanged, and come out of our encoder again.
#include <criterion/criterion.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "libshared/base/bytes.h"
#include "proto/codec.h"
#include "proto/net.h"
#include "proto/programs.h"
#include "tests/support/modules.h"
#include "tests/support/payload_json.h"

using namespace virtgate;
using nlohmann::json;

namespace {

constexpr std::size_t k_length_size = 4;
constexpr std::size_t k_header_size = 24;

ByteVector from_hex(const std::string& text) {
    ByteVector out;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2)
        out.push_back(static_cast<std::byte>(std::stoul(text.substr(i, 2), nullptr, 16)));
    return out;
}

const json& vectors() {
    static const json k_vectors = [] {
        std::ifstream in("tests/vectors/frames.json");
        cr_assert(in.is_open(), "run from the top of the tree");
        return json::parse(in);
    }();
    return k_vectors;
}

// What follows the header, without the count of descriptors.
ByteVector payload_of(const json& vector) {
    const ByteVector frame = from_hex(vector["hex"]);
    const std::size_t skipped = k_length_size + k_header_size + (vector.contains("descriptors") ? 4 : 0);
    return {frame.begin() + static_cast<std::ptrdiff_t>(skipped), frame.end()};
}

bool is_frame(const json& vector) { return vector.value("framed", true) && vector.value("valid", true); }

}  // namespace

Test(vectors, are_all_there) { cr_assert_eq(vectors().size(), 76U); }

Test(vectors, lengths_and_headers_decode_and_encode) {
    int seen = 0;
    for (const json& vector : vectors()) {
        if (!is_frame(vector)) continue;
        const std::string id = vector["id"];
        const ByteVector frame = from_hex(vector["hex"]);
        cr_assert_eq(load_be32(frame.data()), frame.size(), "%s", id.c_str());
        const auto bytes = std::span(frame).subspan(k_length_size, k_header_size);
        const auto header = proto::decode<proto::net::Header>(bytes);
        cr_assert(header.has_value(), "%s", id.c_str());
        const json& expected = vector["header"];
        cr_assert_eq(header->program, expected["program"].get<std::uint32_t>(), "%s", id.c_str());
        cr_assert_eq(header->version, expected["version"].get<std::uint32_t>(), "%s", id.c_str());
        cr_assert_eq(header->procedure, expected["procedure"].get<std::int32_t>(), "%s", id.c_str());
        cr_assert_eq(static_cast<int>(header->type), expected["type"].get<int>(), "%s", id.c_str());
        cr_assert_eq(header->serial, expected["serial"].get<std::uint32_t>(), "%s", id.c_str());
        cr_assert_eq(static_cast<int>(header->status), expected["status"].get<int>(), "%s", id.c_str());
        cr_assert_eq(to_hex(proto::encode(*header).value()), to_hex(bytes), "%s", id.c_str());
        ++seen;
    }
    cr_assert_eq(seen, 70, "%d", seen);
}

Test(vectors, payloads_say_what_is_claimed) {
    int seen = 0;
    for (const json& vector : vectors()) {
        if (!vector.contains("type")) continue;
        const std::string id = vector["id"];
        const test::ProtoModule& module = test::proto_module(vector["module"].get<std::string>());
        const proto::TypeIndex type = module.schema->find_type(vector["type"].get<std::string>());
        cr_assert_neq(type, proto::k_void, "%s", id.c_str());
        const ByteVector payload = payload_of(vector);
        ByteVector copy = payload;
        const proto::Verdict verdict = validate(*module.schema, type, copy, proto::Extent::whole);
        cr_assert_eq(verdict.flaw, proto::Flaw::none, "%s: %s at %u", id.c_str(),
                     std::string(to_text(verdict.flaw)).c_str(), verdict.offset);
        cr_assert(!verdict.rewritten, "%s", id.c_str());
        const json said = test::payload_json(*module.schema, type, payload);
        cr_assert_eq(said, vector["value"], "%s: %s", id.c_str(), said.dump().c_str());
        ByteVector again;
        cr_assert_eq(module.recoders[type](payload, again), proto::Flaw::none, "%s", id.c_str());
        cr_assert_eq(to_hex(again), to_hex(payload), "%s", id.c_str());
        ++seen;
    }
    cr_assert_eq(seen, 53, "%d", seen);
}

// The type that the procedure table gives for the frame is the type that the file gives.
Test(vectors, procedures_lead_to_the_types) {
    int seen = 0;
    for (const json& vector : vectors()) {
        if (!is_frame(vector) || !vector.contains("type") || vector["module"] == "net") continue;
        const std::string id = vector["id"];
        const json& header = vector["header"];
        const proto::ProgramInfo* program = proto::find_program(header["program"], header["version"]);
        cr_assert_not_null(program, "%s", id.c_str());
        const proto::ProcedureInfo* info = program->find(header["procedure"].get<std::uint32_t>());
        cr_assert_not_null(info, "%s", id.c_str());
        const int kind = header["type"];
        const bool event = kind == static_cast<int>(proto::net::MessageType::message);
        cr_assert_eq(event, info->kind == proto::ProcedureInfo::Kind::event, "%s", id.c_str());
        const bool reply = kind == static_cast<int>(proto::net::MessageType::reply) ||
                           kind == static_cast<int>(proto::net::MessageType::reply_with_fds);
        cr_assert_eq(program->schema.find_type(vector["type"].get<std::string>()),
                     reply ? info->ret : info->args, "%s", id.c_str());
        ++seen;
    }
    cr_assert_gt(seen, 35, "%d", seen);
}

// Calls and replies without a type have no payload, and the table agrees.
Test(vectors, empty_payloads_belong_to_void) {
    int seen = 0;
    for (const json& vector : vectors()) {
        if (!is_frame(vector) || vector.contains("type") || vector["header"]["type"] > 1 ||
            vector["header"]["status"] != 0)
            continue;
        const proto::ProgramInfo* program =
            proto::find_program(vector["header"]["program"], vector["header"]["version"]);
        const std::string id = vector["id"];
        if (program == nullptr ||
            program->find(vector["header"]["procedure"].get<std::uint32_t>()) == nullptr)
            continue;
        const proto::ProcedureInfo* info = program->find(vector["header"]["procedure"].get<std::uint32_t>());
        cr_assert(payload_of(vector).empty(), "%s", id.c_str());
        cr_assert_eq(vector["header"]["type"] == 0 ? info->args : info->ret, proto::k_void, "%s", id.c_str());
        ++seen;
    }
    cr_assert_gt(seen, 5, "%d", seen);
}
