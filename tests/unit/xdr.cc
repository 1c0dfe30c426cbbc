// SPDX-License-Identifier: LGPL-2.1-or-later
// xdr - tests of the reader and the writer.
#include <criterion/criterion.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/xdr/reader.h"
#include "libshared/xdr/writer.h"

using namespace virtgate;
using namespace virtgate::xdr;
using namespace std::string_literals;
using namespace std::string_view_literals;

namespace {

ByteVector bytes(std::initializer_list<int> values) {
    ByteVector out;
    for (const int value : values) out.push_back(static_cast<std::byte>(value));
    return out;
}

// What `write` puts into an empty vector with room for `limit` bytes.
template <class F>
std::string written(F write, std::size_t limit = 1000) {
    ByteVector out;
    Writer writer(out, limit);
    write(writer);
    cr_assert(writer.ok(), "%s", std::string(to_text(writer.flaw())).c_str());
    return to_hex(out);
}

template <class F>
Flaw refused(F write, std::size_t limit = 1000) {
    ByteVector out;
    Writer writer(out, limit);
    write(writer);
    const Flaw flaw = writer.flaw();
    writer.u32(7);  // nothing is written after a flaw
    cr_assert(!writer.finish());
    return flaw;
}

}  // namespace

Test(reader, takes_integers_in_network_order) {
    const auto in =
        bytes({0xff, 0xff, 0xff, 0xfe, 1, 2, 3, 4, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0});
    Reader reader(in);
    cr_assert_eq(reader.i32(), -2);
    cr_assert_eq(reader.u32(), 0x01020304U);
    cr_assert_eq(reader.i64(), std::numeric_limits<std::int64_t>::min() + 1);
    cr_assert_eq(reader.u64(), 256U);
    cr_assert_eq(reader.finish(5).value(), 5);
}

Test(reader, takes_floating_point_numbers) {
    const auto in = bytes({0x3f, 0xc0, 0, 0, 0xbf, 0xf0, 0, 0, 0, 0, 0, 0});
    Reader reader(in);
    cr_assert(reader.f32() == 1.5F);
    cr_assert(reader.f64() == -1.0);
    cr_assert(reader.finish(true).has_value());
}

Test(reader, takes_any_non_zero_word_as_true) {
    const auto in = bytes({0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0});
    Reader reader(in);
    cr_assert(!reader.boolean());
    cr_assert(reader.boolean());
    cr_assert(reader.boolean());
    cr_assert(reader.finish(true).has_value());
}

Test(reader, keeps_the_low_bits_of_narrow_words) {
    const auto in = bytes({0xff, 0xff, 0xff, 0xfe, 1, 2, 3, 4, 0, 0, 0x80, 1, 9, 9, 0x80, 1});
    Reader reader(in);
    cr_assert_eq(static_cast<signed char>(reader.character()), -2);
    cr_assert_eq(reader.u8(), 4);
    cr_assert_eq(reader.i16(), -32767);
    cr_assert_eq(reader.u16(), 0x8001);
}

Test(reader, checks_ranges) {
    const auto in = bytes({0xff, 0xff, 0xff, 0xff});
    cr_assert_eq(Reader(in).i32(-1, 5), -1);
    Reader high(in);
    cr_assert_eq(high.u32(0, 0xfffffffe), 0U);
    cr_assert_eq(high.flaw(), Flaw::out_of_range);
    cr_assert_eq(high.offset(), 0U);
    Reader low(in);
    cr_assert_eq(low.i32(0, 5), 0);
    cr_assert_eq(low.flaw(), Flaw::out_of_range);
    const auto wide = bytes({0x80, 0, 0, 0, 0, 0, 0, 0});
    Reader signed_wide(wide);
    cr_assert_eq(signed_wide.i64(0, 5), 0);
    cr_assert_eq(signed_wide.flaw(), Flaw::out_of_range);
    cr_assert_eq(Reader(wide).u64(1, ~std::uint64_t{0}), std::uint64_t{1} << 63);
    Reader wide_high(wide);
    cr_assert_eq(wide_high.u64(0, 5), 0U);
    cr_assert_eq(wide_high.flaw(), Flaw::out_of_range);
}

Test(reader, takes_strings_and_their_padding) {
    const auto in = bytes({0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o', 0, 7, 0, 0, 0, 0, 0});
    Reader reader(in);
    cr_assert(reader.string(5) == "hello");
    cr_assert(reader.string(0).empty());
    cr_assert(reader.finish(true).has_value());
}

Test(reader, refuses_long_strings_before_it_looks_for_the_body) {
    const auto in = bytes({0, 0x40, 0, 1});
    Reader reader(in);
    cr_assert(reader.string(4194304).empty());
    cr_assert_eq(reader.flaw(), Flaw::string_too_long);
    cr_assert_eq(reader.offset(), 0U);
}

Test(reader, refuses_nul_and_control_bytes) {
    const auto nul = bytes({0, 0, 0, 4, 'a', 0, 'b', 'c'});
    Reader string(nul);
    cr_assert(string.string(10).empty());
    cr_assert_eq(string.flaw(), Flaw::nul_in_string);
    Reader opaque(nul);
    cr_assert_eq(opaque.opaque(10).size(), 4U);
    for (const int control : {1, 9, 10, 0x1f, 0x7f}) {
        const auto in = bytes({0, 0, 0, 1, control, 0, 0, 0});
        cr_assert_eq(Reader(in).string(9).size(), 1U);
        Reader reader(in);
        cr_assert(reader.name(9).empty());
        cr_assert_eq(reader.flaw(), Flaw::control_in_name);
    }
    const auto high = bytes({0, 0, 0, 2, 0xc3, 0xab, 0, 0});
    cr_assert_eq(Reader(high).name(9).size(), 2U);
}

Test(reader, refuses_a_body_or_padding_that_is_not_there) {
    const auto whole = bytes({0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o', 0, 0, 0});
    for (std::size_t size = 0; size < whole.size(); ++size) {
        Reader reader{std::span(whole).first(size)};
        cr_assert(reader.string(100).empty());
        cr_assert_eq(reader.flaw(), Flaw::truncated, "size %zu", size);
        cr_assert_eq(reader.offset(), 0U);
    }
}

Test(reader, gives_nothing_after_a_flaw) {
    const auto in = bytes({0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1});
    Reader reader(in);
    cr_assert_eq(reader.count(8, 4), 0U);
    cr_assert_eq(reader.flaw(), Flaw::array_too_long);
    cr_assert_eq(reader.u32(), 0U);
    cr_assert_eq(reader.left(), 0U);
    std::array<std::byte, 4> fixed{std::byte{9}};
    reader.fixed_opaque(fixed);
    cr_assert_eq(fixed[0], std::byte{0});
    reader.fail(Flaw::bad_union);
    cr_assert_eq(reader.finish(1).error(), Flaw::array_too_long);
}

Test(reader, believes_no_count_that_the_bytes_cannot_hold) {
    const auto in = bytes({0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2});
    Reader reader(in);
    cr_assert_eq(reader.count(100, 4), 0U);
    cr_assert_eq(reader.flaw(), Flaw::truncated);
    const auto two = bytes({0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2});
    Reader good(two);
    cr_assert_eq(good.count(100, 4), 2U);
    const auto huge = bytes({0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1});
    Reader all(huge);
    cr_assert_eq(all.count(0xffffffff, 4), 0U);
    cr_assert_eq(all.flaw(), Flaw::truncated);
}

Test(reader, refuses_trailing_bytes) {
    const auto in = bytes({0, 0, 0, 1, 0});
    Reader reader(in);
    cr_assert_eq(reader.u32(), 1U);
    cr_assert_eq(reader.finish(1).error(), Flaw::trailing_bytes);
}

Test(reader, takes_characters_one_word_each) {
    const auto in = bytes({0, 0, 0, 2, 0, 0, 0, 'n', 0xff, 0xff, 0xff, 0xfe});
    Reader reader(in);
    cr_assert(reader.characters(10) == "n\xfe");
    cr_assert(reader.finish(true).has_value());
}

Test(writer, writes_integers_in_network_order) {
    cr_assert_eq(written([](Writer& w) {
                     w.i32(-2);
                     w.u32(0x01020304);
                     w.i64(-1);
                     w.u64(256);
                 }),
                 "fffffffe01020304ffffffffffffffff0000000000000100");
    cr_assert_eq(written([](Writer& w) {
                     w.f32(1.5F);
                     w.f64(-1.0);
                     w.boolean(true);
                     w.boolean(false);
                 }),
                 "3fc00000bff00000000000000000000100000000");
    cr_assert_eq(written([](Writer& w) {
                     w.character('\xfe');
                     w.u8(254);
                     w.i16(-2);
                     w.u16(65534);
                 }),
                 "fffffffe000000fefffffffe0000fffe");
}

Test(writer, pads_with_zeros) {
    cr_assert_eq(written([](Writer& w) { w.string("hello", 5); }), "0000000568656c6c6f000000");
    cr_assert_eq(written([](Writer& w) { w.string("", 5); }), "00000000");
    cr_assert_eq(written([](Writer& w) { w.fixed_opaque(as_bytes("abc")); }), "61626300");
    cr_assert_eq(written([](Writer& w) { w.opaque(as_bytes("a\0b"sv), 3); }), "0000000361006200");
    cr_assert_eq(written([](Writer& w) { w.characters("a\xff", 3); }), "0000000200000061ffffffff");
}

Test(writer, refuses_what_a_reader_would_refuse) {
    cr_assert_eq(refused([](Writer& w) { w.string("hello!", 5); }), Flaw::string_too_long);
    cr_assert_eq(refused([](Writer& w) { w.string("a\0b"sv, 5); }), Flaw::nul_in_string);
    cr_assert_eq(refused([](Writer& w) { w.name("a\0b"sv, 5); }), Flaw::nul_in_string);
    cr_assert_eq(refused([](Writer& w) { w.name("a\nb", 5); }), Flaw::control_in_name);
    cr_assert_eq(refused([](Writer& w) { w.count(6, 5); }), Flaw::array_too_long);
    cr_assert_eq(refused([](Writer& w) { w.i32(-1, 0, 5); }), Flaw::out_of_range);
    cr_assert_eq(refused([](Writer& w) { w.u32(6, 0, 5); }), Flaw::out_of_range);
    cr_assert_eq(refused([](Writer& w) { w.i64(-1, 0, 5); }), Flaw::out_of_range);
    cr_assert_eq(refused([](Writer& w) { w.u64(6, 0, 5); }), Flaw::out_of_range);
    cr_assert_eq(refused([](Writer& w) { w.characters("abc", 2); }), Flaw::array_too_long);
}

Test(writer, stays_within_its_limit) {
    cr_assert_eq(written([](Writer& w) { w.string("hello", 5); }, 12), "0000000568656c6c6f000000");
    for (std::size_t limit = 0; limit < 12; ++limit) {
        ByteVector out;
        Writer writer(out, limit);
        writer.string("hello", 5);
        cr_assert_eq(writer.flaw(), Flaw::no_room, "limit %zu", limit);
        cr_assert(out.size() <= limit);
    }
}

Test(writer, fills_a_span_and_nothing_behind_it) {
    std::array<std::byte, 9> room;
    room.fill(std::byte{0xee});
    Writer writer{std::span(room).first(8)};
    writer.string("abc", 9);
    cr_assert_eq(writer.finish().value(), 8U);
    writer.u32(1);
    cr_assert_eq(writer.finish().error(), Flaw::no_room);
    cr_assert_eq(to_hex(room), "0000000361626300ee");
}

Test(writer, appends_to_what_is_there) {
    ByteVector out = bytes({1, 2});
    Writer writer(out, 4);
    writer.u32(3);
    cr_assert_eq(to_hex(out), "010200000003");
    cr_assert_eq(writer.finish().value(), 4U);
}

Test(flaw, has_a_text_each) {
    for (int i = 0; i < k_flaw_count; ++i) {
        cr_assert_neq(to_text(static_cast<Flaw>(i)), "unknown flaw");
        for (int j = 0; j < i; ++j)
            cr_assert_neq(to_text(static_cast<Flaw>(i)), to_text(static_cast<Flaw>(j)));
    }
    cr_assert_eq(to_text(static_cast<Flaw>(k_flaw_count)), "unknown flaw");
}
