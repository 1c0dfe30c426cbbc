// SPDX-License-Identifier: LGPL-2.1-or-later
// worker_session - what a session does with what client and daemon send.
#include <criterion/criterion.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "tests/unit/worker_stage.h"

using namespace virtgate;
using namespace virtgate::test;
using rpc::Status;
using rpc::Type;

namespace {

const rpc::Header k_open = call_header(Procedure::connect_open, 1);

void expect_open_fails(Stage& stage, std::string_view text) {
    expect_refusal(stage, 1, rpc::k_code_internal, text);
    cr_assert_eq(stage.session().state(), workerd::worker::Session::State::waiting);
}

}  // namespace

// ---- before and at CONNECT_OPEN ---------------------------------

Test(session, connects_only_when_the_connection_is_opened) {
    Stage stage;
    stage.send(lookup(3), lookup_args("demo"));
    expect_refusal(stage, 3, rpc::k_code_internal, "connection not open");
    cr_assert(!stage.is_connected());
}

Test(session, sends_its_own_uri_and_only_the_read_only_flag) {
    Stage stage;
    stage.send(k_open, open_args(std::nullopt, 0xfffffff7));
    stage.accept();
    const Frame list = stage.asked();
    cr_assert_eq(list.header.procedure, static_cast<std::uint32_t>(Procedure::auth_list));
    cr_assert(list.payload.empty());
    stage.answer(with(list.header, Type::reply), words({1, 0}));
    const Frame open = stage.asked();
    cr_assert(open.header == k_open);
    cr_assert(open.payload == open_args("test:///default", 1));
    stage.answer(with(open.header, Type::reply));
    cr_assert_eq(stage.frame().header.serial, 1);
}

Test(session, passes_polkit) {
    Stage stage;
    stage.send(k_open, open_args("test:///default"));
    stage.accept();
    const Frame list = stage.asked();
    stage.answer(with(list.header, Type::reply), words({1, 2}));
    const Frame polkit = stage.asked();
    cr_assert_eq(polkit.header.procedure, static_cast<std::uint32_t>(Procedure::auth_polkit));
    stage.answer(with(polkit.header, Type::reply), words({1}));
    cr_assert(stage.asked().header == k_open);
}

Test(session, gives_up_a_daemon_that_wants_sasl) {
    Stage stage;
    stage.send(k_open, open_args("test:///default"));
    stage.accept();
    const Frame list = stage.asked();
    stage.answer(with(list.header, Type::reply), words({1, 1}));
    expect_open_fails(stage, "the libvirt daemon refused virtgate's connection");
}

Test(session, gives_up_a_daemon_that_refuses_polkit) {
    Stage stage;
    stage.send(k_open, open_args("test:///default"));
    stage.accept();
    stage.answer(with(stage.asked().header, Type::reply), words({1, 2}));
    stage.answer(with(stage.asked().header, Type::reply, Status::error), rpc::make_error_payload(45, "no"));
    expect_open_fails(stage, "the libvirt daemon refused virtgate's connection");
}

Test(session, gives_up_a_daemon_that_never_answers) {
    Stage stage;
    stage.send(k_open, open_args("test:///default"));
    stage.accept();
    stage.loop.advance(Milliseconds{29'999});
    cr_assert(stage.is_quiet());
    stage.loop.advance(Milliseconds{1});
    expect_open_fails(stage, "the libvirt daemon did not answer in time");
}

Test(session, gives_up_a_daemon_that_hangs_up) {
    Stage stage;
    stage.send(k_open, open_args("test:///default"));
    stage.accept();
    static_cast<void>(stage.asked());
    stage.hang_up();
    expect_open_fails(stage, "the libvirt daemon closed the connection");
}

Test(session, can_be_opened_after_a_failure) {
    Stage stage;
    stage.send(k_open, open_args("test:///absent"));
    expect_open_fails(stage, "cannot connect to the libvirt daemon");
    stage.open();
    stage.send(k_open, open_args("test:///default"));
    expect_refusal(stage, 1, rpc::k_code_internal, "connection already open");
}

Test(session, hands_on_the_daemons_own_refusal) {
    Stage stage;
    stage.send(k_open, open_args("test:///default"));
    stage.accept();
    stage.answer(with(stage.asked().header, Type::reply), words({0}));
    const ByteVector refusal = rpc::make_error_payload(38, "no such hypervisor", 10);
    stage.answer(with(stage.asked().header, Type::reply, Status::error), refusal);
    const Frame reply = stage.frame();
    cr_assert(reply.payload == refusal);
    cr_assert_eq(stage.session().state(), workerd::worker::Session::State::waiting);
}

Test(session, knows_only_the_uris_of_its_table) {
    for (const char* uri :
         {"qemu+tcp://evil/system", "test:///default?socket=/etc", "TEST:///default", "test:///default/"}) {
        Stage stage;
        stage.send(k_open, open_args(uri));
        expect_refusal(stage, 1, rpc::k_code_invalid_argument, "no connection driver available for this URI");
        cr_assert(!stage.is_connected());
    }
}

Test(session, keeps_calls_behind_open_for_later) {
    Stage stage;
    ByteVector packet = rpc::make_frame(k_open, open_args("test:///default"));
    append(packet, rpc::make_frame(lookup(2), lookup_args("one")));
    stage.send(packet);
    stage.send(lookup(3), lookup_args("two"));
    stage.accept();
    stage.answer(with(stage.asked().header, Type::reply), words({0}));
    const Frame open = stage.asked();
    cr_assert(stage.read_all().empty());
    stage.answer(with(open.header, Type::reply));
    cr_assert(stage.asked().header == lookup(2));
    cr_assert(stage.asked().header == lookup(3));
    cr_assert_eq(stage.frame().header.serial, 1);
}

// ---- calls ----------------------------------------

Test(session, relays_calls_and_replies_in_any_order) {
    Stage stage;
    stage.open();
    for (std::uint32_t serial = 10; serial < 13; ++serial) stage.send(lookup(serial), lookup_args("demo"));
    for (std::uint32_t serial = 10; serial < 13; ++serial) {
        const Frame call = stage.asked();
        cr_assert(call.header == lookup(serial));
        cr_assert(call.payload == lookup_args("demo"));
    }
    const ByteVector payload = filled(52);
    for (const std::uint32_t serial : {12U, 10U, 11U}) {
        stage.answer(with(lookup(serial), Type::reply), payload);
        const Frame reply = stage.frame();
        cr_assert(reply.header == with(lookup(serial), Type::reply));
        cr_assert(reply.payload == payload);
    }
}

Test(session, understands_frames_in_any_pieces) {
    Stage stage;
    stage.open();
    const ByteVector call = rpc::make_frame(lookup(9), lookup_args("demo"));
    for (const std::byte& byte : call) {
        stage.send(ByteView(&byte, 1));
        stage.pump();
    }
    cr_assert(stage.read_all() == call);
    const ByteVector reply = rpc::make_frame(with(lookup(9), Type::reply), filled(40));
    for (const std::byte& byte : reply) {
        cr_assert(stage.is_quiet());
        cr_assert_eq(stage.write(ByteView(&byte, 1)), 1);
    }
    cr_assert(stage.packet() == std::nullopt);
    stage.pump();
    cr_assert(stage.packet() == reply);
}

Test(session, sends_small_frames_together) {
    Stage stage;
    stage.open();
    ByteVector calls, replies;
    for (std::uint32_t serial = 100; serial < 200; ++serial) {
        append(calls, rpc::make_frame(lookup(serial), lookup_args("demo")));
        append(replies, rpc::make_frame(with(lookup(serial), Type::reply), filled(28)));
    }
    stage.send(calls);
    cr_assert(stage.read_all() == calls);
    cr_assert_eq(stage.write(replies), replies.size());
    stage.pump();
    cr_assert(stage.packet() == replies);
}

Test(session, puts_a_frame_that_came_in_two_parts_in_front_of_the_others) {
    Stage stage;
    stage.open();
    ByteVector replies;
    for (std::uint32_t serial = 100; serial < 103; ++serial) {
        stage.send(lookup(serial), lookup_args("demo"));
        append(replies, rpc::make_frame(with(lookup(serial), Type::reply), filled(1000)));
    }
    static_cast<void>(stage.read_all());
    cr_assert_eq(stage.write(ByteView(replies).first(500)), 500);
    cr_assert(stage.is_quiet());
    cr_assert_eq(stage.write(ByteView(replies).subspan(500)), replies.size() - 500);
    stage.pump();
    cr_assert(stage.packet() == replies);
}

Test(session, makes_calls_canonical) {
    Stage stage;
    stage.open();
    ByteVector call = rpc::make_frame(lookup(4), lookup_args("demo1"));
    call[call.size() - 1] = std::byte{0x55};
    stage.send(call);
    call[call.size() - 1] = std::byte{0};
    cr_assert(stage.read_all() == call);
}

Test(session, relays_a_call_larger_than_a_packet) {
    Stage stage;
    stage.open();
    const auto args = proto::encode(proto::remote::DomainDefineXmlArgs{.xml = std::string(3'000'000, 'x')});
    const ByteVector call = rpc::make_frame(call_header(Procedure::domain_define_xml, 4), *args);
    ByteVector came;
    for (ByteView rest(call); !rest.empty();) {
        const ByteView piece = rest.first(std::min(rest.size(), channel::k_packet_max));
        stage.send(piece);
        rest = rest.subspan(piece.size());
        stage.pump();
    }
    // A call behind it waits until the daemon has taken all of it.
    stage.send(lookup(5), lookup_args("demo"));
    ByteVector expected = call;
    append(expected, rpc::make_frame(lookup(5), lookup_args("demo")));
    cr_assert(stage.read_all() == expected);
}

// ---- refusals ----------------------------------------

Test(session, refuses_what_no_role_allows) {
    Stage stage({.identity = "alice", .rights = only("connect_get_type")});
    stage.open();
    stage.send(lookup(3), lookup_args("demo"));
    expect_refusal(stage, 3, rpc::k_code_access_denied,
                   "access denied: no role allows domain_lookup_by_name");
    cr_assert(stage.read_all().empty());
}

Test(session, never_lets_a_client_set_its_identity) {
    Stage stage;
    stage.open();
    ByteVector calls = rpc::make_frame(lookup(2), lookup_args("one"));
    append(calls, rpc::make_frame(call_header(Procedure::connect_set_identity, 3), words({0, 0})));
    append(calls, rpc::make_frame(lookup(4), lookup_args("two")));
    stage.send(calls);
    expect_refusal(stage, 3, rpc::k_code_access_denied,
                   "access denied: nobody may call connect_set_identity");
    ByteVector expected = rpc::make_frame(lookup(2), lookup_args("one"));
    append(expected, rpc::make_frame(lookup(4), lookup_args("two")));
    cr_assert(stage.read_all() == expected);
}

Test(session, ends_when_the_gate_lies) {
    const rpc::Header call = lookup(3);
    rpc::Header other_program = call, unknown = call, event = call;
    other_program.program = 0x20008089;
    unknown.procedure = 99999;
    event.procedure = static_cast<std::uint32_t>(Procedure::domain_event_lifecycle);
    ByteVector nul = lookup_args("de_o");
    nul[6] = std::byte{0};
    ByteVector trailing = lookup_args("demo");
    append(trailing, words({0}));
    const std::vector<ByteVector> lies{
        rpc::make_frame(other_program, lookup_args("demo")),
        rpc::make_frame(unknown, lookup_args("demo")),
        rpc::make_frame(event, {}),
        rpc::make_frame(with(call, Type::call, Status::error), lookup_args("demo")),
        rpc::make_frame(with(call, Type::reply), {}),
        rpc::make_frame(with(call, Type::message), {}),
        rpc::make_frame(with(call, Type::call_with_fds), words({0})),
        rpc::make_frame(with(call, Type::stream, static_cast<Status>(7)), {}),
        rpc::make_frame(with(call, Type::stream, Status::ok), words({1})),
        rpc::make_frame(with(call, Type::stream_hole, Status::proceed), words({1})),
        rpc::make_frame(call, nul),
        rpc::make_frame(call, trailing),
        words({27, 0, 0, 0, 0, 0, 0}),
        words({0xffffffff, 0, 0, 0, 0, 0, 0}),
    };
    for (const ByteVector& lie : lies) {
        Stage stage;
        stage.open();
        stage.send(lie);
        cr_assert(stage.read_all().empty());
        cr_assert(stage.has_ended());
    }
}

Test(session, takes_no_descriptors_from_the_gate) {
    Stage stage;
    stage.open();
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    const ByteVector call = rpc::make_frame(lookup(3), lookup_args("demo"));
    cr_assert_eq(channel::send_packet(stage.client_.get(), call, {&ends[1], 1}), channel::Outcome::done);
    close(ends[1]);
    stage.pump();
    // Whatever becomes of the packet: nobody holds the descriptor any more.
    std::byte byte;
    cr_assert_eq(read(ends[0], &byte, 1), 0);
    close(ends[0]);
}

Test(session, answers_between_frames_only) {
    Stage stage;
    stage.open();
    stage.send(lookup(3), lookup_args("demo"));
    static_cast<void>(stage.asked());
    const ByteVector reply = rpc::make_frame(with(lookup(3), Type::reply), filled(300'000));
    cr_assert_eq(stage.write(ByteView(reply).first(100'000)), 100'000);
    stage.pump();
    stage.send(call_header(Procedure::connect_set_identity, 4), words({0, 0}));
    stage.pump();
    cr_assert_eq(stage.write(ByteView(reply).subspan(100'000)), 200'000 + rpc::k_frame_min);
    const Frame first = stage.frame();
    cr_assert(first.payload == filled(300'000));
    expect_refusal(stage, 4, rpc::k_code_access_denied,
                   "access denied: nobody may call connect_set_identity");
}
