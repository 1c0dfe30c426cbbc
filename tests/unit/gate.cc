// SPDX-License-Identifier: LGPL-2.1-or-later
// gate - tests of the gate's judgements, its ledger and its keepalive.
#include <criterion/criterion.h>

#include "libshared/rpc/ping_schedule.h"
#include "netd/gate/vet.h"
#include "proto/codec.h"
#include "proto/lock.h"
#include "proto/log.h"
#include "proto/net.h"
#include "proto/remote.h"

using namespace virtgate;
using namespace virtgate::netd::gate;
using proto::Extent;
using proto::remote::Procedure;
using rpc::Header;
using rpc::Status;
using rpc::Type;

namespace {

constexpr std::uint32_t k_remote = proto::remote::k_program;

Header call(Procedure procedure, std::uint32_t serial = 1) {
    return {.program = k_remote,
            .version = 1,
            .procedure = static_cast<std::uint32_t>(procedure),
            .serial = serial};
}

Header with(Header header, Type type, Status status = Status::ok) {
    header.type = type;
    header.status = status;
    return header;
}

Ruling judge(const Header& header, std::size_t payload = 0, const Ledger& ledger = {}) {
    return vet_header(header, rpc::k_frame_min + payload, ledger, false);
}

Ruling judge_payload(Procedure procedure, ByteVector payload) {
    const auto& program = proto::remote_program();
    return vet_payload(program, *program.find(static_cast<std::uint32_t>(procedure)), payload, Extent::whole);
}

ByteVector words(std::initializer_list<std::uint32_t> values) {
    ByteVector out(4 * values.size());
    std::size_t at = 0;
    for (const std::uint32_t value : values) {
        store_be32(out.data() + at, value);
        at += 4;
    }
    return out;
}

const proto::ProcedureInfo& info(Procedure procedure) {
    return *proto::remote_program().find(static_cast<std::uint32_t>(procedure));
}

Ledger with_stream(Procedure procedure, bool sparse = false, bool finishing = false) {
    Ledger ledger;
    const CallKey key = key_of(call(procedure));
    ledger.add({.key = key, .procedure = &info(procedure), .sparse = sparse});
    ledger.answer(key, true);
    ledger.find_stream(key)->finishing = finishing;
    return ledger;
}

}  // namespace

Test(vet_header, refuses_unknown_procedures_with_the_words_that_clients_look_for) {
    for (const std::uint32_t number : {0U, 107U, 9999U, 0xffffffffU}) {
        Header header = call(Procedure::connect_open);
        header.procedure = number;
        const Ruling ruling = judge(header);
        cr_assert(ruling.action == Action::refuse);
        cr_assert_eq(ruling.code, 39);
        cr_assert_eq(ruling.text.find("unknown procedure"), 0);
    }
}

Test(vet_header, refuses_programs_that_are_not_served) {
    Header header = call(Procedure::connect_open);
    header.program = 0x20008089;
    cr_assert_eq(judge(header).text, "Cannot find program 536903817 version 1");
    header.program = proto::log::k_program;  // known, but not one that a client of libvirt calls
    cr_assert(judge(header).action == Action::refuse);
    header.program = proto::lock::k_program;
    cr_assert(judge(header).action == Action::whole, "its first procedure, for the lock daemon");
    header.program = k_remote;
    header.version = 2;
    cr_assert(judge(header).action == Action::refuse);
}

Test(vet_header, refuses_a_call_with_a_status) {
    cr_assert_eq(judge(with(call(Procedure::connect_close), Type::call, Status{3})).text,
                 "Unexpected message status 3");
}

Test(vet_header, closes_on_what_no_client_sends) {
    for (const std::uint32_t type : {1U, 2U, 4U, 5U, 7U, 99U, 0xffffffffU})
        cr_assert(judge(with(call(Procedure::connect_close), Type{type})).action == Action::close, "type %u",
                  type);
}

Test(vet_header, closes_on_bytes_behind_a_call_without_arguments) {
    cr_assert(judge(call(Procedure::auth_list), 4).action == Action::close);
    cr_assert(judge(call(Procedure::auth_list), 0).action == Action::whole);
}

Test(vet_header, refuses_a_call_that_is_longer_than_its_arguments_can_be) {
    const std::size_t name_and_flags = 4 + 4194304;
    cr_assert(judge(call(Procedure::domain_lookup_by_name), name_and_flags).action == Action::whole);
    const Ruling ruling = judge(call(Procedure::domain_lookup_by_name), name_and_flags + 4);
    cr_assert(ruling.action == Action::refuse);
    cr_assert_eq(ruling.code, 39);
}

Test(vet_header, takes_keepalive_of_28_bytes_only) {
    Header ping{.program = rpc::k_keepalive_program, .version = 1, .procedure = 1, .type = Type::message};
    cr_assert(judge(ping).action == Action::whole);
    cr_assert(judge(ping, 4).action == Action::close);
    cr_assert(judge(with(ping, Type::call)).action == Action::close);
}

Test(vet_header, knows_open_streams_from_others) {
    const Header data = with(call(Procedure::storage_vol_upload), Type::stream, Status::proceed);
    cr_assert(judge(data, 1000).action == Action::skip);
    cr_assert(judge(data, 1000, with_stream(Procedure::storage_vol_upload)).action == Action::pieces);
    cr_assert(judge(data, 1000, with_stream(Procedure::storage_vol_upload, false, true)).action ==
              Action::skip);
    const Header finish = with(data, Type::stream, Status::ok);
    cr_assert(judge(finish, 0, with_stream(Procedure::storage_vol_upload)).action == Action::whole);
    cr_assert(judge(finish, 4, with_stream(Procedure::storage_vol_upload)).action == Action::close);
}

Test(vet_header, allows_holes_in_sparse_streams_only) {
    const Header hole = with(call(Procedure::storage_vol_upload), Type::stream_hole, Status::proceed);
    cr_assert(judge(hole, 12, with_stream(Procedure::storage_vol_upload, true)).action == Action::whole);
    cr_assert(judge(hole, 12, with_stream(Procedure::storage_vol_upload, false)).action == Action::close);
    cr_assert(judge(hole, 16, with_stream(Procedure::storage_vol_upload, true)).action == Action::close);
    for (const std::uint64_t length : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{1} << 63}) {
        const ByteVector payload =
            words({static_cast<std::uint32_t>(length >> 32), static_cast<std::uint32_t>(length), 0});
        cr_assert(vet_stream(hole, payload).action == Action::close);
    }
    cr_assert(vet_stream(hole, words({0, 4096, 0})).action == Action::forward);
    cr_assert(vet_stream(hole, words({0, 4096, 1})).action == Action::close);
}

Test(vet_header, does_not_let_a_serial_name_two_streams) {
    cr_assert(
        judge(call(Procedure::storage_vol_upload), 100, with_stream(Procedure::storage_vol_upload)).action ==
        Action::refuse);
}

Test(vet_payload, accepts_and_canonicalises) {
    ByteVector padded = words({1});
    const std::byte tail[] = {std::byte{'a'}, std::byte{1}, std::byte{2}, std::byte{3}};
    padded.insert(padded.end(), tail, tail + 4);
    const auto& program = proto::remote_program();
    cr_assert(vet_payload(program, info(Procedure::domain_lookup_by_name), padded, Extent::whole).action ==
              Action::forward);
    cr_assert_eq(to_hex(padded), "0000000161000000");
    ByteVector go_libvirt = words({0x01000000, 0, 0});
    cr_assert(vet_payload(program, info(Procedure::connect_open), go_libvirt, Extent::whole).action ==
              Action::forward);
    cr_assert_eq(to_hex(go_libvirt), "000000010000000000000000");
}

Test(vet_payload, refuses_what_does_not_decode_and_closes_on_a_second_reading) {
    cr_assert(judge_payload(Procedure::domain_lookup_by_name, words({5, 0x61626364})).action ==
              Action::refuse);
    cr_assert(judge_payload(Procedure::domain_lookup_by_name, words({4, 0x61006364})).action ==
              Action::refuse);
    cr_assert(judge_payload(Procedure::domain_lookup_by_name, words({4, 0x61626364, 0})).action ==
              Action::close);
}

Test(vet_payload, knows_the_integers_of_the_old_holes) {
    // connect_list_domains with a count of -1, and pages × cells that wrap around 32 bits.
    cr_assert(judge_payload(Procedure::connect_list_domains, words({0xffffffff})).action == Action::refuse);
    ByteVector pages = words({1023});
    for (int i = 0; i < 1023; ++i) {
        const ByteVector four = words({4});
        pages.insert(pages.end(), four.begin(), four.end());
    }
    const ByteVector rest = words({0, 4198405, 0});
    pages.insert(pages.end(), rest.begin(), rest.end());
    cr_assert(judge_payload(Procedure::node_get_free_pages, pages).action == Action::refuse);
}

Test(vet_payload, finds_a_flaw_in_a_prefix) {
    ByteVector start = words({4194305, 0x61616161});
    const auto& program = proto::remote_program();
    cr_assert(vet_payload(program, info(Procedure::domain_lookup_by_name), start, Extent::prefix).action ==
              Action::refuse);
    ByteVector good = words({4194304, 0x61616161});
    cr_assert(vet_payload(program, info(Procedure::domain_lookup_by_name), good, Extent::prefix).action ==
              Action::whole);
}

Test(vet_answer, lets_through_answers_to_open_calls_only) {
    Ledger ledger;
    const Header open = call(Procedure::connect_get_lib_version, 9);
    const Header reply = rpc::reply_to(open);
    cr_assert(vet_answer_header(reply, 36, ledger, false).action == Action::close);
    ledger.add({.key = key_of(open), .procedure = &info(Procedure::connect_get_lib_version)});
    cr_assert(vet_answer_header(reply, 36, ledger, false).action == Action::whole);
    cr_assert(vet_answer_header(reply, 40, ledger, false).action == Action::close);
    ByteVector version = words({0, 9000000});
    cr_assert(vet_answer_payload(reply, ledger, version).action == Action::forward);
    ByteVector short_one = words({0});
    cr_assert(vet_answer_payload(reply, ledger, short_one).action == Action::close);
    Header other = reply;
    other.serial = 10;
    cr_assert(vet_answer_header(other, 36, ledger, false).action == Action::close);
    other = reply;
    other.procedure = static_cast<std::uint32_t>(Procedure::connect_get_version);
    cr_assert(vet_answer_header(other, 36, ledger, false).action == Action::close);
}

Test(vet_answer, validates_errors_and_events) {
    Ledger ledger;
    const Header open = call(Procedure::connect_close, 3);
    ledger.add({.key = key_of(open), .procedure = &info(Procedure::connect_close)});
    ByteVector garbage = words({1, 2, 3});
    cr_assert(vet_answer_payload(rpc::reply_to(open, Status::error), ledger, garbage).action ==
              Action::close);
    const Header event = with(call(Procedure::domain_event_lifecycle, 1), Type::message);
    cr_assert(vet_answer_header(event, 60, ledger, false).action == Action::whole);
    cr_assert(vet_answer_payload(event, ledger, garbage).action == Action::close);
    const Header no_event = with(call(Procedure::connect_open, 1), Type::message);
    cr_assert(vet_answer_header(no_event, 60, ledger, false).action == Action::close);
}

Test(vet_answer, keeps_stream_data_in_its_direction) {
    const auto data = [](Procedure p) { return with(call(p), Type::stream, Status::proceed); };
    const auto judge_answer = [&](Procedure p, const Ledger& ledger) {
        return vet_answer_header(data(p), 1000, ledger, false).action;
    };
    cr_assert(judge_answer(Procedure::storage_vol_download, {}) == Action::skip);
    cr_assert(judge_answer(Procedure::storage_vol_download, with_stream(Procedure::storage_vol_download)) ==
              Action::pieces);
    cr_assert(judge_answer(Procedure::storage_vol_upload, with_stream(Procedure::storage_vol_upload)) ==
              Action::close);
    cr_assert(judge_answer(Procedure::domain_open_console, with_stream(Procedure::domain_open_console)) ==
              Action::pieces);
    // A confirmation that nobody asked for.
    const Header confirm = with(call(Procedure::storage_vol_download), Type::stream, Status::ok);
    cr_assert(vet_answer_header(confirm, 28, with_stream(Procedure::storage_vol_download), false).action ==
              Action::close);
    cr_assert(vet_answer_header(confirm, 28, with_stream(Procedure::storage_vol_download, false, true), false)
                  .action == Action::whole);
}

Test(asks_for_holes, looks_at_the_flags) {
    cr_assert(asks_for_holes(info(Procedure::storage_vol_upload), words({0, 1})));
    cr_assert(!asks_for_holes(info(Procedure::storage_vol_upload), words({1, 0})));
    cr_assert(!asks_for_holes(info(Procedure::domain_open_console), words({0, 1})));
}

Test(ledger, forgets_one_call_at_a_time) {
    Ledger ledger;
    const CallKey key = key_of(call(Procedure::connect_close, 5));
    ledger.add({.key = key, .procedure = &info(Procedure::connect_close)});
    ledger.add({.key = key, .procedure = &info(Procedure::connect_close)});
    ledger.answer(key, true);
    cr_assert_eq(ledger.calls(), 1);
    cr_assert_neq(ledger.find_call(key), nullptr);
    ledger.answer(key, true);
    cr_assert_eq(ledger.find_call(key), nullptr);
}

// libvirtd sends the reply from one thread and the data from another.
Test(ledger, has_a_stream_from_its_call_on) {
    const Procedure download = Procedure::storage_vol_download;
    const CallKey key = key_of(call(download));
    const Header data = with(call(download), Type::stream, Status::proceed);
    Ledger ledger;
    ledger.add({.key = key, .procedure = &info(download)});
    cr_assert(vet_answer_header(data, 1000, ledger, false).action == Action::pieces);
    cr_assert(
        vet_header(with(call(download), Type::stream, Status::ok), 28, ledger, false).action == Action::skip,
        "the client may not end what is not open");
    ledger.answer(key, true);
    cr_assert(vet_answer_header(data, 1000, ledger, false).action == Action::pieces);
    cr_assert(vet_header(with(call(download), Type::stream, Status::ok), 28, ledger, false).action ==
              Action::whole);

    Ledger refused;
    refused.add({.key = key, .procedure = &info(download)});
    refused.answer(key, false);
    cr_assert(vet_answer_header(data, 1000, refused, false).action == Action::skip);
    cr_assert(refused.open_streams().empty());

    Ledger ended;
    ended.add({.key = key, .procedure = &info(download)});
    ended.close_stream(key);
    ended.answer(key, true);
    cr_assert(ended.open_streams().empty(), "its end came before the reply");
}

Test(keepalive, pings_count_times_and_gives_up_after_interval_times_count_plus_one) {
    FakeClock clock;
    rpc::PingSchedule keepalive(Milliseconds{5000}, 2);
    cr_assert(keepalive.on_time(clock.now()) == rpc::PingSchedule::Step::wait, "nobody asked");
    cr_assert(keepalive.start(clock.now()));
    clock.advance(Milliseconds{4999});
    cr_assert(keepalive.on_time(clock.now()) == rpc::PingSchedule::Step::wait);
    cr_assert_eq(keepalive.next(clock.now()).count(), 1);
    clock.advance(Milliseconds{1});
    cr_assert(keepalive.on_time(clock.now()) == rpc::PingSchedule::Step::ping);
    clock.advance(Milliseconds{5000});
    cr_assert(keepalive.on_time(clock.now()) == rpc::PingSchedule::Step::ping);
    clock.advance(Milliseconds{5000});
    cr_assert(keepalive.on_time(clock.now()) == rpc::PingSchedule::Step::dead);
}

Test(keepalive, starts_anew_with_each_input) {
    FakeClock clock;
    rpc::PingSchedule keepalive(Milliseconds{1000}, 1);
    keepalive.start(clock.now());
    for (int i = 0; i < 10; ++i) {
        clock.advance(Milliseconds{1000});
        cr_assert(keepalive.on_time(clock.now()) == rpc::PingSchedule::Step::ping);
        keepalive.on_input(clock.now());
    }
}

Test(keepalive, can_be_off_and_can_do_without_pings) {
    FakeClock clock;
    cr_assert(!rpc::PingSchedule(Milliseconds{0}, 5).start(clock.now()));
    rpc::PingSchedule strict(Milliseconds{1000}, 0);
    strict.start(clock.now());
    clock.advance(Milliseconds{1000});
    cr_assert(strict.on_time(clock.now()) == rpc::PingSchedule::Step::dead);
}
