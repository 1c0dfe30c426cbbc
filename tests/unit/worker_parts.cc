// SPDX-License-Identifier: LGPL-2.1-or-later
// worker_parts - the pure parts of a session: open calls, lanes, the URI table and rights.
#include <criterion/criterion.h>

#include <map>

#include <cstring>

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "tests/unit/worker_stage.h"
#include "workerd/worker/budget.h"
#include "workerd/worker/prologue.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::workerd::worker;
using rpc::Status;
using rpc::Type;

namespace {

rpc::Header console(std::uint32_t serial) { return call_header(Procedure::domain_open_console, serial); }

}  // namespace

Test(open_calls, ends_one_call_for_each_reply) {
    OpenCalls open;
    open.add(lookup(1), false);
    open.add(lookup(1), false);
    cr_assert(!open.end_call(with(lookup(2), Type::reply)));
    cr_assert(!open.end_call(with(console(1), Type::reply)));
    cr_assert(open.end_call(with(lookup(1), Type::reply)));
    cr_assert(open.end_call(with(lookup(1), Type::reply, Status::error)));
    cr_assert(!open.end_call(with(lookup(1), Type::reply)));
    cr_assert(open.empty());
}

Test(open_calls, tells_programs_apart) {
    OpenCalls open;
    rpc::Header other = lookup(1);
    other.program = 0x20008087;
    open.add(lookup(1), false);
    cr_assert(!open.end_call(with(other, Type::reply)));
}

Test(open_calls, knows_streams_from_call_to_end) {
    OpenCalls open;
    open.add(console(1), true);
    cr_assert(open.has_stream(console(1)));
    cr_assert(open.end_call(with(console(1), Type::reply)));
    cr_assert(open.has_stream(console(1)));
    cr_assert_eq(open.calls(), 0);
    open.end_stream(console(2));
    cr_assert(open.has_stream(console(1)));
    open.end_stream(console(1));
    cr_assert(!open.has_stream(console(1)));
    cr_assert(open.empty());
}

Test(open_calls, opens_no_stream_that_has_ended_before_its_reply) {
    OpenCalls open;
    open.add(console(1), true);
    open.end_stream(console(1));
    cr_assert(!open.has_stream(console(1)));
    cr_assert(open.end_call(with(console(1), Type::reply)));
    cr_assert(!open.has_stream(console(1)));
    cr_assert(open.empty());
}

Test(open_calls, counts_streams_that_are_being_opened) {
    OpenCalls open;
    for (std::uint32_t i = 0; i < OpenCalls::k_streams_max; ++i) open.add(console(i), true);
    cr_assert(open.streams_full());
    cr_assert(open.end_call(with(console(0), Type::reply)));
    cr_assert(open.streams_full());
    cr_assert(open.end_call(with(console(1), Type::reply, Status::error)));
    cr_assert(!open.streams_full());
}

Test(open_calls, drains_everything_once) {
    OpenCalls open;
    open.add(lookup(1), false);
    open.add(console(2), true);
    cr_assert(open.end_call(with(console(2), Type::reply)));
    int calls = 0, streams = 0;
    const auto drain = [&] {
        open.drain([&](const rpc::Header& call) { calls += call == lookup(1) ? 1 : 100; },
                   [&](const rpc::Header& stream) { streams += stream == console(2) ? 1 : 100; });
    };
    drain();
    drain();
    cr_assert_eq(calls, 1);
    cr_assert_eq(streams, 1);
}

Test(run, closes_gaps_between_frames) {
    ByteVector buffer = filled(100);
    const ByteVector before = buffer;
    Run run;
    run.add(MutableBytes(buffer).first(10));
    run.add(MutableBytes(buffer).subspan(10, 10));
    run.add(MutableBytes(buffer).subspan(50, 20));  // 30 bytes between were dropped
    cr_assert_eq(run.bytes().size(), 40);
    cr_assert_eq(run.bytes().data(), buffer.data() + 30);
    cr_assert(std::memcmp(run.bytes().data(), before.data(), 20) == 0);
    cr_assert(std::memcmp(run.bytes().data() + 20, before.data() + 50, 20) == 0);
}

Test(lane, keeps_what_was_not_sent_before_what_was_not_read) {
    ByteVector buffer = filled(100);
    Lane lane(rpc::k_frame_max);
    lane.park(MutableBytes(buffer).first(30), false, MutableBytes(buffer).subspan(60));
    std::fill(buffer.begin(), buffer.end(), std::byte{0});
    cr_assert(lane.blocked());
    cr_assert_eq(lane.unsent().size(), 30);
    lane.sent(20);
    cr_assert_eq(lane.unsent()[0], filled(100)[20]);
    lane.sent(10);
    cr_assert(!lane.blocked());
    const MutableBytes unread = lane.take_unread();
    cr_assert_eq(unread.size(), 40);
    cr_assert_eq(unread[0], filled(100)[60]);
    // Parking a part of its own bytes again.
    lane.park(unread.first(5), false, unread.subspan(10));
    cr_assert_eq(lane.unsent()[4], filled(100)[64]);
    cr_assert(lane.has_unread());
    lane.clear();
    cr_assert(!lane.has_unread() && !lane.blocked());
}

Test(uri_table, compares_exactly_and_tries_rows_in_order) {
    const UriTable table(
        {{"qemu:///system", "/a", "/a-ro"}, {"test:///default", "/t", ""}, {"qemu:///system", "/b", "/b-ro"}},
        "qemu:///system");
    cr_assert_eq(table.find("").value(), "qemu:///system");
    cr_assert_eq(table.find("test:///default").value(), "test:///default");
    cr_assert(!table.find("test:///default ").has_value());
    cr_assert(!table.find("test:///").has_value());
    cr_assert((table.sockets_for("qemu:///system", false) == std::vector<std::string>{"/a", "/b"}));
    cr_assert((table.sockets_for("qemu:///system", true) == std::vector<std::string>{"/a-ro", "/b-ro"}));
    cr_assert((table.sockets_for("test:///default", true) == std::vector<std::string>{"/t"}));
    cr_assert(!UriTable({{"a://", "/a", ""}}, "").find("").has_value());
}

namespace {

rpc::Header remote_call(proto::remote::Procedure procedure, std::uint32_t serial) {
    return rpc::make_call(proto::remote::k_program, proto::remote::k_version, procedure, serial);
}

// Answers what the prologue asked in `step`, with `payload`.
Prologue::Step answer(Prologue& prologue, ByteView asked, ByteView payload,
                      rpc::Status status = rpc::Status::ok) {
    return prologue.on_reply(rpc::reply_to(rpc::read_header(asked.data()), status), payload);
}

}  // namespace

Test(prologue, tells_the_daemon_whom_it_serves_before_the_client_is_answered) {
    using proto::remote::Procedure;
    proto::who::Who who;
    who.login = {.mechanism = "GSSAPI", .name = "alice@EXAMPLE.ORG"};
    who.certificate.emplace().subject_text = "C=GB,CN=alice";
    const auto identity = describe_identity(who, find_own_process());
    for (const rpc::Status outcome : {rpc::Status::ok, rpc::Status::error}) {
        const rpc::Header open = remote_call(Procedure::connect_open, 42);
        Prologue prologue(open, "test:///default", false, identity);
        ByteVector asked = prologue.start();
        auto step = answer(prologue, asked, *proto::encode(proto::remote::AuthListRet{.types = {}}));
        cr_assert(step.kind == Prologue::Step::Kind::send);
        cr_assert(rpc::read_header(step.frame.data()) == open);
        step = answer(prologue, ByteVector(step.frame), {});
        cr_assert(step.kind == Prologue::Step::Kind::send);
        cr_assert_eq(rpc::read_header(step.frame.data()).procedure, 419);
        const auto told = proto::decode<proto::remote::ConnectSetIdentityArgs>(
            ByteView(step.frame).subspan(rpc::k_frame_min));
        cr_assert(told.has_value());
        std::map<std::string, std::string> texts;
        for (const auto& parameter : told->params)
            if (const auto* text = std::get_if<std::string>(&parameter.value.value))
                texts[parameter.field] = *text;
        cr_assert_eq(texts["sasl-user-name"], "alice@EXAMPLE.ORG");
        cr_assert_eq(texts["x509-distinguished-name"], "C=GB,CN=alice");
        // A daemon that does not know the call is used all the same.
        step = answer(prologue, ByteVector(step.frame), rpc::make_error_payload(39, "unknown procedure"),
                      outcome);
        cr_assert(step.kind == Prologue::Step::Kind::opened);
        cr_assert(rpc::read_header(step.frame.data()) == rpc::reply_to(open));
    }
}

Test(prologue, tells_of_a_local_client_its_own_process) {
    proto::who::Who who;
    who.local = {.uid = 1000, .gid = 100, .groups = {}, .pid = 4711, .start_time = 99};
    std::map<std::string, std::uint64_t> numbers;
    for (const auto& parameter : describe_identity(who, find_own_process())) {
        if (const auto* value = std::get_if<std::uint64_t>(&parameter.value.value))
            numbers[parameter.field] = *value;
        if (const auto* value = std::get_if<std::int64_t>(&parameter.value.value))
            numbers[parameter.field] = static_cast<std::uint64_t>(*value);
    }
    cr_assert_eq(numbers["unix-user-id"], 1000);
    cr_assert_eq(numbers["process-id"], 4711);
    cr_assert_eq(numbers["process-time"], 99);
    // Without its start time a process number may be anybody's by now.
    who.local->start_time = 0;
    for (const auto& parameter : describe_identity(who, find_own_process()))
        cr_assert(!parameter.field.starts_with("process"));
}

Test(prologue, passes_on_a_refusal_to_open) {
    const rpc::Header open = remote_call(proto::remote::Procedure::connect_open, 42);
    Prologue prologue(open, "test:///default", false, describe_identity({}, find_own_process()));
    auto step = answer(prologue, ByteVector(prologue.start()),
                       *proto::encode(proto::remote::AuthListRet{.types = {}}));
    step = answer(prologue, ByteVector(step.frame), rpc::make_error_payload(38, "no"), rpc::Status::error);
    cr_assert(step.kind == Prologue::Step::Kind::refused);
    cr_assert_eq(rpc::read_error_text(ByteView(step.frame).subspan(rpc::k_frame_min)), "no");
}

Test(budget, without_limits_refuses_nothing) {
    FakeClock clock;
    Budget budget(clock);
    for (int i = 0; i < 10000; ++i) cr_assert_eq(budget.take_call(1 << 20, true), "");
    cr_assert_eq(budget.take_stream(1 << 30).count(), 0);
    cr_assert_eq(budget.idle_timeout().count(), 0);
}

Test(budget, lets_who_is_refused_too_often_rest) {
    FakeClock clock;
    clock.advance(Milliseconds{1000});
    Budget budget(clock);
    for (int i = 0; i < 500; ++i) cr_assert_eq(budget.take_refusal().count(), 0);
    cr_assert_eq(budget.take_refusal(), Budget::k_rest);
    clock.advance(Budget::k_rest);
    int more = 0;
    while (budget.take_refusal().count() == 0) ++more;
    cr_assert_eq(more, 49, "what a rest brings, less the one that was owed");
}

Test(budget, fills_calls_with_time_up_to_the_burst) {
    FakeClock clock;
    clock.advance(Milliseconds{1});
    Budget budget(clock);
    proto::policy::LimitSet limits;
    limits.calls_per_second = 10;
    limits.burst = 3;
    budget.set_limits(limits);
    const auto take = [&] {
        int taken = 0;
        while (budget.take_call(0, false).empty()) ++taken;
        return taken;
    };
    cr_assert_eq(take(), 3);
    cr_assert_eq(budget.take_call(0, false), "calls_per_second=10");
    clock.advance(Milliseconds{100});
    cr_assert_eq(take(), 1);
    clock.advance(Milliseconds{60000});
    cr_assert_eq(take(), 3, "more than the burst");
    // A burst of its own accord is what a second brings.
    limits.burst.reset();
    budget.set_limits(limits);
    clock.advance(Milliseconds{60000});
    cr_assert_eq(take(), 10);
}

Test(budget, counts_what_is_open_over_all_sessions) {
    FakeClock clock;
    Budget budget(clock);
    proto::policy::LimitSet limits;
    limits.concurrent_calls = 2;
    limits.concurrent_streams = 1;
    limits.max_payload = 100;
    budget.set_limits(limits);
    cr_assert_eq(budget.take_call(101, false), "max_payload=100");
    auto one = std::make_unique<OpenCalls>(&budget.usage());
    OpenCalls two(&budget.usage());
    one->add(lookup(1), false);
    cr_assert_eq(budget.take_call(0, false), "");
    two.add(console(2), true);
    cr_assert_eq(budget.take_call(0, false), "concurrent_calls=2");
    cr_assert(two.end_call(with(console(2), Type::reply)));
    cr_assert_eq(budget.take_call(0, false), "");
    cr_assert_eq(budget.take_call(0, true), "concurrent_streams=1", "the stream is open now");
    two.end_stream(console(2));
    cr_assert_eq(budget.take_call(0, true), "");
    // A session that ends gives back what it had.
    one.reset();
    cr_assert_eq(budget.usage().calls, 0);
    cr_assert_eq(budget.usage().streams, 0);
}

Test(budget, makes_fast_streams_wait) {
    FakeClock clock;
    clock.advance(Milliseconds{1});
    Budget budget(clock);
    proto::policy::LimitSet limits;
    limits.stream_bytes_per_second = 1000;
    budget.set_limits(limits);
    cr_assert_eq(budget.take_stream(1000).count(), 0, "what one second brings is there");
    cr_assert_eq(budget.take_stream(500).count(), 500);
    clock.advance(Milliseconds{250});
    cr_assert_eq(budget.take_stream(0).count(), 250);
}
