// SPDX-License-Identifier: LGPL-2.1-or-later
// worker_reading - connections for reading, sessions that the broker ends, and the worker's channel.
#include <criterion/criterion.h>
#include <sys/socket.h>

#include <numeric>
#include <set>

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/programs.h"
#include "proto/work.h"
#include "tests/unit/pump.h"
#include "tests/unit/worker_stage.h"
#include "workerd/worker/worker.h"

using namespace virtgate;
using namespace virtgate::test;
using rpc::Status;
using rpc::Type;

namespace {

const Stage::Client k_reader{.identity = "alice", .is_local = true, .read_only = true};
constexpr std::uint32_t k_read_only = 1;

template <class T>
ByteVector encoded(const T& value = {}) {
    auto bytes = proto::encode(value);
    cr_assert(bytes.has_value());
    return *bytes;
}

}  // namespace

// ---- reading ----------------------------------------

Test(reading, is_forced_whatever_the_client_asks_for) {
    struct {
        Stage::Client client;
        std::uint32_t flags;
        bool reader;
    } const k_cases[] = {
        {k_reader, 0, true},
        {k_reader, k_read_only, true},
        {{.identity = "a"}, k_read_only, true},
        {{.identity = "a"}, 0, false},
        // Whom the policy only lets read ...
        {{.identity = "a", .rights = only("domain_get_info")}, 0, true},
        // ... or change something, or everything while it is on probation.
        {{.identity = "a", .rights = only("domain_create")}, 0, false},
        {{.identity = "a", .rights = only("domain_get_info"), .is_shadowed = true}, 0, false}};
    for (const auto& each : k_cases) {
        Stage stage(each.client);
        stage.send(call_header(Procedure::connect_open, 1), open_args("test:///default", each.flags));
        stage.accept();
        cr_assert_eq(stage.reader(), each.reader, "the wrong socket");
        stage.answer(with(stage.asked().header, Type::reply), words({0}));
        cr_assert(stage.asked().payload == open_args("test:///default", each.reader ? k_read_only : 0));
    }
}

Test(reading, refuses_what_libvirt_refuses_and_nothing_else) {
    for (const bool forced : {true, false}) {
        Stage stage(forced ? k_reader : Stage::Client{.identity = "a"});
        stage.open("test:///default", k_read_only);
        stage.send(call_header(Procedure::domain_create, 2), encoded<proto::remote::DomainCreateArgs>());
        expect_refusal(stage, 2, rpc::k_code_operation_denied,
                       "operation forbidden: read only access prevents domain_create");
        stage.send(lookup(3), lookup_args("demo"));
        cr_assert(stage.asked().header == lookup(3));
        const rpc::Header xml = call_header(Procedure::domain_get_xml_desc, 4);
        for (const std::uint32_t secure : {1U, 8U, 9U, 0xffffffffU}) {
            stage.send(xml, encoded(proto::remote::DomainGetXmlDescArgs{.domain = {}, .flags = secure}));
            expect_refusal(stage, 4, rpc::k_code_operation_denied,
                           "operation forbidden: read only access prevents domain_get_xml_desc");
        }
        for (const std::uint32_t harmless : {0U, 2U, 4U}) {
            stage.send(xml, encoded(proto::remote::DomainGetXmlDescArgs{.domain = {}, .flags = harmless}));
            cr_assert(stage.asked().header == xml);
        }
        const rpc::Header addresses = call_header(Procedure::domain_interface_addresses, 5);
        stage.send(addresses, encoded(proto::remote::DomainInterfaceAddressesArgs{
                                  .domain = {}, .source = 1, .flags = 0}));
        cr_assert_eq(error_code(stage.frame()), rpc::k_code_operation_denied);
        stage.send(addresses, encoded(proto::remote::DomainInterfaceAddressesArgs{
                                  .domain = {}, .source = 3, .flags = 0}));
        cr_assert(stage.asked().header == addresses);
        cr_assert(stage.read_all().empty());
    }
}

Test(reading, ends_with_the_attempt_to_open) {
    Stage stage;
    stage.send(call_header(Procedure::connect_open, 1), open_args("test:///absent", k_read_only));
    cr_assert_eq(error_code(stage.frame()), rpc::k_code_internal);
    stage.open("test:///default", 0);
    stage.send(call_header(Procedure::domain_create, 2), encoded<proto::remote::DomainCreateArgs>());
    cr_assert_eq(stage.asked().header.serial, 2);
}

Test(reading, lets_every_call_pass_that_the_schema_says_is_for_reading) {
    // What every client does before and between its calls has to be among them.
    std::set<std::string_view> allowed;
    const auto& remote = proto::remote_program();
    for (const auto& procedure : remote.procedures())
        if (procedure.kind == proto::ProcedureInfo::Kind::call &&
            procedure.readonly == proto::ReadOnly::allowed) {
            allowed.insert(procedure.name);
            cr_assert(workerd::worker::judge_reading(remote, procedure, {}).allowed);
        }
    for (const char* name : {"connect_open", "connect_close", "connect_supports_feature", "connect_get_uri",
                             "connect_get_lib_version", "connect_list_all_domains", "domain_get_state",
                             "connect_domain_event_callback_register_any", "connect_register_close_callback",
                             "connect_get_all_domain_stats", "node_get_info"})
        cr_assert(allowed.contains(name), "%s", name);
}

// ---- sessions that have to end ----------------------------------------

Test(dismissed, sessions_answer_what_is_open_and_leave_the_daemon) {
    Stage stage;
    stage.open();
    const rpc::Header stream = call_header(Procedure::domain_open_console, 5);
    stage.send(stream, console_args());
    static_cast<void>(stage.asked());
    stage.answer(with(stream, Type::reply));
    cr_assert_eq(stage.frame().header.serial, 5);
    stage.send(lookup(8), lookup_args("one"));
    stage.send(lookup(9), lookup_args("two"));
    static_cast<void>(stage.read_all());
    stage.session().dismiss("the certificate is bad");
    const std::string text = "the session was ended: the certificate is bad";
    for (const std::uint32_t serial : {8U, 9U})
        expect_refusal(stage, serial, rpc::k_code_access_denied, text);
    const Frame end = stage.frame();
    cr_assert(end.header == with(stream, Type::stream, Status::error));
    cr_assert_eq(error_text(end), text);
    cr_assert(stage.has_ended());
    std::byte byte;
    cr_assert_eq(recv(stage.daemon_.get(), &byte, 1, 0), 0);
    cr_assert_eq(recv(stage.client_.get(), &byte, 1, 0), 0);
}

Test(dismissed, sessions_end_in_every_state) {
    Stage waiting;
    waiting.session().dismiss("x");
    cr_assert(waiting.has_ended());

    Stage opening;
    opening.send(call_header(Procedure::connect_open, 1), open_args("test:///default"));
    opening.accept();
    opening.session().dismiss("x");
    expect_refusal(opening, 1, rpc::k_code_access_denied, "the session was ended: x");
    cr_assert(opening.has_ended());
    std::byte byte;
    while (recv(opening.daemon_.get(), &byte, 1, 0) > 0) continue;
    cr_assert_eq(recv(opening.daemon_.get(), &byte, 1, 0), 0);

    // Half a reply has gone: nothing that follows would be understood.
    Stage within;
    within.open();
    within.send(lookup(3), lookup_args("demo"));
    static_cast<void>(within.asked());
    const ByteVector reply = rpc::make_frame(with(lookup(3), Type::reply), filled(100'000));
    cr_assert_eq(within.write(ByteView(reply).first(50'000)), 50'000);
    within.pump();
    within.session().dismiss("x");
    cr_assert(within.has_ended());
}

Test(dismissed, sessions_do_not_wait_for_a_gate_that_does_not_read) {
    Stage stage;
    stage.open();
    for (std::uint32_t serial = 10; serial < 40; ++serial) {
        stage.send(lookup(serial), lookup_args("demo"));
        static_cast<void>(stage.read_all());
        static_cast<void>(stage.write(rpc::make_frame(with(lookup(serial), Type::reply), filled(16'000))));
        stage.pump();
    }
    stage.send(lookup(99), lookup_args("demo"));
    stage.pump();
    stage.session().dismiss("x");
    stage.pump();
    cr_assert(!stage.has_ended());
    stage.loop.advance(workerd::worker::Session::k_leave);
    stage.pump();
    cr_assert(stage.has_ended());
}

// ---- the worker's channel ----------------------------------------

namespace {

using WorkProcedure = proto::work::Procedure;

// A worker, with a broker that the test plays.
struct Shop {
    Shop() {
        auto pair = make_channel_pair();
        broker = std::move(pair->first);
        workerd::worker::Worker::Settings settings{.identity = "alice",
                                                   .uris = workerd::worker::UriTable({}, ""),
                                                   .upstream_timeout = Milliseconds{1000},
                                                   .sessions_max = 2000};
        worker =
            std::make_unique<workerd::worker::Worker>(loop, std::move(settings), std::move(pair->second));
        cr_assert_eq(hear().header.procedure, static_cast<std::uint32_t>(WorkProcedure::ready));
    }
    void say(WorkProcedure procedure, ByteView payload, std::span<const int> fds = {}) {
        const auto header =
            rpc::make_message(proto::work::k_program, proto::work::k_version, procedure, ++serial);
        cr_assert_eq(channel::send_packet(broker.get(), rpc::make_frame(header, payload), fds),
                     channel::Outcome::done);
        pump(loop);
    }
    // Returns the gate's end.
    UniqueFd serve(std::uint64_t number) {
        auto pair = make_channel_pair();
        const int end = pair->second.get();
        say(WorkProcedure::serve, encoded(proto::work::ServeArgs{.session = number, .client = {}}),
            {&end, 1});
        return std::move(pair->first);
    }
    Frame hear() {
        pump(loop);
        ByteVector buffer(channel::k_packet_max);
        std::size_t size = 0;
        cr_assert_eq(channel::receive_packet(broker.get(), buffer, size), channel::Outcome::done);
        return {rpc::read_header(buffer.data()),
                ByteVector(buffer.begin() + rpc::k_frame_min, buffer.begin() + static_cast<long>(size))};
    }
    std::vector<std::uint64_t> hear_ended() {
        const Frame frame = hear();
        cr_assert_eq(frame.header.procedure, static_cast<std::uint32_t>(WorkProcedure::ended));
        const auto ended = proto::decode<proto::work::EndedArgs>(frame.payload);
        cr_assert(ended.has_value());
        return ended->sessions;
    }

    loop::FakeLoop loop;
    UniqueFd broker;
    std::unique_ptr<workerd::worker::Worker> worker;
    std::uint32_t serial = 0;
};

bool is_closed(const UniqueFd& fd) {
    std::byte byte;
    return recv(fd.get(), &byte, 1, 0) == 0;
}

}  // namespace

Test(worker, ends_the_sessions_that_it_is_told_to_end) {
    Shop shop;
    const UniqueFd one = shop.serve(1), two = shop.serve(2), three = shop.serve(3);
    shop.say(WorkProcedure::end, encoded(proto::work::EndArgs{.sessions = {1, 3, 77}, .reason = "revoked"}));
    std::vector<std::uint64_t> ended = shop.hear_ended();
    std::sort(ended.begin(), ended.end());
    cr_assert((ended == std::vector<std::uint64_t>{1, 3}));
    cr_assert(is_closed(one) && is_closed(three));
    cr_assert(!is_closed(two));
    cr_assert_eq(shop.worker->sessions(), 1);
}

Test(worker, says_with_one_message_that_many_sessions_ended) {
    Shop shop;
    std::vector<UniqueFd> gates;
    for (std::uint64_t number = 1; number <= 40; ++number) gates.push_back(shop.serve(number));
    std::vector<std::uint64_t> all(40);
    std::iota(all.begin(), all.end(), 1);
    shop.say(WorkProcedure::end, encoded(proto::work::EndArgs{.sessions = all, .reason = "x"}));
    std::vector<std::uint64_t> ended = shop.hear_ended();
    std::sort(ended.begin(), ended.end());
    cr_assert(ended == all);
    gates.clear();
    cr_assert_eq(shop.worker->sessions(), 0);
}

Test(worker, keeps_a_session_whose_number_comes_twice) {
    Shop shop;
    const UniqueFd first = shop.serve(1), second = shop.serve(1);
    cr_assert((shop.hear_ended() == std::vector<std::uint64_t>{1}));
    cr_assert(is_closed(second));
    cr_assert(!is_closed(first));
}

Test(worker, serves_one_identity_and_never_another) {
    for (const bool is_own : {true, false}) {
        Shop shop;
        proto::policy::IdentityRights rights;
        rights.generation = 1;
        rights.identity = is_own ? "alice" : "bob";
        const ByteVector bytes = encoded(rights);
        const auto file = make_sealed_memfd("rights", bytes.data(), bytes.size());
        const int end = file->get();
        shop.say(WorkProcedure::rights, {}, {&end, 1});
        cr_assert_eq(shop.loop.stopped(), !is_own);
    }
}
