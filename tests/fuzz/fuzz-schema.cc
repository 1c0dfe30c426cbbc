// SPDX-License-Identifier: LGPL-2.1-or-later
// fuzz-schema - the interpreter and the generated codecs, side by side, over every type.
//
// Input: four bytes of a module's name (xdrgen's seeds have them; any other bytes choose one too), two bytes of a
// type's number, the payload. Whatever the interpreter accepts, the decoder must accept and encode to the bytes that
// the interpreter left behind; whatever it refuses, the decoder must refuse for the same reason. A beginning is never
// refused for a reason that the whole does not have.
//
// Trust:  any input is fine; a panic is a finding.
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "libshared/base/result.h"
#include "proto/schema.h"
#include "tests/support/modules.h"

using namespace virtgate;

namespace {

const test::ProtoModule& choose_module(const std::uint8_t* data) {
    for (const test::ProtoModule& module : test::proto_modules()) {
        char name[4] = {};
        std::memcpy(name, module.name.data(), std::min<std::size_t>(module.name.size(), sizeof name));
        if (std::memcmp(name, data, sizeof name) == 0) return module;
    }
    return test::proto_modules()[data[0] % test::proto_modules().size()];
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 6) return 0;
    const test::ProtoModule& module = choose_module(data);
    if (module.recoders.empty()) return 0;
    const proto::TypeIndex type = (std::uint32_t{data[4]} << 8 | data[5]) % module.recoders.size();
    const auto* bytes = reinterpret_cast<const std::byte*>(data);
    const std::vector<std::byte> payload(bytes + 6, bytes + size);

    std::vector<std::byte> whole = payload;
    const proto::Verdict verdict = validate(*module.schema, type, whole, proto::Extent::whole);
    std::vector<std::byte> part = payload;
    const proto::Verdict beginning = validate(*module.schema, type, part, proto::Extent::prefix);
    require(verdict.offset <= payload.size() && beginning.offset <= payload.size(),
            "an offset leaves the payload");
    require((verdict.flaw == proto::Flaw::none) == (beginning.flaw == proto::Flaw::none),
            "a payload is complete in one mode only");

    std::vector<std::byte> cut(payload.begin(),
                               payload.begin() + static_cast<std::ptrdiff_t>(payload.size() / 2));
    const proto::Flaw early = validate(*module.schema, type, cut, proto::Extent::prefix).flaw;
    // Of a name with a control byte and a NUL behind it, the beginning shows only the control byte.
    const bool same_name =
        early == proto::Flaw::control_in_name && beginning.flaw == proto::Flaw::nul_in_string;
    require(
        early == proto::Flaw::truncated || early == proto::Flaw::none || early == beginning.flaw || same_name,
        "a beginning is refused for a reason of its own");

    if (verdict.flaw == proto::Flaw::none) {
        std::vector<std::byte> again = whole;
        const proto::Verdict second = validate(*module.schema, type, again, proto::Extent::whole);
        require(second.flaw == proto::Flaw::none && !second.rewritten, "the canonical form is not canonical");
        require(verdict.rewritten == (whole != payload), "a rewriting is not reported");
    }
    if (module.recoders[type] == nullptr) return 0;
    std::vector<std::byte> recoded;
    const proto::Flaw flaw = module.recoders[type](payload, recoded);
    require(flaw == verdict.flaw, "decoder and interpreter disagree");
    require(flaw != proto::Flaw::none || recoded == whole,
            "decoder and interpreter read two things in one payload");
    return 0;
}
