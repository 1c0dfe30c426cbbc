// SPDX-License-Identifier: LGPL-2.1-or-later
// oracle - our bytes mean the same to rpcgen's code and libtirpc, for every type of every .x file.
#include <criterion/criterion.h>

#include <string>
#include <vector>

#include "libshared/base/bytes.h"
#include "tests/oracle/oracle.h"
#include "tests/support/modules.h"
#include "tests/support/random_payload.h"

using namespace virtgate;
using namespace virtgate::test;
using proto::Extent;
using proto::Flaw;
using proto::TypeIndex;

namespace {

struct Answer {
    oracle_answer answer = ORACLE_NO_TYPE;
    unsigned used = 0;
    ByteVector bytes;
};

Answer ask(const ProtoModule& module, TypeIndex type, const ByteVector& in) {
    Answer result;
    // The oracle gets a copy that ends where the value ends, so that a sanitizer sees one byte more.
    const ByteVector exact(in);
    result.bytes.resize(in.size() + 64);
    unsigned written = 0;
    result.answer = oracle_recode(std::string(module.name).c_str(), type, exact.data(),
                                  static_cast<unsigned>(exact.size()), &result.used, result.bytes.data(),
                                  static_cast<unsigned>(result.bytes.size()), &written);
    result.bytes.resize(written);
    return result;
}

template <class F>
int for_each_type(F each) {
    int seen = 0;
    for (const ProtoModule& module : proto_modules()) {
        for (TypeIndex type = 0; type < module.recoders.size(); ++type) {
            if (module.recoders[type] == nullptr) continue;
            const auto* row = module.schema->row(proto::layout::Section::types, type);
            each(module, type, std::string(module.name) + "::" + std::string(module.schema->text(row[7])));
            ++seen;
        }
    }
    return seen;
}

}  // namespace

Test(oracle, decodes_our_bytes_and_gives_them_back) {
    Random random(11);
    const int seen = for_each_type([&](const ProtoModule& module, TypeIndex type, const std::string& name) {
        for (int i = 0; i < 25; ++i) {
            const auto ours = random_payload(*module.schema, type, random);
            cr_assert(ours.has_value(), "%s", name.c_str());
            const Answer theirs = ask(module, type, *ours);
            cr_assert_eq(theirs.answer, ORACLE_GOOD, "%s: %s", name.c_str(), to_hex(*ours).c_str());
            cr_assert_eq(theirs.used, ours->size(), "%s", name.c_str());
            cr_assert_eq(to_hex(theirs.bytes), to_hex(*ours), "%s", name.c_str());
            // And the way back: their bytes through our decoder and encoder.
            ByteVector again;
            cr_assert_eq(module.recoders[type](theirs.bytes, again), Flaw::none, "%s", name.c_str());
            cr_assert_eq(to_hex(again), to_hex(theirs.bytes), "%s", name.c_str());
        }
    });
    cr_assert_gt(seen, 730, "%d", seen);
}

// Padding, booleans and narrow words as sloppy clients send them: what our interpreter makes of them is what the
// oracle reads in them.
Test(oracle, reads_sloppy_bytes_as_we_rewrite_them) {
    Random random(12);
    for_each_type([&](const ProtoModule& module, TypeIndex type, const std::string& name) {
        for (int i = 0; i < 15; ++i) {
            const auto sloppy = random_payload(*module.schema, type, random, Style::sloppy);
            cr_assert(sloppy.has_value(), "%s", name.c_str());
            const Answer theirs = ask(module, type, *sloppy);
            cr_assert_eq(theirs.answer, ORACLE_GOOD, "%s: %s", name.c_str(), to_hex(*sloppy).c_str());
            ByteVector ours = *sloppy;
            cr_assert_eq(validate(*module.schema, type, ours, Extent::whole).flaw, Flaw::none, "%s",
                         name.c_str());
            cr_assert_eq(to_hex(theirs.bytes), to_hex(ours), "%s", name.c_str());
        }
    });
}

Test(oracle, refuses_beginnings_like_we_do) {
    Random random(13);
    for_each_type([&](const ProtoModule& module, TypeIndex type, const std::string& name) {
        const auto whole = random_payload(*module.schema, type, random);
        cr_assert(whole.has_value());
        const std::size_t stride = whole->size() / 48 / 4 * 4 + 4;
        for (std::size_t size = 0; size < whole->size(); size += stride) {
            ByteVector part(whole->begin(), whole->begin() + static_cast<std::ptrdiff_t>(size));
            cr_assert_eq(ask(module, type, part).answer, ORACLE_REFUSED, "%s: %zu of %zu bytes", name.c_str(),
                         size, whole->size());
            cr_assert_eq(validate(*module.schema, type, part, Extent::whole).flaw, Flaw::truncated, "%s",
                         name.c_str());
        }
    });
}

// What we accept of damaged bytes, the oracle accepts and understands alike. What only we refuse is what libvirt's own
// rules do not know: NUL and control bytes, ranges, products, bytes behind the end.
Test(oracle, understands_whatever_we_accept) {
    static constexpr std::uint32_t k_words[] = {0, 1, 2, 7, 8, 0x7fffffff, 0x80000000, 0xffffffff};
    Random random(14);
    int accepted = 0, refused_by_both = 0, refused_by_us = 0;
    for_each_type([&](const ProtoModule& module, TypeIndex type, const std::string& name) {
        for (int i = 0; i < 12; ++i) {
            auto payload = random_payload(*module.schema, type, random);
            cr_assert(payload.has_value());
            if (payload->size() < 4) continue;
            store_be32(payload->data() + random() % (payload->size() / 4) * 4,
                       k_words[random() % std::size(k_words)]);
            ByteVector ours = *payload;
            const Flaw flaw = validate(*module.schema, type, ours, Extent::whole).flaw;
            const Answer theirs = ask(module, type, *payload);
            if (flaw == Flaw::none) {
                cr_assert_eq(theirs.answer, ORACLE_GOOD, "%s: %s", name.c_str(), to_hex(*payload).c_str());
                cr_assert_eq(to_hex(theirs.bytes), to_hex(ours), "%s", name.c_str());
                ++accepted;
            } else if (theirs.answer != ORACLE_GOOD) {
                ++refused_by_both;
            } else {
                const bool stricter = flaw == Flaw::nul_in_string || flaw == Flaw::control_in_name ||
                                      flaw == Flaw::out_of_range || flaw == Flaw::product_too_large ||
                                      flaw == Flaw::lengths_differ || flaw == Flaw::bad_enum ||
                                      flaw == Flaw::trailing_bytes;
                cr_assert(stricter, "%s: only we say \"%s\": %s", name.c_str(),
                          std::string(to_text(flaw)).c_str(), to_hex(*payload).c_str());
                ++refused_by_us;
            }
        }
    });
    cr_assert_gt(accepted, 1000, "%d", accepted);
    cr_assert_gt(refused_by_both, 300, "%d", refused_by_both);
    cr_assert_gt(refused_by_us, 50, "%d", refused_by_us);
}
