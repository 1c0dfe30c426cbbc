// SPDX-License-Identifier: LGPL-2.1-or-later
// fuzz-reflect - payloads as JSON and back, for the arguments and results of every procedure.
//
// Input: the program (a byte), the procedure (two), what of it and in which form (a byte: bit 0 the result rather
// than the arguments, bit 1 JSON rather than a payload); then that. What the interpreter takes has JSON, whose text
// is read as the same JSON again, and means the same payload; what it refuses has none, for the same reason. What
// JSON means is canonical, and the same again when it is shown.
#include <cstdint>
#include <nlohmann/json.hpp>

#include "libshared/base/result.h"
#include "libshared/reflect/json.h"
#include "proto/programs.h"

using namespace virtgate;

namespace {

void go_round(const proto::Schema& schema, proto::TypeIndex type, const ByteVector& canonical) {
    const auto json = reflect::to_json(schema, type, canonical);
    require(json.has_value(), "a canonical payload has no JSON");
    for (const auto layout : {reflect::Layout::line, reflect::Layout::indented}) {
        const auto read = reflect::parse(reflect::print(*json, layout));
        require(read.has_value(), "what was printed cannot be read");
        const auto back = reflect::to_payload(schema, type, *read, "value");
        require(back.has_value(), "what was shown is refused");
        require(*back == canonical, "what was shown means something else");
    }
}

void take_payload(const proto::Schema& schema, proto::TypeIndex type, const ByteVector& payload) {
    ByteVector canonical = payload;
    const proto::Verdict verdict = validate(schema, type, canonical, proto::Extent::whole);
    const auto json = reflect::to_json(schema, type, payload);
    require(json.has_value() == (verdict.flaw == proto::Flaw::none), "reader and interpreter disagree");
    if (json)
        go_round(schema, type, canonical);
    else
        require(json.error().flaw == verdict.flaw, "reader and interpreter refuse for two reasons");
}

void take_text(const proto::Schema& schema, proto::TypeIndex type, std::string_view text) {
    const auto json = reflect::parse(text);
    if (!json) return require(!json.error().empty(), "a refusal without words");
    auto payload = reflect::to_payload(schema, type, *json, "value");
    if (!payload) return require(!payload.error().empty(), "a refusal without words");
    ByteVector same = *payload;
    const proto::Verdict verdict = validate(schema, type, same, proto::Extent::whole);
    require(verdict.flaw == proto::Flaw::none && !verdict.rewritten,
            "JSON made a payload that is not canonical");
    go_round(schema, type, *payload);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::size_t k_head = 4;
    if (size < k_head) return 0;
    const auto programs = proto::all_programs();
    const proto::ProgramInfo& program = *programs[data[0] % programs.size()];
    const auto procedures = program.procedures();
    const proto::ProcedureInfo& procedure =
        procedures[(std::size_t{data[1]} << 8 | data[2]) % procedures.size()];
    const proto::TypeIndex type = (data[3] & 1) == 0 ? procedure.args : procedure.ret;
    if (type == proto::k_void) return 0;
    const auto* bytes = reinterpret_cast<const std::byte*>(data) + k_head;
    const ByteView rest(bytes, size - k_head);
    if ((data[3] & 2) == 0)
        take_payload(program.schema, type, {rest.begin(), rest.end()});
    else
        take_text(program.schema, type, as_text(rest));
    return 0;
}
