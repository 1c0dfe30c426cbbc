// SPDX-License-Identifier: LGPL-2.1-or-later
// worker_relay - a session between a client and a daemon that are slow, large or dead.
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

// ---- large replies and full sockets ----------------------------------------

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
        append(expected,
               rpc::make_frame(with(lookup(serial), Type::reply), filled(serial % 3 == 0 ? 70'000 : 9'000)));
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
        while (const auto packet = stage.packet()) append(came, *packet);
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
        if (!stage.try_send(frame)) break;
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
    while (sent < 5000 && stage.try_send(rpc::make_frame(call_header(Procedure::connect_set_identity, sent),
                                                         words({0, 0})))) {
        ++sent;
        stage.pump();
    }
    cr_assert_lt(sent, 5000, "the session answers more than sockets can hold");
    for (std::uint32_t serial = 0; serial < sent; ++serial) cr_assert_eq(stage.frame().header.serial, serial);
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

// ---- streams ----------------------------------------

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

// ---- the daemon's side ------------------------------------------

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
    for (std::uint32_t serial = 20; serial < 24; ++serial) stage.send(lookup(serial), lookup_args("demo"));
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
    // Replies until the gate takes no more, then a few calls that will need an answer.
    for (std::uint32_t serial = 10; serial < 16; ++serial) {
        stage.send(lookup(serial), lookup_args("demo"));
        static_cast<void>(stage.read_all());
        static_cast<void>(stage.write(rpc::make_frame(with(lookup(serial), Type::reply), filled(16'000))));
        stage.pump();
    }
    ByteVector calls;
    for (std::uint32_t serial = 0; serial < 1'000; ++serial)
        append(calls, rpc::make_frame(lookup(serial), lookup_args("demo")));
    stage.send(calls);
    static_cast<void>(stage.read_all());
    stage.hang_up();
    stage.pump();
    cr_assert(!stage.has_ended(), "a thousand answers fit into the socket");
    cr_assert_eq(stage.session().state(), workerd::worker::Session::State::draining);
    stage.loop.advance(workerd::worker::Session::k_leave - Milliseconds{1});
    stage.pump();
    cr_assert(!stage.has_ended());
    stage.loop.advance(Milliseconds{1});
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
        cr_assert_eq(channel::send_packet(stage.daemon_.get(), ByteView(&zero, 1), {&fd, 1}),
                     channel::Outcome::done);
        stage.pump();
    }
    expect_refusal(stage, 3, rpc::k_code_no_support, "descriptors cannot be passed to this client");
    stage.answer(with(lookup(4), Type::reply), filled(12));
    cr_assert(stage.frame().payload == filled(12));
}

// ---- the gate's end ---------------------------------------------

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

// ---- streams and a policy that changes ----------------------------------------

// A console stays open for days; the right to it has to end when the policy says so.
Test(streams, are_judged_again_when_the_policy_changes) {
    Stage stage;
    stage.open();
    const rpc::Header call = call_header(Procedure::domain_open_console, 5);
    stage.send(call, console_args());
    cr_assert_eq(stage.asked().header.procedure, call.procedure);
    // While it is opening as well as when it is open.
    cr_assert(!stage.session().set_rights(only("connect_get_type"), false));
    cr_assert(stage.session().set_rights(everything(), false));
    stage.answer(rpc::reply_to(call));
    static_cast<void>(stage.frame());
    cr_assert(!stage.session().set_rights(only("connect_get_type"), false));
    cr_assert(stage.session().set_rights(only("connect_get_type"), true), "on probation");
    cr_assert(stage.session().set_rights(only("domain_open_console"), false));
}

Test(streams, that_are_over_count_no_more) {
    Stage stage;
    stage.open();
    const rpc::Header call = call_header(Procedure::domain_open_console, 5);
    stage.send(call, console_args());
    static_cast<void>(stage.asked());
    stage.answer(rpc::reply_to(call, rpc::Status::error), rpc::make_error_payload(42, "no domain", 10));
    static_cast<void>(stage.frame());
    cr_assert(stage.session().set_rights(only("connect_get_type"), false));
}
