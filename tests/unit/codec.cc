// SPDX-License-Identifier: LGPL-2.1-or-later
// codec - for every type of every .x file: random values come back, and interpreter and decoder agree on everything.
#include <criterion/criterion.h>

#include <string>
#include <vector>

#include "libshared/base/bytes.h"
#include "proto/codec.h"
#include "proto/remote.h"
#include "tests/support/modules.h"
#include "tests/support/random_payload.h"

using namespace virtgate;
using namespace virtgate::test;
using proto::Extent;
using proto::Flaw;
using proto::TypeIndex;

namespace {

// Calls `each(module, type, name)` for every structure and union.
template <class F>
int for_each_type(F each) {
    int seen = 0;
    for (const ProtoModule& module : proto_modules()) {
        cr_assert_eq(module.recoders.size(), module.schema->type_count());
        for (TypeIndex type = 0; type < module.recoders.size(); ++type) {
            if (module.recoders[type] == nullptr) continue;
            const auto* row = module.schema->row(proto::layout::Section::types, type);
            each(module, type, std::string(module.name) + "::" + std::string(module.schema->text(row[7])));
            ++seen;
        }
    }
    return seen;
}

std::string text(Flaw flaw) { return std::string(to_text(flaw)); }

// The heart of it: what the interpreter accepts, the decoder accepts and encodes to what the interpreter left behind;
// what one refuses, the other refuses for the same reason.
void check_agreement(const ProtoModule& module, TypeIndex type, const std::string& name,
                     const ByteVector& payload) {
    ByteVector copy = payload;
    const proto::Verdict verdict = validate(*module.schema, type, copy, Extent::whole);
    ByteVector again;
    const Flaw flaw = module.recoders[type](payload, again);
    cr_assert_eq(flaw, verdict.flaw, "%s: decoder \"%s\", interpreter \"%s\" at %u of %s", name.c_str(),
                 text(flaw).c_str(), text(verdict.flaw).c_str(), verdict.offset, to_hex(payload).c_str());
    if (flaw != Flaw::none) return;
    cr_assert_eq(to_hex(again), to_hex(copy), "%s", name.c_str());
    cr_assert_eq(verdict.rewritten, copy != payload, "%s", name.c_str());
}

}  // namespace

Test(codec, random_values_come_back) {
    Random random(1);
    const int seen = for_each_type([&](const ProtoModule& module, TypeIndex type, const std::string& name) {
        for (int i = 0; i < 30; ++i) {
            const auto payload = random_payload(*module.schema, type, random);
            cr_assert(payload.has_value(), "%s: no payload meets its relations", name.c_str());
            ByteVector copy = *payload;
            const proto::Verdict verdict = validate(*module.schema, type, copy, Extent::whole);
            cr_assert_eq(verdict.flaw, Flaw::none, "%s: %s at %u", name.c_str(), text(verdict.flaw).c_str(),
                         verdict.offset);
            cr_assert(!verdict.rewritten, "%s", name.c_str());
            check_agreement(module, type, name, *payload);
        }
    });
    cr_assert_gt(seen, 730, "%d", seen);
}

Test(codec, sloppy_values_become_canonical) {
    Random random(2);
    int rewritten = 0;
    for_each_type([&](const ProtoModule& module, TypeIndex type, const std::string& name) {
        for (int i = 0; i < 20; ++i) {
            const auto payload = random_payload(*module.schema, type, random, Style::sloppy);
            cr_assert(payload.has_value());
            check_agreement(module, type, name, *payload);
            ByteVector copy = *payload;
            const proto::Verdict first = validate(*module.schema, type, copy, Extent::whole);
            cr_assert_eq(first.flaw, Flaw::none, "%s", name.c_str());
            rewritten += first.rewritten ? 1 : 0;
            const proto::Verdict second = validate(*module.schema, type, copy, Extent::whole);
            cr_assert(second.flaw == Flaw::none && !second.rewritten, "%s", name.c_str());
        }
    });
    cr_assert_gt(rewritten, 3000, "%d", rewritten);
}

Test(codec, interpreter_and_decoder_agree_on_damaged_values) {
    static constexpr std::uint32_t k_words[] = {0,      1,        7,          8,          0x100,
                                                0xffff, 0x400001, 0x7fffffff, 0x80000000, 0xffffffff};
    Random random(3);
    for_each_type([&](const ProtoModule& module, TypeIndex type, const std::string& name) {
        for (int i = 0; i < 12; ++i) {
            auto payload =
                random_payload(*module.schema, type, random, i % 2 == 0 ? Style::canonical : Style::sloppy);
            cr_assert(payload.has_value());
            for (int j = 0; j < 3 && payload->size() >= 4; ++j) {
                const std::size_t at = random() % (payload->size() / 4) * 4;
                if (random() % 3 == 0)
                    payload->at(at + random() % 4) = static_cast<std::byte>(random());
                else
                    store_be32(payload->data() + at, k_words[random() % std::size(k_words)]);
                check_agreement(module, type, name, *payload);
            }
            payload->resize(payload->size() + random() % 9);
            check_agreement(module, type, name, *payload);
        }
    });
}

Test(codec, both_refuse_every_beginning) {
    Random random(4);
    for_each_type([&](const ProtoModule& module, TypeIndex type, const std::string& name) {
        const auto payload = random_payload(*module.schema, type, random);
        cr_assert(payload.has_value());
        const std::size_t stride = payload->size() / 64 + 1;
        for (std::size_t size = 0; size < payload->size(); size += stride) {
            ByteVector part(payload->begin(), payload->begin() + static_cast<std::ptrdiff_t>(size));
            check_agreement(module, type, name, part);
            const proto::Verdict verdict = validate(*module.schema, type, part, Extent::prefix);
            cr_assert_eq(verdict.flaw, Flaw::truncated, "%s: %s", name.c_str(), text(verdict.flaw).c_str());
        }
    });
}

// Of a payload that is wrong somewhere, a beginning is never refused for another reason than the whole, and the
// whole is refused wherever a beginning was.
Test(codec, beginnings_are_judged_like_the_whole) {
    Random random(5);
    for_each_type([&](const ProtoModule& module, TypeIndex type, const std::string& name) {
        auto payload = random_payload(*module.schema, type, random);
        cr_assert(payload.has_value());
        if (payload->size() >= 4)
            store_be32(payload->data() + random() % (payload->size() / 4) * 4,
                       static_cast<std::uint32_t>(random()));
        ByteVector copy = *payload;
        const Flaw whole = validate(*module.schema, type, copy, Extent::prefix).flaw;
        for (std::size_t size = 0; size < payload->size(); size += 4) {
            ByteVector part(payload->begin(), payload->begin() + static_cast<std::ptrdiff_t>(size));
            const Flaw flaw = validate(*module.schema, type, part, Extent::prefix).flaw;
            // A NUL behind a control byte comes into sight later.
            const bool same_name = flaw == Flaw::control_in_name && whole == Flaw::nul_in_string;
            cr_assert(flaw == Flaw::truncated || flaw == whole || same_name, "%s: %s, then %s", name.c_str(),
                      text(flaw).c_str(), text(whole).c_str());
        }
    });
}

Test(codec, a_schema_knows_the_sizes) {
    Random random(6);
    for_each_type([&](const ProtoModule& module, TypeIndex type, const std::string& name) {
        const auto* row = module.schema->row(proto::layout::Section::types, type);
        for (int i = 0; i < 5; ++i) {
            const auto payload = random_payload(*module.schema, type, random);
            cr_assert(payload->size() >= row[1] && payload->size() <= row[2], "%s", name.c_str());
        }
    });
}

Test(codec, encodes_nothing_that_it_would_not_decode) {
    proto::remote::Domain domain;
    domain.name = "a\nb";
    cr_assert_eq(proto::encode(domain).error(), Flaw::control_in_name);
    domain.name = std::string("a\0b", 3);
    cr_assert_eq(proto::encode(domain).error(), Flaw::nul_in_string);
    domain.name = std::string(4194305, 'x');
    cr_assert_eq(proto::encode(domain).error(), Flaw::string_too_long);
    proto::remote::DomainGetVcpusArgs vcpus;
    vcpus.max_info = 16384;
    vcpus.map_length = 513;
    cr_assert_eq(proto::encode(vcpus).error(), Flaw::product_too_large);
    vcpus.max_info = -1;
    cr_assert_eq(proto::encode(vcpus).error(), Flaw::out_of_range);
    proto::remote::NodeAllocPagesArgs pages;
    pages.page_sizes = {4};
    cr_assert_eq(proto::encode(pages).error(), Flaw::lengths_differ);
    proto::remote::TypedParam param;
    param.value.type = 7;
    cr_assert_eq(proto::encode(param).error(), Flaw::bad_union);
    param.value = proto::remote::TypedParamValue::make_text("x");
    cr_assert(proto::encode(param).has_value());
    cr_assert_eq(proto::encode(param, 8).error(), Flaw::no_room);
}
