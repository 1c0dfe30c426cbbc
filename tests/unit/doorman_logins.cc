// SPDX-License-Identifier: LGPL-2.1-or-later
// doorman_logins - visits, failures, UNIX clients and the server's own certificate; gates, broker and virtgate-sasl are
// played by the test.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>

#include "libshared/channel/local_listener.h"
#include "libshared/loop/fake_loop.h"
#include "libshared/rpc/error.h"
#include "netd/doorman/service.h"
#include "netd/doorman/x509_own.h"
#include "proto/broker.h"
#include "proto/codec.h"
#include "proto/exchange.h"
#include "proto/sasl.h"
#include "proto/supervise.h"
#include "tests/unit/pump.h"
#include "tests/unit/support/certificates.h"

using namespace virtgate;
using namespace virtgate::netd::doorman;
using virtgate::proto::config::LoginMode;
using virtgate::test::Certificate;
using virtgate::test::CertificateSpec;

namespace {

namespace door = proto::door;
namespace exchange = proto::exchange;
namespace sasl = proto::sasl;
namespace supervise = proto::supervise;

std::string g_log;

CertificateSpec named(const char* name, bool is_ca = false) {
    CertificateSpec spec;
    spec.subject = {{"2.5.4.3", name}};
    spec.is_ca = is_ca;
    return spec;
}

struct Packet {
    channel::Outcome outcome = channel::Outcome::blocked;
    rpc::Header header{};
    ByteVector payload;
    std::vector<UniqueFd> fds;
    [[nodiscard]] bool came() const { return outcome == channel::Outcome::done; }
    [[nodiscard]] int code() const {
        return header.status == rpc::Status::error ? rpc::read_error_code(payload) : 0;
    }
};

Packet receive(int socket) {
    static std::array<std::byte, channel::k_packet_max> buffer;
    Packet packet;
    channel::ReceivedFds fds;
    std::size_t size = 0;
    packet.outcome = channel::receive_packet(socket, buffer, size, &fds, 4);
    if (!packet.came()) return packet;
    packet.header = rpc::read_header(buffer.data());
    packet.payload.assign(buffer.begin() + rpc::k_frame_min, buffer.begin() + static_cast<long>(size));
    for (std::size_t i = 0; i < fds.count(); ++i) packet.fds.push_back(fds.take(i));
    return packet;
}

// Doorman, with every peer at the end of a socket.
struct Stage {
    explicit Stage(LoginMode tls, LoginMode tcp = LoginMode::login_off,
                   LoginMode local = LoginMode::login_off) {
        g_log.clear();
        set_log_sink([](Level, std::string_view line) noexcept { g_log.append(line).append("\n"); });
        static int g_stages = 0;
        directory = fmt::format("/tmp/virtgate-test-logins-{}-{}", getpid(), ++g_stages);
        broker_listener = std::move(*channel::LocalListener::open(
            directory + ".broker", {.type = SOCK_SEQPACKET, .mode = 0600, .backlog = 4, .group = {}}));
        config.broker_socket = broker_listener.path();
        config.tls = tls;
        config.tcp = tcp;
        config.local = local;
        Service::Listeners listeners;
        if (local != LoginMode::login_off) {
            local_listener = open_local(".local");
            read_only_listener = open_local(".local-ro");
            listeners.local = UniqueFd{dup(local_listener.get())};
            listeners.read_only = UniqueFd{dup(read_only_listener.get())};
        }
        auto pair = make_channel_pair();
        parent = std::move(pair->first);
        service =
            std::make_unique<Service>(loop, std::move(pair->second), *examiner, config, std::move(listeners));
        cr_assert(service->report_ready().has_value());
    }
    [[nodiscard]] channel::LocalListener open_local(const char* name) const {
        return std::move(*channel::LocalListener::open(
            directory + name, {.type = SOCK_STREAM, .mode = 0600, .backlog = 16, .group = {}}));
    }
    UniqueFd adopt(supervise::PeerRole role, std::uint32_t index = 0) {
        auto pair = make_channel_pair();
        const int theirs = pair->second.get();
        const auto frame = rpc::make_frame(
            rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::adopt),
            *proto::encode(supervise::AdoptArgs{.role = role, .index = index}));
        cr_assert_eq(channel::send_packet(parent.get(), frame, std::span(&theirs, 1)),
                     channel::Outcome::done);
        test::pump(loop);
        return std::move(pair->first);
    }
    void start_sasl(std::vector<std::string> below = {"SCRAM-SHA-256", "GSSAPI"},
                    std::vector<std::string> layer = {"GSSAPI"}) {
        sasl_process = adopt(supervise::PeerRole::peer_sasl);
        const Packet question = receive(sasl_process.get());
        cr_assert(question.came());
        reply(sasl_process.get(), question.header,
              sasl::MechanismsRet{.below_encryption = std::move(below), .with_layer = std::move(layer)});
    }
    template <class Answer>
    void reply(int socket, const rpc::Header& question, const Answer& answer, std::span<const int> fds = {}) {
        const auto frame = rpc::make_frame(rpc::reply_to(question), *proto::encode(answer));
        cr_assert_eq(channel::send_packet(socket, frame, fds), channel::Outcome::done);
        test::pump(loop);
    }
    void reply_error(int socket, const rpc::Header& question, int code, const char* text) {
        cr_assert_eq(channel::send_packet(socket, rpc::make_error_reply(question, code, text)),
                     channel::Outcome::done);
        test::pump(loop);
    }
    template <class Args>
    Packet ask(int gate, door::Procedure procedure, const Args& arguments) {
        const auto frame = rpc::make_frame(
            rpc::make_call(door::k_program, door::k_version, procedure, ++serial), *proto::encode(arguments));
        cr_assert_eq(channel::send_packet(gate, frame), channel::Outcome::done);
        test::pump(loop);
        return receive(gate);
    }
    // A client without a certificate; the visit that it gets.
    std::uint64_t enter(int gate, const char* listener = "tls", const char* source = "192.0.2.7") {
        const Packet answer = ask(gate, door::Procedure::enter,
                                  door::EnterArgs{.source = source,
                                                  .source_port = 9,
                                                  .strength = listener[1] == 'l' ? 256U : 0U,
                                                  .listener = listener});
        const auto entered = proto::decode<door::AdmitRet>(answer.payload);
        cr_assert(answer.came() && entered && entered->login && !entered->grant);
        offered = entered->login->mechanisms;
        return entered->login->id;
    }
    Packet start(int gate, std::uint64_t visit, const char* mechanism = "SCRAM-SHA-256") {
        return ask(
            gate, door::Procedure::start,
            door::StartArgs{.visit = visit, .mechanism = mechanism, .data = door::Token{std::byte{1}}});
    }
    Packet step(int gate, std::uint64_t visit) {
        return ask(gate, door::Procedure::step, door::StepArgs{.visit = visit, .data = {}});
    }
    // The channel of the exchange that virtgate-sasl was asked for.
    UniqueFd take_exchange() {
        Packet packet = receive(sasl_process.get());
        cr_assert(packet.came() && packet.fds.size() == 1);
        described = *proto::decode<sasl::ExchangeArgs>(packet.payload);
        return std::move(packet.fds.front());
    }
    // Answers the exchange's open question.
    void say(int exchange_end, const exchange::ExchangeRet& answer, std::span<const int> fds = {}) {
        const Packet question = receive(exchange_end);
        cr_assert(question.came());
        reply(exchange_end, question.header, answer, fds);
    }
    void refuse(int exchange_end) {
        const Packet question = receive(exchange_end);
        cr_assert(question.came());
        reply_error(exchange_end, question.header, rpc::k_code_auth_failed, "user not found");
    }
    Packet take_broker_question() {
        if (!broker) broker = UniqueFd{accept4(broker_listener.get(), nullptr, nullptr, SOCK_NONBLOCK)};
        test::pump(loop);
        return receive(broker.get());
    }
    UniqueFd grant(const Packet& question) {
        auto session = make_channel_pair();
        const int theirs = session->second.get();
        reply(broker.get(), question.header, proto::who::SessionGrant{.session = 17, .identity = "ops"},
              std::span(&theirs, 1));
        return std::move(session->first);
    }
    bool is_ready() {
        const Packet packet = receive(parent.get());
        return packet.came() &&
               packet.header.procedure == static_cast<std::uint32_t>(supervise::Procedure::ready);
    }

    Certificate ca{named("Test CA", true), nullptr}, server{named("server"), &ca},
        client{named("alice"), &ca};
    proto::config::DoormanConfig config = test::doorman_config(ca, server);
    std::vector<std::string> warnings;
    Result<Examiner> examiner = Examiner::make(config, warnings);
    loop::FakeLoop loop;
    std::string directory;
    channel::LocalListener broker_listener, local_listener, read_only_listener;
    UniqueFd parent, broker, sasl_process;
    std::unique_ptr<Service> service;
    std::uint32_t serial = 0;
    std::string offered;
    sasl::ExchangeArgs described;
};

bool is_closed(int socket) {
    std::byte buffer[64];
    std::size_t size = 0;
    return channel::receive_packet(socket, buffer, size) == channel::Outcome::closed;
}

bool logged(std::string_view part) { return g_log.find(part) != std::string::npos; }

}  // namespace

Test(logins, wait_for_the_mechanisms) {
    Stage stage(LoginMode::login_sasl);
    cr_assert(!stage.is_ready());
    stage.start_sasl();
    cr_assert(stage.is_ready());
    Stage other(LoginMode::login_direct);
    cr_assert(other.is_ready(), "nobody logs in there");
}

Test(logins, need_a_mechanism) {
    Stage stage(LoginMode::login_direct, LoginMode::login_sasl);
    stage.start_sasl({"SCRAM-SHA-256"}, {});
    cr_assert_eq(stage.service->status(), 78);
    cr_assert(logged("none of the configured SASL mechanisms can encrypt"), "%s", g_log.c_str());
}

Test(logins, end_with_a_session_of_the_name_that_was_proved) {
    Stage stage(LoginMode::login_sasl);
    stage.start_sasl();
    const UniqueFd gate = stage.adopt(supervise::PeerRole::peer_gate);
    const auto visit = stage.enter(gate.get());
    cr_assert_eq(stage.offered, "SCRAM-SHA-256,GSSAPI");
    cr_assert(!stage.start(gate.get(), visit).came());
    const UniqueFd process = stage.take_exchange();
    cr_assert_eq(stage.described.strength, 256);
    cr_assert(!stage.described.needs_layer);
    cr_assert_eq(stage.described.remote, "192.0.2.7;9");
    stage.say(process.get(),
              {.complete = false, .data = door::Token{std::byte{5}}, .name = {}, .strength = 0});
    const auto first = proto::decode<door::StepRet>(receive(gate.get()).payload);
    cr_assert(!first->complete && !first->grant && first->data->front() == std::byte{5});
    cr_assert(!stage.step(gate.get(), visit).came());
    stage.say(process.get(), {.complete = true, .data = {}, .name = "alice", .strength = 0});
    const Packet question = stage.take_broker_question();
    const auto who = proto::decode<proto::who::Who>(question.payload);
    cr_assert_eq(who->login->name, "alice");
    cr_assert_eq(who->login->mechanism, "SCRAM-SHA-256");
    cr_assert(!who->certificate && !who->local);
    cr_assert_eq(who->source, "192.0.2.7");
    cr_assert_eq(who->strength, 256);
    const UniqueFd session = stage.grant(question);
    const Packet last = receive(gate.get());
    const auto answer = proto::decode<door::StepRet>(last.payload);
    cr_assert(answer->complete && answer->grant->identity == "ops" && !answer->data);
    cr_assert_eq(last.fds.size(), 1);
    cr_assert(is_closed(process.get()), "the exchange goes on");
    cr_assert(logged("client admitted: 192.0.2.7 port 9, alice with SCRAM-SHA-256: session 17 as ops"));
    cr_assert_eq(stage.step(gate.get(), visit).code(), rpc::k_code_operation_failed, "the visit is over");
}

Test(logins, pass_on_a_layer_for_plain_tcp_only) {
    for (const unsigned strength : {256U, 0U}) {
        Stage stage(LoginMode::login_direct, LoginMode::login_sasl);
        stage.start_sasl();
        const UniqueFd gate = stage.adopt(supervise::PeerRole::peer_gate);
        const auto visit = stage.enter(gate.get(), "tcp");
        cr_assert_eq(stage.offered, "GSSAPI");
        static_cast<void>(stage.start(gate.get(), visit, "GSSAPI"));
        const UniqueFd process = stage.take_exchange();
        cr_assert(stage.described.needs_layer);
        int ends[2];
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        const UniqueFd one{ends[0]}, two{ends[1]};
        stage.say(process.get(),
                  {.complete = true, .data = door::Token{}, .name = "bob@EXAMPLE.ORG", .strength = strength},
                  std::span(ends, strength != 0 ? 1 : 0));
        if (strength == 0) {
            // An exchange that ends without a layer where one is needed lets nobody in.
            stage.loop.advance(Milliseconds{0});
            cr_assert_eq(receive(gate.get()).code(), rpc::k_code_auth_failed);
            continue;
        }
        const UniqueFd session = stage.grant(stage.take_broker_question());
        cr_assert_eq(receive(gate.get()).fds.size(), 2);
    }
}

Test(logins, are_refused_late_and_later_and_at_last_not_heard) {
    Stage stage(LoginMode::login_sasl);
    stage.config.logins.tries = 100;
    stage.start_sasl();
    const UniqueFd gate = stage.adopt(supervise::PeerRole::peer_gate);
    // Three tries a visit, five failures a source; see doorman_config().
    const int late[] = {1000, 2000, 4000, 4000, 4000};
    std::uint64_t visit = stage.enter(gate.get());
    for (int i = 0; i < 5; ++i) {
        if (i == 3) visit = stage.enter(gate.get());
        static_cast<void>(stage.start(gate.get(), visit));
        const UniqueFd process = stage.take_exchange();
        stage.refuse(process.get());
        cr_assert(is_closed(process.get()));
        stage.loop.advance(Milliseconds{late[i] - 1});
        cr_assert(!receive(gate.get()).came(), "failure %d was answered too early", i);
        stage.loop.advance(Milliseconds{1});
        cr_assert_eq(receive(gate.get()).code(),
                     i == 2 ? rpc::k_code_operation_failed : rpc::k_code_auth_failed);
    }
    cr_assert(logged("login failed: 192.0.2.7 port 9, SCRAM-SHA-256: user not found"), "%s", g_log.c_str());
    // Now nothing is looked at, whatever the client says; it cannot tell.
    static_cast<void>(stage.start(gate.get(), visit));
    cr_assert(!receive(stage.sasl_process.get()).came(), "an exchange was begun");
    stage.loop.advance(Milliseconds{4000});
    cr_assert(receive(gate.get()).came());
    // Another source is not concerned, and after the window all is well again.
    const auto other = stage.enter(gate.get(), "tls", "192.0.2.8");
    static_cast<void>(stage.start(gate.get(), other));
    cr_assert(receive(stage.sasl_process.get()).came());
    stage.loop.advance(Milliseconds{60000});
    const auto later = stage.enter(gate.get());
    static_cast<void>(stage.start(gate.get(), later));
    cr_assert(receive(stage.sasl_process.get()).came());
}

Test(logins, of_users_whom_the_policy_does_not_know_look_like_wrong_passwords) {
    Stage stage(LoginMode::login_sasl);
    stage.start_sasl();
    const UniqueFd gate = stage.adopt(supervise::PeerRole::peer_gate);
    const auto visit = stage.enter(gate.get());
    static_cast<void>(stage.start(gate.get(), visit));
    const UniqueFd process = stage.take_exchange();
    stage.say(process.get(), {.complete = true, .data = {}, .name = "mallory", .strength = 0});
    const Packet question = stage.take_broker_question();
    stage.reply_error(stage.broker.get(), question.header, rpc::k_code_access_denied, "no identity");
    stage.loop.advance(Milliseconds{999});
    cr_assert(!receive(gate.get()).came());
    stage.loop.advance(Milliseconds{1});
    const Packet answer = receive(gate.get());
    cr_assert_eq(answer.code(), rpc::k_code_auth_failed);
    cr_assert_eq(rpc::read_error_text(answer.payload), "authentication failed");
}

Test(logins, refuse_mechanisms_and_names_that_are_not_right) {
    Stage stage(LoginMode::login_sasl);
    stage.start_sasl();
    const UniqueFd gate = stage.adopt(supervise::PeerRole::peer_gate);
    auto visit = stage.enter(gate.get());
    static_cast<void>(stage.start(gate.get(), visit, "PLAIN"));
    cr_assert(!receive(stage.sasl_process.get()).came());
    stage.loop.advance(Milliseconds{1000});
    cr_assert_eq(receive(gate.get()).code(), rpc::k_code_auth_failed);
    for (const char* name : {"", "a\nb", "a\x7f"}) {
        visit = stage.enter(gate.get(), "tls", "192.0.2.9");
        static_cast<void>(stage.start(gate.get(), visit));
        const UniqueFd process = stage.take_exchange();
        stage.say(process.get(), {.complete = true, .data = {}, .name = name, .strength = 0});
        stage.loop.advance(Milliseconds{4000});
        cr_assert_eq(receive(gate.get()).code(), rpc::k_code_auth_failed);
    }
}

Test(logins, survive_the_death_of_an_exchange_at_any_step) {
    Stage stage(LoginMode::login_sasl);
    stage.start_sasl();
    const UniqueFd gate = stage.adopt(supervise::PeerRole::peer_gate);
    auto visit = stage.enter(gate.get());
    static_cast<void>(stage.start(gate.get(), visit));
    stage.take_exchange().reset();
    test::pump(stage.loop);
    stage.loop.advance(Milliseconds{1000});
    cr_assert_eq(receive(gate.get()).code(), rpc::k_code_auth_failed);
    // Between two tokens: the next question gets the answer.
    static_cast<void>(stage.start(gate.get(), visit));
    UniqueFd process = stage.take_exchange();
    stage.say(process.get(), {.complete = false, .data = {}, .name = {}, .strength = 0});
    cr_assert(receive(gate.get()).came());
    process.reset();
    test::pump(stage.loop);
    cr_assert(!receive(gate.get()).came());
    static_cast<void>(stage.step(gate.get(), visit));
    stage.loop.advance(Milliseconds{2000});
    cr_assert_eq(receive(gate.get()).code(), rpc::k_code_auth_failed);
    // No process at all.
    stage.sasl_process.reset();
    test::pump(stage.loop);
    cr_assert_eq(stage.start(gate.get(), visit).code(), rpc::k_code_operation_failed,
                 "the third try is the last");
}

Test(logins, are_bounded_in_number_and_time) {
    Stage stage(LoginMode::login_sasl);
    stage.start_sasl();
    const UniqueFd gate = stage.adopt(supervise::PeerRole::peer_gate);
    std::vector<UniqueFd> processes;
    std::uint64_t first = 0;
    for (int i = 0; i < 8; ++i) {
        const auto visit = stage.enter(gate.get());
        if (i == 0) first = visit;
        static_cast<void>(stage.start(gate.get(), visit));
        processes.push_back(stage.take_exchange());
    }
    const auto visit = stage.enter(gate.get());
    cr_assert_eq(stage.start(gate.get(), visit).code(), rpc::k_code_auth_failed, "a ninth exchange");
    // LEAVE frees one.
    const auto leave =
        rpc::make_frame(rpc::make_message(door::k_program, door::k_version, door::Procedure::leave),
                        *proto::encode(door::LeaveArgs{.visit = first}));
    cr_assert_eq(channel::send_packet(gate.get(), leave), channel::Outcome::done);
    test::pump(stage.loop);
    static_cast<void>(receive(processes.front().get()));
    cr_assert(is_closed(processes.front().get()));
    static_cast<void>(stage.start(gate.get(), visit));
    cr_assert(receive(stage.sasl_process.get()).came());
    // A gate that never says that a client left does not keep it for ever.
    stage.loop.advance(Milliseconds{stage.config.login + 15000});
    static_cast<void>(receive(processes.back().get()));
    cr_assert(is_closed(processes.back().get()));
}

// Whoever begins logins and does not go on with them takes places from himself, not from others.
Test(logins, that_wait_make_room_for_others) {
    Stage stage(LoginMode::login_sasl);
    stage.start_sasl();
    const UniqueFd gate = stage.adopt(supervise::PeerRole::peer_gate);
    std::vector<UniqueFd> processes;
    std::vector<std::uint64_t> visits;
    const auto begin = [&](const char* source) {
        visits.push_back(stage.enter(gate.get(), "tls", source));
        cr_assert(!stage.start(gate.get(), visits.back()).came());
        processes.push_back(stage.take_exchange());
        stage.say(processes.back().get(), {.complete = false, .data = {}, .name = {}, .strength = 0});
        cr_assert(receive(gate.get()).came());
    };
    begin("192.0.2.1");
    for (int i = 1; i < 8; ++i) begin("192.0.2.7");
    begin("192.0.2.9");
    cr_assert(is_closed(processes[1].get()), "the oldest of the source that holds most");
    cr_assert(!is_closed(processes[0].get()), "the oldest of all, of another source");
    begin("192.0.2.7");
    cr_assert(is_closed(processes[2].get()), "its own, too");
    cr_assert(logged("login of 192.0.2.7 port 9 with SCRAM-SHA-256 has to make room"), "%s", g_log.c_str());
    // The others go on; the one that had to go hears that it failed.
    cr_assert(!stage.step(gate.get(), visits[0]).came());
    cr_assert(receive(processes[0].get()).came());
    static_cast<void>(stage.step(gate.get(), visits[1]));
    stage.loop.advance(Milliseconds{1000});
    cr_assert_eq(receive(gate.get()).code(), rpc::k_code_auth_failed);
}

Test(logins, belong_to_their_gate) {
    Stage stage(LoginMode::login_sasl);
    stage.start_sasl();
    const UniqueFd one = stage.adopt(supervise::PeerRole::peer_gate, 0),
                   two = stage.adopt(supervise::PeerRole::peer_gate, 1);
    const auto visit = stage.enter(one.get());
    cr_assert_eq(stage.start(two.get(), visit).code(), rpc::k_code_operation_failed);
    cr_assert(!receive(stage.sasl_process.get()).came());
}

Test(logins, close_the_channel_of_a_gate_that_lies) {
    Stage stage(LoginMode::login_both);
    stage.start_sasl();
    UniqueFd gate = stage.adopt(supervise::PeerRole::peer_gate);
    const auto is_hung_up = [&] {
        while (receive(gate.get()).came()) {
        }
        const bool closed = is_closed(gate.get());
        gate = stage.adopt(supervise::PeerRole::peer_gate);
        return closed;
    };
    // Both are asked for, and it lets somebody in without a certificate.
    static_cast<void>(stage.ask(
        gate.get(), door::Procedure::enter,
        door::EnterArgs{.source = "192.0.2.7", .source_port = 9, .strength = 256, .listener = "tls"}));
    cr_assert(is_hung_up());
    for (const char* listener : {"tcp", "unix", ""}) {
        static_cast<void>(stage.ask(
            gate.get(), door::Procedure::enter,
            door::EnterArgs{.source = "192.0.2.7", .source_port = 9, .strength = 0, .listener = listener}));
        cr_assert(is_hung_up(), "%s", listener);
    }
    Stage plain(LoginMode::login_sasl);
    plain.start_sasl();
    UniqueFd other = plain.adopt(supervise::PeerRole::peer_gate);
    // STEP first, and START while the first is not answered.
    auto visit = plain.enter(other.get());
    static_cast<void>(plain.step(other.get(), visit));
    cr_assert(is_closed(other.get()));
    other = plain.adopt(supervise::PeerRole::peer_gate);
    visit = plain.enter(other.get());
    static_cast<void>(plain.start(other.get(), visit));
    static_cast<void>(plain.start(other.get(), visit));
    cr_assert(is_closed(other.get()));
    // TLS without encryption, and plain TCP with.
    other = plain.adopt(supervise::PeerRole::peer_gate);
    static_cast<void>(plain.ask(
        other.get(), door::Procedure::enter,
        door::EnterArgs{.source = "192.0.2.7", .source_port = 9, .strength = 0, .listener = "tls"}));
    cr_assert(is_closed(other.get()));
}

namespace {

// A client of the stage's UNIX socket.
UniqueFd connect_to(const channel::LocalListener& listener) {
    UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::copy(listener.path().begin(), listener.path().end(), address.sun_path);
    cr_assert_eq(connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return socket;
}

}  // namespace

Test(local, clients_are_whom_the_kernel_says) {
    Stage stage(LoginMode::login_direct, LoginMode::login_off, LoginMode::login_direct);
    const UniqueFd one = stage.adopt(supervise::PeerRole::peer_gate, 0),
                   two = stage.adopt(supervise::PeerRole::peer_gate, 1);
    int gates_used = 0;
    for (const bool read_only : {false, true}) {
        const UniqueFd client = connect_to(read_only ? stage.read_only_listener : stage.local_listener);
        test::pump(stage.loop);
        const Packet question = stage.take_broker_question();
        const auto who = proto::decode<proto::who::Who>(question.payload);
        cr_assert_eq(who->local->uid, getuid());
        cr_assert_eq(who->local->gid, getgid());
        cr_assert_eq(who->local->pid, static_cast<std::uint32_t>(getpid()));
        cr_assert_eq(who->read_only, read_only);
        cr_assert_eq(who->listener, read_only ? "unix-ro" : "unix");
        cr_assert_eq(who->source, "");
        const UniqueFd session = stage.grant(question);
        for (const int gate : {one.get(), two.get()}) {
            const Packet arrival = receive(gate);
            if (!arrival.came()) continue;
            ++gates_used;
            const auto arrived = proto::decode<door::ArriveArgs>(arrival.payload);
            cr_assert(arrived->grant && !arrived->login);
            cr_assert_eq(arrived->uid, getuid());
            cr_assert_eq(arrival.fds.size(), 2);
            // The first is the client's connection.
            cr_assert_eq(::send(arrival.fds[0].get(), "x", 1, 0), 1);
            char byte = 0;
            cr_assert_eq(recv(client.get(), &byte, 1, 0), 1);
        }
    }
    cr_assert_eq(gates_used, 2);
}

Test(local, clients_whom_the_policy_does_not_know_are_closed_or_log_in) {
    for (const LoginMode mode : {LoginMode::login_direct, LoginMode::login_either}) {
        Stage stage(LoginMode::login_direct, LoginMode::login_off, mode);
        if (mode == LoginMode::login_either) stage.start_sasl();
        const UniqueFd gate = stage.adopt(supervise::PeerRole::peer_gate, 0);
        const UniqueFd client = connect_to(stage.local_listener);
        test::pump(stage.loop);
        const Packet question = stage.take_broker_question();
        stage.reply_error(stage.broker.get(), question.header, rpc::k_code_access_denied, "no identity");
        const Packet arrival = receive(gate.get());
        char byte = 0;
        if (mode == LoginMode::login_direct) {
            const auto turned_away = proto::decode<door::ArriveArgs>(arrival.payload);
            cr_assert(!turned_away->grant && !turned_away->login && turned_away->refusal);
            cr_assert_eq(arrival.fds.size(), 1, "the gate tells it so");
            cr_assert_eq(recv(client.get(), &byte, 1, MSG_DONTWAIT), -1);
            continue;
        }
        const auto arrived = proto::decode<door::ArriveArgs>(arrival.payload);
        cr_assert(!arrived->grant && arrived->login && arrival.fds.size() == 1);
        // What is proved then counts together with what the kernel said.
        static_cast<void>(stage.start(gate.get(), arrived->login->id));
        const UniqueFd process = stage.take_exchange();
        cr_assert(!stage.described.needs_layer, "nobody listens on a UNIX socket");
        stage.say(process.get(), {.complete = true, .data = {}, .name = "alice", .strength = 0});
        const auto who = proto::decode<proto::who::Who>(stage.take_broker_question().payload);
        cr_assert(who->local && who->login);
    }
}

Test(local, nobody_is_accepted_after_drain) {
    Stage stage(LoginMode::login_direct, LoginMode::login_off, LoginMode::login_direct);
    const UniqueFd gate = stage.adopt(supervise::PeerRole::peer_gate, 0);
    const auto drain = rpc::make_frame(
        rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::drain), {});
    cr_assert_eq(channel::send_packet(stage.parent.get(), drain), channel::Outcome::done);
    test::pump(stage.loop);
    const UniqueFd client = connect_to(stage.local_listener);
    test::pump(stage.loop);
    cr_assert_eq(accept4(stage.broker_listener.get(), nullptr, nullptr, SOCK_NONBLOCK), -1);
    // It waits for whoever serves the socket next.
    cr_assert_geq(accept4(stage.local_listener.get(), nullptr, nullptr, SOCK_NONBLOCK), 0);
}

Test(certificates, alone_or_with_a_login) {
    struct Row {
        LoginMode mode;
        int broker_code;  // 0: grant
        bool visit;
    };
    const Row rows[] = {{LoginMode::login_both, -1, true},
                        {LoginMode::login_either, 0, false},
                        {LoginMode::login_either, rpc::k_code_access_denied, true},
                        {LoginMode::login_direct, 0, false}};
    for (const Row& row : rows) {
        Stage stage(row.mode);
        if (row.mode != LoginMode::login_direct) stage.start_sasl();
        const UniqueFd gate = stage.adopt(supervise::PeerRole::peer_gate);
        const auto nonces = proto::decode<door::NoncesRet>(
            stage.ask(gate.get(), door::Procedure::nonces, door::NoncesRet{}).payload);
        cr_assert(!nonces, "nonces have no arguments");
        const UniqueFd fresh = stage.adopt(supervise::PeerRole::peer_gate);
        cr_assert_eq(
            channel::send_packet(
                fresh.get(),
                rpc::make_frame(rpc::make_call(door::k_program, 1, door::Procedure::nonces, 900), {})),
            channel::Outcome::done);
        test::pump(stage.loop);
        const auto handed_out = proto::decode<door::NoncesRet>(receive(fresh.get()).payload);
        const auto proof = test::shake_hands(stage.server, stage.client.pem(), stage.client.key_pem(),
                                             handed_out->nonces.front());
        Packet answer = stage.ask(fresh.get(), door::Procedure::admit,
                                  door::AdmitArgs{.transcript = proof.transcript,
                                                  .certificate_verify = proof.certificate_verify,
                                                  .source = "192.0.2.7",
                                                  .source_port = 9});
        UniqueFd session;
        if (row.broker_code >= 0) {
            cr_assert(!answer.came());
            const Packet question = stage.take_broker_question();
            if (row.broker_code == 0)
                session = stage.grant(question);
            else
                stage.reply_error(stage.broker.get(), question.header, row.broker_code, "no identity");
            answer = receive(fresh.get());
        }
        const auto decided = proto::decode<door::AdmitRet>(answer.payload);
        cr_assert_eq(decided->login.has_value(), row.visit);
        cr_assert_eq(decided->grant.has_value(), !row.visit);
        cr_assert_eq(answer.fds.size(), row.visit ? 0 : 1);
        if (!row.visit) continue;
        static_cast<void>(stage.start(fresh.get(), decided->login->id));
        const UniqueFd process = stage.take_exchange();
        stage.say(process.get(), {.complete = true, .data = {}, .name = "alice", .strength = 0});
        const auto who = proto::decode<proto::who::Who>(stage.take_broker_question().payload);
        cr_assert(who->certificate && who->login);
        cr_assert_eq(who->certificate->subject[0].value, "alice");
    }
}

Test(certificates, that_are_revoked_are_reported_to_the_broker) {
    Certificate ca(named("Test CA", true), nullptr), server(named("server"), &ca), bad(named("bad"), &ca);
    auto config = test::doorman_config(ca, server);
    config.revoked = ca.revoke({&bad}, std::time(nullptr) + 3600);
    std::vector<std::string> warnings;
    const auto examiner = Examiner::make(config, warnings);
    cr_assert(examiner.has_value(), "%s", examiner ? "" : examiner.error().text.c_str());
    cr_assert_eq(examiner->revoked().size(), 1);
    cr_assert(examiner->revoked().front() == *identify(bad.get()));
    cr_assert(examiner->revoked().front() != *identify(server.get()));
}

Test(own, certificate_is_judged_before_it_is_used) {
    const auto ca_spec = named("Test CA", true);
    Certificate ca(ca_spec, nullptr), other(named("Other CA", true), nullptr);
    const auto authorities = Authorities::load(ca.pem(), "");
    struct Row {
        const char* name;
        CertificateSpec spec;
        const char* error;    // part of it; null: it is good
        const char* warning;  // part of it; null: none
    };
    CertificateSpec good = named("server"), expired = good, early = good, is_ca = named("server", true),
                    no_usage = good, client_only = good;
    expired.end = std::time(nullptr) - 60;
    early.begin = std::time(nullptr) + 600;
    no_usage.usage = GNUTLS_KEY_DIGITAL_SIGNATURE;
    client_only.purposes = {GNUTLS_KP_TLS_WWW_CLIENT};
    CertificateSpec nameless;
    nameless.subject = {{"2.5.4.10", "Organisation"}};
    const Row rows[] = {{"good", good, nullptr, nullptr},
                        {"expired", expired, "has expired, on ", nullptr},
                        {"early", early, "is not valid before ", nullptr},
                        {"a CA's", is_ca, "it is a CA's certificate", nullptr},
                        {"nameless", nameless, "it has no name", nullptr},
                        {"usage", no_usage, nullptr, "keyEncipherment"},
                        {"purpose", client_only, nullptr, "serverAuth"}};
    for (const Row& row : rows) {
        const Certificate certificate(row.spec, &ca);
        std::vector<std::string> warnings;
        const auto done = judge_own(certificate.pem(), *authorities, warnings);
        const std::string error = done ? "" : done.error().text;
        cr_assert_eq(done.has_value(), row.error == nullptr, "%s: %s", row.name, error.c_str());
        if (row.error != nullptr)
            cr_assert(error.find(row.error) != error.npos, "%s: %s", row.name, error.c_str());
        cr_assert_eq(warnings.size(), row.warning != nullptr ? 1U : 0U, "%s", row.name);
        if (row.warning != nullptr)
            cr_assert(warnings.front().find(row.warning) != std::string::npos, "%s", row.name);
    }
    // Another CA's is used with a warning; a chain in the wrong order is not.
    const Certificate foreign(good, &other);
    std::vector<std::string> warnings;
    cr_assert(judge_own(foreign.pem(), *authorities, warnings).has_value());
    cr_assert(warnings.front().find("does not come from the configured CA") != std::string::npos);
    cr_assert(!judge_own(foreign.pem() + ca.pem(), *authorities, warnings).has_value());
}
