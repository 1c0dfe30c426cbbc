// SPDX-License-Identifier: LGPL-2.1-or-later
// worker_session - what a session does with what client and daemon send.
#include <criterion/criterion.h>
#include <sys/socket.h>

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

ByteVector words(std::initializer_list<std::uint32_t> values) {
    ByteVector bytes(4 * values.size());
    std::byte* at = bytes.data();
    for (const std::uint32_t value : values) {
        store_be32(at, value);
        at += 4;
    }
    return bytes;
}

void append(ByteVector& to, ByteView from) { to.insert(to.end(), from.begin(), from.end()); }

rpc::Header lookup(std::uint32_t serial) { return call_header(Procedure::domain_lookup_by_name, serial); }

void expect_refusal(Stage& stage, std::uint32_t serial, int code, std::string_view text) {
    const Frame reply = stage.frame();
    cr_assert_eq(reply.header.type, Type::reply);
    cr_assert_eq(reply.header.serial, serial);
    cr_assert_eq(error_code(reply), code);
    cr_assert_eq(error_text(reply), text);
}

void expect_open_fails(Stage& stage, std::string_view text) {
    expect_refusal(stage, 1, rpc::k_code_internal, text);
    cr_assert_eq(stage.session().state(), workerd::worker::Session::State::waiting);
}

// A session with a stream that is open: a console, call 5.
rpc::Header open_console(Stage& stage) {
    stage.open();
    const rpc::Header call = call_header(Procedure::domain_open_console, 5);
    stage.send(call, console_args());
    static_cast<void>(stage.asked());
    stage.answer(with(call, Type::reply));
    cr_assert_eq(stage.frame().header.serial, 5);
    return with(call, Type::stream, Status::proceed);
}

}  // namespace

// ---- before and at CONNECT_OPEN --------------------------------------------------------------------------------

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
    for (const char* uri : {"qemu+tcp://evil/system", "test:///default?socket=/etc", "TEST:///default", "test:///default/"}) {
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

// ---- calls -------------------------------------------------------------------------------------------------------

Test(session, relays_calls_and_replies_in_any_order) {
    Stage stage;
    stage.open();
    for (std::uint32_t serial = 10; serial < 13; ++serial)
        stage.send(lookup(serial), lookup_args("demo"));
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

// ---- refusals ----------------------------------------------------------------------------------------------------

Test(session, refuses_what_the_ceiling_does_not_reach) {
    proto::who::Ceiling ceiling;
    ceiling.programs.push_back({.program = proto::remote::k_program, .version = 1, .procedures = {std::byte{2}}});
    Stage stage(ceiling);
    stage.open();
    stage.send(lookup(3), lookup_args("demo"));
    expect_refusal(stage, 3, rpc::k_code_access_denied, "access denied: the policy does not allow this call");
    cr_assert(stage.read_all().empty());
}

Test(session, never_lets_a_client_set_its_identity) {
    Stage stage;
    stage.open();
    ByteVector calls = rpc::make_frame(lookup(2), lookup_args("one"));
    append(calls, rpc::make_frame(call_header(Procedure::connect_set_identity, 3), words({0, 0})));
    append(calls, rpc::make_frame(lookup(4), lookup_args("two")));
    stage.send(calls);
    expect_refusal(stage, 3, rpc::k_code_access_denied, "access denied: a client cannot set its identity");
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

Test(session, ends_when_the_gate_sends_descriptors) {
    Stage stage;
    stage.open();
    const int fd = stage.client_.get();
    const ByteVector call = rpc::make_frame(lookup(3), lookup_args("demo"));
    cr_assert_eq(channel::send_packet(stage.client_.get(), call, {&fd, 1}), channel::Outcome::done);
    cr_assert(stage.read_all().empty());
    cr_assert(stage.has_ended());
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
    expect_refusal(stage, 4, rpc::k_code_access_denied, "access denied: a client cannot set its identity");
}

// ---- large replies and full sockets ------------------------------------------------------------------------------

Test(session, cuts_large_replies_through) {
    Stage stage;
    stage.open();
    stage.send(lookup(3), lookup_args("demo"));
    static_cast<void>(stage.asked());
    const ByteVector reply = rpc::make_frame(with(lookup(3), Type::reply), filled(1'000'000));
    cr_assert_eq(stage.write(ByteView(reply).first(40'000)), 40'000);
    stage.pump();
    const auto piece = stage.packet();
    cr_assert(piece.has_value());
    cr_assert(std::equal(piece->begin(), piece->end(), reply.begin(), reply.begin() + 40'000));
}

Test(session, keeps_order_and_bounds_when_the_gate_does_not_read) {
    Stage stage;
    stage.open();
    ByteVector expected;
    for (std::uint32_t serial = 10; serial < 60; ++serial) {
        stage.send(lookup(serial), lookup_args("demo"));
        stage.pump();
        append(expected, rpc::make_frame(with(lookup(serial), Type::reply), filled(serial % 3 == 0 ? 70'000 : 9'000)));
    }
    static_cast<void>(stage.read_all());
    ByteView rest(expected);
    for (int i = 0; i < 100; ++i) {
        rest = rest.subspan(stage.write(rest));
        stage.pump();
    }
    cr_assert(!rest.empty(), "the session takes more than sockets can hold");
    cr_assert(!has(stage.loop.wanted(stage.client_.get()), loop::Want::both));
    ByteVector came;
    while (came.size() < expected.size()) {
        rest = rest.subspan(stage.write(rest));
        stage.pump();
        while (const auto packet = stage.packet())
            append(came, *packet);
    }
    cr_assert(came == expected);
}

Test(session, keeps_order_and_bounds_when_the_daemon_does_not_read) {
    Stage stage;
    rpc::Header stream = open_console(stage);
    ByteVector expected, packets;
    std::size_t sent = 0;
    for (std::uint32_t i = 0; i < 200; ++i) {
        const ByteVector frame = rpc::make_frame(stream, filled(i % 2 == 0 ? 60'000 : 100));
        if (!stage.try_send(frame))
            break;
        stage.pump();
        append(expected, frame);
        ++sent;
    }
    cr_assert_lt(sent, 100, "the session takes more than sockets can hold");
    cr_assert(stage.read_all() == expected);
    stage.send(with(stream, Type::stream, Status::ok));
    cr_assert(stage.asked().header.status == Status::ok);
}

Test(session, keeps_answers_while_the_gate_does_not_read) {
    Stage stage;
    stage.open();
    std::uint32_t sent = 0;
    while (sent < 5000 && stage.try_send(rpc::make_frame(call_header(Procedure::connect_set_identity, sent), words({0, 0})))) {
        ++sent;
        stage.pump();
    }
    cr_assert_lt(sent, 5000, "the session answers more than sockets can hold");
    for (std::uint32_t serial = 0; serial < sent; ++serial)
        cr_assert_eq(stage.frame().header.serial, serial);
}

Test(session, reads_no_more_calls_than_it_can_note) {
    Stage stage;
    stage.open();
    const std::uint32_t max = workerd::worker::OpenCalls::k_calls_max;
    std::size_t came = 0;
    for (std::uint32_t serial = 0; serial < max + 10; ++serial) {
        stage.send(lookup(serial), lookup_args("demo"));
        came += stage.read_all().size();
    }
    const std::size_t size = rpc::k_frame_min + lookup_args("demo").size();
    cr_assert_eq(came, max * size);
    stage.answer(with(lookup(17), Type::reply));
    cr_assert_eq(stage.read_all().size(), size);
    cr_assert_eq(stage.frame().header.serial, 17);
}

// ---- streams -----------------------------------------------------------------------------------------------------

Test(session, passes_streams_both_ways) {
    Stage stage;
    const rpc::Header data = open_console(stage);
    stage.send(data, filled(300));
    cr_assert(stage.asked().payload == filled(300));
    stage.answer(data, filled(200));
    cr_assert(stage.frame().payload == filled(200));
    stage.answer(data);  // end of data: the stream is still there
    cr_assert(stage.frame().payload.empty());
    stage.send(with(data, Type::stream, Status::ok));
    cr_assert_eq(stage.asked().header.status, Status::ok);
    stage.answer(with(data, Type::stream, Status::ok));
    cr_assert_eq(stage.frame().header.status, Status::ok);
    // It is over: nothing passes any more, and nobody is blamed.
    stage.send(data, filled(10));
    cr_assert(stage.read_all().empty());
    stage.answer(data, filled(10));
    cr_assert(stage.is_quiet());
    cr_assert(!stage.has_ended());
}

Test(session, cuts_stream_data_through) {
    Stage stage;
    const rpc::Header data = open_console(stage);
    const ByteVector frame = rpc::make_frame(data, filled(100'000));
    stage.send(ByteView(frame).first(1'000));
    cr_assert_eq(stage.read_all().size(), 1'000);
    stage.send(ByteView(frame).subspan(1'000, 60'000));
    cr_assert_eq(stage.read_all().size(), 60'000);
}

Test(session, passes_holes_of_open_streams_only) {
    Stage stage;
    rpc::Header hole = with(open_console(stage), Type::stream_hole, Status::proceed);
    stage.send(hole, words({0, 4096, 0}));
    cr_assert(stage.asked().payload == words({0, 4096, 0}));
    stage.answer(hole, words({0, 512, 0}));
    cr_assert(stage.frame().payload == words({0, 512, 0}));
    ++hole.serial;
    stage.send(hole, words({0, 4096, 0}));
    cr_assert(stage.read_all().empty());
    --hole.serial;
    stage.send(hole, words({0x80000000, 0, 0}));
    cr_assert(stage.read_all().empty());
    cr_assert(stage.has_ended());
}

Test(session, opens_no_stream_when_the_call_fails) {
    Stage stage;
    stage.open();
    const rpc::Header call = call_header(Procedure::domain_open_console, 5);
    stage.send(call, console_args());
    static_cast<void>(stage.asked());
    stage.answer(with(call, Type::reply, Status::error), rpc::make_error_payload(42, "no domain"));
    cr_assert_eq(error_code(stage.frame()), 42);
    stage.send(with(call, Type::stream, Status::proceed), filled(10));
    cr_assert(stage.read_all().empty());
}

Test(session, ends_a_stream_whose_hole_could_not_be_written) {
    Stage stage;
    const rpc::Header data = open_console(stage);
    stage.answer(with(data, Type::reply, Status::error), rpc::make_error_payload(38, "no seek"));
    cr_assert_eq(error_code(stage.frame()), 38);
    stage.send(data, filled(10));
    cr_assert(stage.read_all().empty());
}

Test(session, refuses_one_stream_too_many) {
    Stage stage;
    stage.open();
    const std::uint32_t max = workerd::worker::OpenCalls::k_streams_max;
    for (std::uint32_t serial = 0; serial < max; ++serial) {
        stage.send(call_header(Procedure::domain_open_console, serial), console_args());
        static_cast<void>(stage.asked());
    }
    stage.send(call_header(Procedure::domain_open_console, max), console_args());
    expect_refusal(stage, max, rpc::k_code_operation_failed, "too many open streams");
}

// ---- the daemon's side -------------------------------------------------------------------------------------------

Test(session, passes_known_events_and_drops_others) {
    Stage stage;
    stage.open();
    rpc::Header event = with(call_header(Procedure::domain_event_lifecycle, 1), Type::message);
    stage.answer(event, filled(40));
    cr_assert(stage.frame().header == event);
    rpc::Header unknown = event, ping = event;
    unknown.procedure = 4000;
    ping.program = rpc::k_keepalive_program;
    ping.procedure = 1;
    stage.answer(unknown, filled(70'000));
    stage.answer(ping);
    cr_assert(stage.is_quiet());
    stage.answer(event, filled(8));
    cr_assert(stage.frame().payload == filled(8));
}

Test(session, answers_every_open_call_when_the_daemon_dies) {
    Stage stage;
    const rpc::Header stream = open_console(stage);
    for (std::uint32_t serial = 20; serial < 24; ++serial)
        stage.send(lookup(serial), lookup_args("demo"));
    static_cast<void>(stage.read_all());
    stage.answer(with(lookup(22), Type::reply));
    stage.hang_up();
    cr_assert_eq(stage.frame().header.status, Status::ok);
    const std::string text = "the connection to the libvirt daemon was lost: it closed the connection";
    for (const std::uint32_t serial : {20U, 21U, 23U})
        expect_refusal(stage, serial, rpc::k_code_internal, text);
    const Frame end = stage.frame();
    cr_assert(end.header == with(stream, Type::stream, Status::error));
    cr_assert_eq(error_text(end), text);
    cr_assert(stage.has_ended());
}

Test(session, answers_open_calls_when_the_daemon_dies_while_it_is_written_to) {
    Stage stage;
    stage.open();
    stage.hang_up();
    stage.send(lookup(3), lookup_args("demo"));
    expect_refusal(stage, 3, rpc::k_code_internal,
                   "the connection to the libvirt daemon was lost: it closed the connection");
    cr_assert(stage.has_ended());
}

Test(session, closes_at_once_when_the_daemon_dies_within_a_frame) {
    Stage stage;
    stage.open();
    stage.send(lookup(3), lookup_args("demo"));
    stage.send(lookup(4), lookup_args("demo"));
    static_cast<void>(stage.read_all());
    const ByteVector reply = rpc::make_frame(with(lookup(3), Type::reply), filled(100'000));
    cr_assert_eq(stage.write(ByteView(reply).first(50'000)), 50'000);
    stage.hang_up();
    stage.pump();
    cr_assert(stage.has_ended());
    cr_assert_eq(stage.packet()->size(), 50'000);
    cr_assert(!stage.packet().has_value());
}

Test(session, does_not_wait_for_ever_for_a_client_of_a_dead_daemon) {
    Stage stage;
    stage.open();
    std::uint32_t serial = 10;
    for (; serial < 60; ++serial) {
        stage.send(lookup(serial), lookup_args("demo"));
        static_cast<void>(stage.read_all());
        static_cast<void>(stage.write(rpc::make_frame(with(lookup(serial), Type::reply), filled(60'000))));
        stage.pump();
        if (!has(stage.loop.wanted(stage.daemon_.get()), loop::Want::read) && stage.write(filled(1)) == 0)
            break;
    }
    stage.send(lookup(99), lookup_args("demo"));
    stage.hang_up();
    stage.pump();
    while (const auto packet = stage.packet()) {
    }
    stage.pump();
    while (!stage.has_ended() && stage.session().state() != workerd::worker::Session::State::draining) {
        static_cast<void>(stage.packet());
        stage.pump();
    }
    stage.loop.advance(workerd::worker::Session::k_leave);
    stage.pump();
    cr_assert(stage.has_ended());
}

Test(session, leaves_a_daemon_that_breaks_the_rules) {
    const std::vector<ByteVector> wrongs{
        rpc::make_frame(with(lookup(77), Type::reply), {}),
        rpc::make_frame(lookup(77), {}),
        rpc::make_frame(with(lookup(3), Type::reply, Status::proceed), {}),
        rpc::make_frame(with(lookup(3), Type::reply, static_cast<Status>(9)), {}),
        words({27, 0, 0, 0, 0, 0, 0}),
    };
    for (const ByteVector& wrong : wrongs) {
        Stage stage;
        stage.open();
        stage.send(lookup(3), lookup_args("demo"));
        stage.send(lookup(4), lookup_args("demo"));
        static_cast<void>(stage.read_all());
        ByteVector bytes = rpc::make_frame(with(lookup(4), Type::reply), filled(20));
        append(bytes, wrong);
        cr_assert_eq(stage.write(bytes), bytes.size());
        cr_assert(stage.frame().payload == filled(20), "the good frame before it is lost");
        cr_assert_eq(error_code(stage.frame()), rpc::k_code_internal);
        cr_assert(stage.has_ended());
    }
}

Test(session, refuses_descriptors_of_the_daemon) {
    Stage stage;
    stage.open();
    stage.send(lookup(3), lookup_args("demo"));
    stage.send(lookup(4), lookup_args("demo"));
    static_cast<void>(stage.read_all());
    stage.answer(with(lookup(3), Type::reply_with_fds), words({2}));
    // libvirt's way: one byte with one descriptor each, behind the frame.
    for (int i = 0; i < 2; ++i) {
        const std::byte zero{0};
        const int fd = stage.daemon_.get();
        cr_assert_eq(channel::send_packet(stage.daemon_.get(), ByteView(&zero, 1), {&fd, 1}), channel::Outcome::done);
        stage.pump();
    }
    expect_refusal(stage, 3, rpc::k_code_no_support, "descriptors cannot be passed to this client");
    stage.answer(with(lookup(4), Type::reply), filled(12));
    cr_assert(stage.frame().payload == filled(12));
}

// ---- the gate's end ----------------------------------------------------------------------------------------------

Test(session, leaves_the_daemon_when_the_gate_closes) {
    Stage stage;
    stage.open();
    stage.client_.reset();
    stage.pump();
    cr_assert(stage.has_ended());
    std::byte byte;
    cr_assert_eq(recv(stage.daemon_.get(), &byte, 1, 0), 0);
}

Test(session, notices_a_gate_that_closed_while_it_was_not_read) {
    Stage stage;
    stage.send(k_open, open_args("test:///default"));
    stage.accept();
    stage.client_.reset();
    stage.pump();
    cr_assert(!stage.has_ended());
    stage.loop.advance(workerd::worker::Session::k_leave);
    stage.pump();
    cr_assert(stage.has_ended());
}

Test(session, closes_quietly_after_connect_close) {
    Stage stage;
    stage.open();
    stage.send(call_header(Procedure::connect_close, 8));
    stage.answer(with(stage.asked().header, Type::reply));
    stage.hang_up();
    cr_assert_eq(stage.frame().header.serial, 8);
    cr_assert(stage.has_ended());
}
