// SPDX-License-Identifier: LGPL-2.1-or-later
// schema - tests of the schema interpreter: every flaw, prefixes, canonical form, hostile frames, loading.
#include <criterion/criterion.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "libshared/base/bytes.h"
#include "proto/codec.h"
#include "proto/net.h"
#include "proto/programs.h"
#include "proto/remote.h"
#include "proto/schema.h"

using namespace virtgate;
using namespace virtgate::proto;

namespace {

// Bytes from "0000 0001 61" and the like; blanks are skipped, "x*N" repeats the group x.
ByteVector hex(std::string_view text) {
    ByteVector out;
    int high = -1;
    for (const char c : text) {
        if (c == ' ') continue;
        const int digit = c <= '9' ? c - '0' : c - 'a' + 10;
        if (high < 0) {
            high = digit;
        } else {
            out.push_back(static_cast<std::byte>(high * 16 + digit));
            high = -1;
        }
    }
    return out;
}

ByteVector repeat(std::string_view text, int times) {
    ByteVector out;
    for (int i = 0; i < times; ++i) {
        const ByteVector one = hex(text);
        out.insert(out.end(), one.begin(), one.end());
    }
    return out;
}

ByteVector operator+(ByteVector a, const ByteVector& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

const std::string k_demo = "00000004 64656d6f c7a5fdbd edaf9455 926ad65c 16db1809 00000003";  // a domain

Verdict judge(const Schema& schema, TypeIndex type, ByteVector& payload, Extent extent = Extent::whole) {
    return validate(schema, type, payload, extent);
}

// The verdict on the arguments of a remote call.
Verdict judge_call(std::uint32_t procedure, ByteVector payload, Extent extent = Extent::whole) {
    const ProcedureInfo* info = remote_program().find(procedure);
    cr_assert_not_null(info);
    return validate(remote_program().schema, info->args, payload, extent);
}

void expect(const Verdict& verdict, Flaw flaw, std::uint32_t offset) {
    cr_assert_eq(verdict.flaw, flaw, "\"%s\" at %u", std::string(to_text(verdict.flaw)).c_str(),
                 verdict.offset);
    cr_assert_eq(verdict.offset, offset, "offset %u", verdict.offset);
}

}  // namespace

Test(validate, accepts_a_good_call) {
    expect(judge_call(16, hex(k_demo)), Flaw::none, 28);
    expect(judge_call(66, {}), Flaw::none, 0);
}

Test(validate, refuses_bytes_behind_the_end) {
    expect(judge_call(16, hex(k_demo + "00000000")), Flaw::trailing_bytes, 28);
    expect(judge_call(66, hex("deadbeef")), Flaw::trailing_bytes, 0);
    expect(judge_call(16, hex(k_demo + "00")), Flaw::trailing_bytes, 28);
    expect(judge_call(16, hex(k_demo + "00000000"), Extent::prefix), Flaw::trailing_bytes, 28);
}

Test(validate, refuses_every_beginning) {
    const ByteVector whole = hex(k_demo);
    for (std::size_t size = 0; size < whole.size(); ++size) {
        const ByteVector part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        cr_assert_eq(judge_call(16, part).flaw, Flaw::truncated);
        cr_assert_eq(judge_call(16, part, Extent::prefix).flaw, Flaw::truncated);
    }
}

Test(validate, rewrites_padding_and_booleans) {
    ByteVector payload = hex("00000002 00000001 61010203 80000000");  // CONNECT_OPEN
    const Verdict verdict = judge(remote::schema(), remote::ConnectOpenArgs::k_type, payload);
    expect(verdict, Flaw::none, 16);
    cr_assert(verdict.rewritten);
    cr_assert_eq(to_hex(payload), "00000001000000016100000080000000");
    const Verdict again = judge(remote::schema(), remote::ConnectOpenArgs::k_type, payload);
    expect(again, Flaw::none, 16);
    cr_assert(!again.rewritten);
}

Test(validate, rewrites_characters_to_sign_extended_bytes) {
    ByteVector payload = hex("00000000 00000003 000000fe 12345678 ffffffff");  // AUTH_SASL_STEP
    const Verdict verdict = judge(remote::schema(), remote::AuthSaslStepArgs::k_type, payload);
    expect(verdict, Flaw::none, 20);
    cr_assert(verdict.rewritten);
    cr_assert_eq(to_hex(payload), "0000000000000003fffffffe00000078ffffffff");
}

Test(validate, refuses_long_strings_and_arrays_at_their_length) {
    expect(judge_call(23, hex("00400001")), Flaw::string_too_long, 0);
    expect(judge_call(23, hex("00400001"), Extent::prefix), Flaw::string_too_long, 0);
    expect(judge_call(68, hex("00000001 61000000 00000000 00010001")), Flaw::array_too_long, 12);
    expect(judge_call(68, hex("00000001 61000000 00000000 ffffffff"), Extent::prefix), Flaw::array_too_long,
           12);
}

Test(validate, refuses_nul_in_strings) {
    expect(judge_call(110, {}), Flaw::none, 0);
    expect(judge_call(10, hex("00000003 3c003e00 00000000")), Flaw::nul_in_string, 0);
    expect(judge_call(23, hex("00000009 64656d6f 00657669 6c000000")), Flaw::nul_in_string, 0);
    expect(judge_call(23, hex("00000009 64656d6f 00657669"), Extent::prefix), Flaw::nul_in_string, 0);
    expect(judge_call(23, hex("00000009 64656d6f 65657669"), Extent::prefix), Flaw::truncated, 0);
}

Test(validate, refuses_control_bytes_in_names_only) {
    expect(judge_call(16, hex("00000002 610a0000 c7a5fdbd edaf9455 926ad65c 16db1809 00000003")),
           Flaw::control_in_name, 0);
    expect(judge_call(16, hex("00000002 617f0000 c7a5fdbd edaf9455 926ad65c 16db1809 00000003")),
           Flaw::control_in_name, 0);
    expect(judge_call(16, hex("00000003 610a"), Extent::prefix), Flaw::control_in_name, 0);
    expect(judge_call(10, hex("00000002 3c0a0000 00000000")), Flaw::none, 12);  // XML
}

Test(validate, refuses_numbers_outside_their_range) {
    expect(judge_call(37, hex("00004000")), Flaw::none, 4);  // CONNECT_LIST_DOMAINS
    expect(judge_call(37, hex("00000000")), Flaw::none, 4);
    expect(judge_call(37, hex("00004001")), Flaw::out_of_range, 0);
    expect(judge_call(37, hex("ffffffff")), Flaw::out_of_range, 0);
    expect(judge_call(37, hex("80000000")), Flaw::out_of_range, 0);
}

Test(validate, refuses_products) {
    const ByteVector domain = hex(k_demo);
    expect(judge_call(20, domain + hex("00001000 00000800")), Flaw::none, 36);  // 4096 * 2048 = the limit
    expect(judge_call(20, domain + hex("00001001 00000800")), Flaw::product_too_large, 32);
    expect(judge_call(20, domain + hex("00000000 00000800")), Flaw::none, 36);
    expect(judge_call(340, hex("00000002 00000004 00000008 ffffffff 00000200 00000000")), Flaw::none, 24);
    expect(judge_call(340, hex("00000002 00000004 00000008 ffffffff 00000201 00000000")),
           Flaw::product_too_large, 16);
}

Test(validate, refuses_arrays_of_different_length) {
    expect(judge_call(347, hex("00000001 00000004 00000001 00000000 00000001 00000000 00000001 00000000")),
           Flaw::none, 32);
    expect(judge_call(
               347, hex("00000002 00000004 00000008 00000001 00000000 00000001 00000000 00000001 00000000")),
           Flaw::lengths_differ, 12);
}

Test(validate, refuses_unknown_union_arms) {
    const std::string set = k_demo + "00000001 00000001 78000000";  // one parameter called x
    expect(judge_call(58, hex(set + "00000001 00000005")), Flaw::none, 48);
    expect(judge_call(58, hex(set + "00000007 00000001 61000000")), Flaw::none, 52);
    expect(judge_call(58, hex(set + "00000000 00000005")), Flaw::bad_union, 40);
    expect(judge_call(58, hex(set + "00000008 00000005")), Flaw::bad_union, 40);
    expect(judge_call(58, hex(set + "ffffffff 00000005")), Flaw::bad_union, 40);
    expect(judge_call(58, hex(set + "00000008"), Extent::prefix), Flaw::bad_union, 40);
}

Test(validate, accepts_any_value_of_an_open_enumeration) {
    ByteVector types = hex("00000002 00000000 7fffffff");
    expect(judge(remote::schema(), remote::AuthListRet::k_type, types), Flaw::none, 12);
}

Test(validate, refuses_types_that_are_not_there) {
    ByteVector payload = hex("00000000");
    cr_assert_eq(judge(remote::schema(), remote::schema().type_count(), payload).flaw, Flaw::bad_schema);
    cr_assert_eq(judge(remote::schema(), 0x7fffffff, payload).flaw, Flaw::bad_schema);
}

// The frames of the holes that were found in libvirt and that a schema alone lets through.
Test(hostile, product_of_pages_and_cells_wraps) {
    expect(judge_call(340, hex("000003ff") + repeat("00000004", 1023) + hex("00000000 00400fc5 00000000")),
           Flaw::out_of_range, 4100);
    expect(judge_call(340, hex("000003ff") + repeat("00000004", 1023) + hex("00000000 00000400 00000000")),
           Flaw::product_too_large, 4100);
}

Test(hostile, negative_count_of_parameters) {
    const ProcedureInfo* info = remote_program().find(227);
    cr_assert_eq(info->name, "node_get_cpu_stats");
    expect(judge_call(227, hex("ffffffff ffffffff 00000000")), Flaw::out_of_range, 4);
}

Test(hostile, product_of_vcpus_and_map_length_wraps) {
    expect(judge_call(20, hex(k_demo) + hex("ffffffff 7fffffff")), Flaw::out_of_range, 28);
    expect(judge_call(20, hex(k_demo) + hex("00010000 00010000")), Flaw::out_of_range, 28);
}

Test(hostile, trailing_bytes_behind_auth_list) {
    expect(judge_call(66, hex("deadbeef")), Flaw::trailing_bytes, 0);
}

Test(hostile, string_of_more_than_four_mebibytes) {
    expect(judge_call(23, hex("00400001"), Extent::prefix), Flaw::string_too_long, 0);
}

Test(hostile, name_with_a_nul) {
    expect(judge_call(23, hex("00000009 64656d6f 00657669 6c000000")), Flaw::nul_in_string, 0);
}

Test(hostile, endless_parameters_of_a_migration) {
    const ProcedureInfo* info = remote_program().find("domain_migrate_begin3_params");
    expect(judge_call(info->number, hex(k_demo) + hex("ffffffff 00000000 00000000 00000000")),
           Flaw::array_too_long, 28);
}

Test(hostile, memory_stats_beyond_their_limit) {
    expect(judge_call(159, hex(k_demo) + hex("00000400 00000000")), Flaw::none, 36);
    expect(judge_call(159, hex(k_demo) + hex("00000401 00000000")), Flaw::out_of_range, 28);
}

// Each count of each call, at and beyond its ends: what a negative length has done to libvirt before.
Test(hostile, every_parameter_getter_refuses_foreign_counts) {
    int seen = 0;
    for (const ProcedureInfo& info : remote_program().procedures()) {
        if (info.kind != ProcedureInfo::Kind::call || info.args == k_void) continue;
        const Schema& schema = remote_program().schema;
        const std::uint32_t* row = schema.row(layout::Section::types, info.args);
        for (std::uint32_t i = 0; i < row[4]; ++i) {
            const std::string_view name = schema.text(schema.row(layout::Section::fields, row[3] + i)[1]);
            if (name.starts_with("max_") || name == "map_length" || name == "cell_count" ||
                name == "cpu_count") {
                const TypeIndex type =
                    schema.row(layout::Section::fields, row[3] + i)[0] & layout::k_type_mask;
                const std::uint32_t* of = schema.row(layout::Section::types, type);
                if (name == "max_memory") continue;
                cr_assert((of[0] & layout::k_ranged) != 0, "%s %s", std::string(info.name).c_str(),
                          std::string(name).c_str());
                for (const char* bad : {"ffffffff", "80000000", "7fffffff"}) {
                    ByteVector count = hex(bad);
                    cr_assert_eq(judge(schema, type, count).flaw, Flaw::out_of_range);
                }
                ByteVector zero = hex("00000000");
                cr_assert_eq(judge(schema, type, zero).flaw, Flaw::none);
                ++seen;
            }
        }
    }
    cr_assert_geq(seen, 35, "%d", seen);
}

Test(program, finds_procedures_by_number_and_name) {
    const ProgramInfo& remote = remote_program();
    cr_assert_eq(remote.number, 0x20008086U);
    cr_assert_eq(remote.version, 1U);
    cr_assert_eq(remote.name, "remote");
    cr_assert_eq(remote.procedures().size(), 456U);
    cr_assert_eq(remote.find(23U)->name, "domain_lookup_by_name");
    cr_assert_eq(remote.find("domain_lookup_by_name")->number, 23U);
    cr_assert_null(remote.find(0U));
    cr_assert_null(remote.find(457U));
    cr_assert_null(remote.find(99999U));
    cr_assert_null(remote.find(0xffffffffU));
    cr_assert_null(remote.find("domain_strat"));
}

Test(program, knows_all_programs) {
    cr_assert_eq(all_programs().size(), 7U);
    cr_assert_eq(find_program(0x00068000, 1), &lxc_program());
    cr_assert_eq(find_program(0x20008087, 1), &qemu_program());
    cr_assert_eq(find_program(0x06900690, 1), &admin_program());
    cr_assert_eq(find_program(0x0ea7beef, 1), &lock_program());
    cr_assert_eq(find_program(0x87539319, 1), &log_program());
    cr_assert_eq(find_program(0x6b656570, 1), &keepalive_program());
    cr_assert_null(find_program(0x20008086, 2));
    cr_assert_null(find_program(0x20008088, 1));
}

Test(program, counts_as_libvirt_does) {
    int calls = 0, events = 0, before = 0;
    for (const ProcedureInfo& info : remote_program().procedures()) {
        if (!info.since.empty()) continue;
        (info.kind == ProcedureInfo::Kind::call ? calls : events) += 1;
        before += info.before_auth ? 1 : 0;
    }
    cr_assert_eq(calls, 392);
    cr_assert_eq(events, 51);
    cr_assert_eq(before, 5);
    for (const std::uint32_t number : {66U, 67U, 68U, 69U, 70U})
        cr_assert(remote_program().find(number)->before_auth);
    cr_assert_eq(remote_program().find(456U)->since, "12.5.0");
}

Test(program, carries_what_a_policy_needs) {
    const ProcedureInfo& xml = *remote_program().find(14U);
    cr_assert_eq(xml.name, "domain_get_xml_desc");
    cr_assert_eq(xml.rules.size(), 3U);
    cr_assert_eq(xml.rules[0].object, "domain");
    cr_assert_eq(xml.rules[0].permission, "read");
    cr_assert(xml.rules[0].when.empty());
    cr_assert_eq(xml.rules[1].permission, "read_secure");
    cr_assert_eq(xml.rules[1].when.size(), 1U);
    cr_assert(xml.rules[1].when[0].holds(1) && !xml.rules[1].when[0].holds(8));
    cr_assert_eq(xml.readonly, ReadOnly::conditional);
    cr_assert_eq(xml.readonly_tests.size(), 2U);
    cr_assert_eq(xml.objects.size(), 1U);
    cr_assert_eq(xml.objects[0].identity, "name uuid id");
    const ProcedureInfo& device = *remote_program().find("domain_attach_device_flags");
    cr_assert_eq(device.rules[1].when.size(), 2U);
    cr_assert(device.rules[1].when[0].holds(0) && !device.rules[1].when[0].holds(2));
    const ProcedureInfo& addresses = *remote_program().find(353U);
    cr_assert_eq(addresses.readonly_tests[0].path, "source");
    cr_assert(addresses.readonly_tests[0].holds(1) && !addresses.readonly_tests[0].holds(3));
}

Test(program, carries_streams_descriptors_and_events) {
    const ProgramInfo& remote = remote_program();
    cr_assert_eq(remote.find(209U)->stream, Stream::read);
    cr_assert_eq(remote.find(209U)->sparse_flag, 1U);
    cr_assert_eq(remote.find(208U)->stream, Stream::write);
    cr_assert_eq(remote.find(304U)->stream, Stream::write);
    cr_assert_eq(remote.find(201U)->sparse_flag, 0U);
    cr_assert_eq(remote.find(249U)->fds_call_min, 1);
    cr_assert_eq(remote.find(249U)->fds_call_max, 1);
    cr_assert_eq(remote.find(343U)->fds_reply_min, 1);
    cr_assert_eq(remote.find(443U)->fds_call_max, 32);
    const ProcedureInfo& event = *remote.find(318U);
    cr_assert_eq(event.kind, ProcedureInfo::Kind::event);
    cr_assert_eq(event.event_family, "domain");
    cr_assert_eq(event.event_id, 0U);
    cr_assert_eq(event.event_style, EventStyle::callback);
    cr_assert_eq(event.objects[0].path, "msg.domain");
    cr_assert_eq(remote.find(362U)->event_style, EventStyle::none);
    cr_assert_eq(remote.find(362U)->kind, ProcedureInfo::Kind::event);
}

Test(locate, finds_fields_of_arguments) {
    const ProcedureInfo& info = *remote_program().find(14U);
    const ByteVector payload = hex(k_demo + "00000009");
    const Schema& schema = remote_program().schema;
    const Found domain = locate(schema, info.args, payload, info.objects[0].steps, {});
    cr_assert(domain.present);
    cr_assert_eq(domain.offset, 0U);
    cr_assert_eq(domain.type, remote::Domain::k_type);
    const Found flags = locate(schema, info.args, payload, info.readonly_tests[0].steps, {});
    cr_assert(flags.present);
    cr_assert_eq(flags.offset, 28U);
}

Test(locate, passes_optionals_and_lists) {
    const ProcedureInfo& reg = *remote_program().find(316U);
    const Schema& schema = remote_program().schema;
    cr_assert(reg.objects[0].nullable);
    cr_assert(!locate(schema, reg.args, hex("00000000 00000000"), reg.objects[0].steps, {}).present);
    const Found there = locate(schema, reg.args, hex("00000000 00000001" + k_demo), reg.objects[0].steps, {});
    cr_assert(there.present);
    cr_assert_eq(there.offset, 8U);
    const ProcedureInfo& stats = *remote_program().find("connect_get_all_domain_stats");
    cr_assert(stats.returns[0].list);
    const std::string record = k_demo + "00000001 00000001 78000000 00000007 00000001 61000000";
    const ByteVector reply = hex("00000002" + record + record);
    ByteVector copy = reply;
    cr_assert_eq(judge(schema, stats.ret, copy).flaw, Flaw::none);
    const std::uint32_t second[] = {1};
    const Found domain = locate(schema, stats.ret, reply, stats.returns[0].steps, second);
    cr_assert(domain.present);
    cr_assert_eq(domain.offset, 4U + 28U + 24U, "%u", domain.offset);
    const std::uint32_t third[] = {2};
    cr_assert(!locate(schema, stats.ret, reply, stats.returns[0].steps, third).present);
    cr_assert(!locate(schema, stats.ret, hex("00000002"), stats.returns[0].steps, second).present);
}

Test(schema, of_every_program_is_sound) {
    for (const ProgramInfo* program : all_programs())
        cr_assert_eq(program->schema.check(), "", "%s", std::string(program->name).c_str());
    cr_assert_eq(net::schema().check(), "");
    cr_assert_eq(net::schema().find_type("Error"), net::Error::k_type);
    cr_assert_eq(net::schema().find_type("Eror"), k_void);
}

namespace {

ByteVector schema_file(std::string_view name) {
    const char* build = std::getenv("VIRTGATE_BUILD");
    std::ifstream in(std::string(build != nullptr ? build : "build") + "/gen/proto/" + std::string(name),
                     std::ios::binary);
    cr_assert(in.is_open(), "set VIRTGATE_BUILD to the build directory");
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    const ByteView view = as_bytes(text);
    return {view.begin(), view.end()};
}

// The file with a checksum that fits.
ByteVector resealed(ByteVector file) {
    std::uint64_t sum = 0xcbf29ce484222325;
    for (std::size_t i = 0; i + 8 < file.size(); ++i)
        sum = (sum ^ std::to_integer<std::uint64_t>(file[i])) * 0x100000001b3;
    store_be32(file.data() + file.size() - 8, static_cast<std::uint32_t>(sum >> 32));
    store_be32(file.data() + file.size() - 4, static_cast<std::uint32_t>(sum));
    return file;
}

}  // namespace

Test(schema, loads_from_its_file) {
    const auto loaded = Schema::load(schema_file("remote.schema"));
    cr_assert(loaded.has_value());
    const ProgramInfo program(*loaded);
    cr_assert_eq(program.procedures().size(), 456U);
    ByteVector payload = hex(k_demo);
    cr_assert_eq(judge(*loaded, program.find(16U)->args, payload).flaw, Flaw::none);
    cr_assert_eq(program.find(14U)->rules.size(), 3U);
}

Test(schema, refuses_damaged_files) {
    const ByteVector file = schema_file("lock.schema");
    cr_assert(Schema::load(file).has_value());
    for (std::size_t size = 0; size < file.size(); size += 7)
        cr_assert(!Schema::load(std::span(file).first(size)).has_value());
    for (std::size_t at = 0; at < file.size(); ++at) {
        ByteVector damaged = file;
        damaged[at] ^= std::byte{0x10};
        cr_assert(!Schema::load(damaged).has_value(), "byte %zu", at);
    }
}

// Any word changed, with a fitting checksum: refused, or harmless for every payload.
Test(schema, survives_files_made_with_intent) {
    const ByteVector file = schema_file("lock.schema");
    const ByteVector payload = repeat("00000002", 64);
    int accepted = 0;
    for (std::size_t at = 0; at + 12 <= file.size(); at += 4) {
        for (const std::uint32_t value : {0U, 1U, 3U, 0x7fffffffU, 0x80000000U, 0xfffffffeU, 0xffffffffU}) {
            ByteVector changed = file;
            store_be32(changed.data() + at, value);
            const auto loaded = Schema::load(resealed(std::move(changed)));
            if (!loaded) continue;
            ++accepted;
            const ProgramInfo program(*loaded);
            for (TypeIndex type = 0; type < loaded->type_count(); ++type) {
                ByteVector copy = payload;
                const Verdict verdict = validate(*loaded, type, copy, Extent::whole);
                cr_assert(verdict.offset <= copy.size());
                (void)locate(*loaded, type, copy, {}, {});
            }
        }
    }
    cr_assert_gt(accepted, 0);
}
