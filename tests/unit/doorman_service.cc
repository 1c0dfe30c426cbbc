// SPDX-License-Identifier: LGPL-2.1-or-later
// doorman_service - doorman between a supervisor, gates and a broker, all played by the test.
#include <criterion/criterion.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <deque>

#include "libshared/loop/fake_loop.h"
#include "libshared/rpc/error.h"
#include "netd/doorman/service.h"
#include "proto/codec.h"
#include "proto/supervise.h"
#include "tests/unit/support/certificates.h"

using namespace virtgate;
using namespace virtgate::netd::doorman;
using virtgate::test::Certificate;
using virtgate::test::CertificateSpec;

namespace {

namespace door = proto::door;

std::string g_log;

CertificateSpec named(const char* name, bool is_ca = false) {
    CertificateSpec spec;
    spec.subject = {{"2.5.4.3", name}};
    spec.is_ca = is_ca;
    return spec;
}

rpc::Header call(std::uint32_t program, std::uint32_t procedure, std::uint32_t serial) {
    return {program, 1, procedure, rpc::Type::call, serial, rpc::Status::ok};
}

struct Packet {
    channel::Outcome outcome = channel::Outcome::blocked;
    rpc::Header header;
    ByteVector payload;
    UniqueFd fd;
};

Packet receive(int socket) {
    static std::array<std::byte, channel::k_packet_max> buffer;
    Packet packet;
    channel::ReceivedFds fds;
    std::size_t size = 0;
    packet.outcome = channel::receive_packet(socket, buffer, size, &fds, 1);
    if (packet.outcome != channel::Outcome::done) return packet;
    packet.header = rpc::read_header(buffer.data());
    packet.payload.assign(buffer.begin() + rpc::k_frame_min, buffer.begin() + static_cast<long>(size));
    if (fds.count() != 0) packet.fd = fds.take(0);
    return packet;
}

void send(int socket, const rpc::Header& header, ByteView payload, std::span<const int> fds = {}) {
    cr_assert_eq(channel::send_packet(socket, rpc::make_frame(header, payload), fds), channel::Outcome::done);
}

// Doorman and its surroundings.
struct Stage {
    Stage() {
        set_log_sink([](Level, std::string_view line) noexcept { g_log.append(line).append("\n"); });
        path = fmt::format("/tmp/virtgate-test-broker-{}", getpid());
        unlink(path.c_str());
        auto pair = make_channel_pair();
        parent = std::move(pair->first);
        config.broker_socket = path;
        service =
            std::make_unique<Service>(loop, std::move(pair->second), *examiner, config, Service::Listeners{});
    }
    ~Stage() { unlink(path.c_str()); }

    // Delivers everything that is ready, until nothing is.
    void settle() {
        for (bool again = true; again;) {
            again = false;
            loop.advance(Milliseconds{0});
            for (int fd = 3; fd < 128; ++fd) {
                pollfd p{fd, POLLIN, 0};
                if (has(loop.wanted(fd), loop::Want::read) && poll(&p, 1, 0) > 0 &&
                    loop.ready(fd, loop::Want::read) > 0)
                    again = true;
            }
        }
    }
    void start_broker() {
        listener = UniqueFd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0)};
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::copy(path.begin(), path.end(), address.sun_path);
        unlink(path.c_str());
        cr_assert_eq(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        cr_assert_eq(listen(listener.get(), 4), 0);
    }
    void accept_broker() {
        broker = UniqueFd{accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK)};
        cr_assert(static_cast<bool>(broker), "doorman did not connect");
        settle();
    }
    UniqueFd adopt(std::uint32_t index) {
        auto pair = make_channel_pair();
        const auto payload =
            proto::encode(proto::supervise::AdoptArgs{proto::supervise::PeerRole::peer_gate, index});
        send(parent.get(), {proto::supervise::k_program, 1, 1, rpc::Type::message, 0, rpc::Status::ok},
             *payload, std::array{pair->second.get()});
        settle();
        return std::move(pair->first);
    }
    std::vector<Nonces::Nonce> ask_nonces(int gate) {
        send(gate, call(door::k_program, 1, 1), {});
        settle();
        const Packet packet = receive(gate);
        cr_assert_eq(packet.outcome, channel::Outcome::done);
        return proto::decode<door::NoncesRet>(packet.payload)->nonces;
    }
    // Makes a handshake with one of the gate's nonces and sends ADMIT.
    void ask_admit(int gate, std::uint32_t serial, const Certificate& as) {
        const auto nonce = ask_nonces(gate).front();
        const auto proof = test::shake_hands(server, as.pem(), as.key_pem(), nonce);
        door::AdmitArgs arguments;
        arguments.transcript = proof.transcript;
        arguments.certificate_verify = proof.certificate_verify;
        arguments.source = "192.0.2.7";
        arguments.source_port = 99;
        send(gate, call(door::k_program, 2, serial), *proto::encode(arguments));
        settle();
    }
    // Grants what the broker is asked; returns the session's other end.
    UniqueFd grant(const Packet& question) {
        auto session = make_channel_pair();
        proto::who::SessionGrant grant;
        grant.session = 17;
        grant.identity = "operators";
        send(broker.get(), rpc::reply_to(question.header), *proto::encode(grant),
             std::array{session->second.get()});
        settle();
        return std::move(session->first);
    }

    Certificate ca{named("Test CA", true), nullptr}, other_ca{named("Other CA", true), nullptr};
    Certificate server{named("server"), &ca}, client{named("alice"), &ca},
        stranger{named("mal\nlory"), &other_ca};
    proto::config::DoormanConfig config = test::doorman_config(ca, server);
    std::vector<std::string> warnings;
    Result<Examiner> examiner = Examiner::make(config, warnings);
    loop::FakeLoop loop;
    std::string path;
    UniqueFd parent, listener, broker;
    std::unique_ptr<Service> service;
};

bool is_closed(int socket) {
    std::byte buffer[64];
    std::size_t size = 0;
    return channel::receive_packet(socket, buffer, size) == channel::Outcome::closed;
}

std::string error_of(const Packet& packet) {
    return packet.header.status == rpc::Status::error ? rpc::read_error_text(packet.payload) : "";
}

}  // namespace

Test(doorman, passes_the_brokers_session_to_the_gate) {
    Stage stage;
    stage.start_broker();
    const UniqueFd gate = stage.adopt(3);
    cr_assert_eq(stage.ask_nonces(gate.get()).size(), door::k_nonces_max);
    stage.ask_admit(gate.get(), 5, stage.client);
    stage.accept_broker();
    const Packet question = receive(stage.broker.get());
    cr_assert_eq(question.header.program, 0x56470004);
    const auto who = proto::decode<proto::who::Who>(question.payload);
    cr_assert_eq(who->certificate->subject[0].value, "alice");
    cr_assert_eq(who->source, "192.0.2.7");
    const UniqueFd session = stage.grant(question);
    Packet answer = receive(gate.get());
    cr_assert(answer.header == rpc::reply_to(call(door::k_program, 2, 5)));
    cr_assert_eq(proto::decode<door::AdmitRet>(answer.payload)->grant->identity, "operators");
    cr_assert(static_cast<bool>(answer.fd));
    // The gate has the only copy: when it closes it, the session ends.
    cr_assert_eq(channel::send_packet(answer.fd.get(), as_bytes("hello")), channel::Outcome::done);
    answer.fd.reset();
    std::byte buffer[64];
    std::size_t size = 0;
    cr_assert_eq(channel::receive_packet(session.get(), buffer, size), channel::Outcome::done);
    cr_assert(is_closed(session.get()));
    cr_assert(g_log.find("client admitted: 192.0.2.7 port 99, \"CN=alice\": session 17 as operators") !=
              g_log.npos);
}

Test(doorman, refuses_strangers_without_asking_the_broker) {
    Stage stage;
    stage.start_broker();
    const UniqueFd gate = stage.adopt(0);
    stage.ask_admit(gate.get(), 5, stage.stranger);
    const Packet answer = receive(gate.get());
    cr_assert_eq(answer.header.serial, 5);
    cr_assert(!error_of(answer).empty());
    cr_assert(!answer.fd);
    cr_assert_eq(accept4(stage.listener.get(), nullptr, nullptr, SOCK_NONBLOCK), -1, "the broker was asked");
    // One line, with the name that was presented made harmless.
    cr_assert(g_log.find("client refused: 192.0.2.7 port 99, \"CN=mal\\x0alory\": ") != g_log.npos, "%s",
              g_log.c_str());
}

Test(doorman, passes_on_the_brokers_refusal) {
    Stage stage;
    stage.start_broker();
    const UniqueFd gate = stage.adopt(0);
    stage.ask_admit(gate.get(), 5, stage.client);
    stage.accept_broker();
    const Packet question = receive(stage.broker.get());
    rpc::Header header = rpc::reply_to(question.header, rpc::Status::error);
    send(stage.broker.get(), header, rpc::make_error_payload(88, "no identity matches"));
    stage.settle();
    cr_assert_eq(error_of(receive(gate.get())), "no identity matches");
}

Test(doorman, waits_for_a_broker_that_starts_late) {
    Stage stage;
    const UniqueFd gate = stage.adopt(0);
    stage.ask_admit(gate.get(), 5, stage.client);
    stage.loop.advance(Milliseconds(3000));
    cr_assert_eq(receive(gate.get()).outcome, channel::Outcome::blocked);
    stage.start_broker();
    stage.loop.advance(BrokerLink::k_retry_max);
    stage.accept_broker();
    const UniqueFd session = stage.grant(receive(stage.broker.get()));
    cr_assert(static_cast<bool>(receive(gate.get()).fd));
}

Test(doorman, gives_up_waiting_for_the_broker) {
    Stage stage;
    const UniqueFd gate = stage.adopt(0);
    stage.ask_admit(gate.get(), 5, stage.client);
    stage.loop.advance(BrokerLink::k_patience + Milliseconds(2000));
    cr_assert_eq(error_of(receive(gate.get())), "the broker does not answer");
}

Test(doorman, refuses_what_a_dying_broker_left_and_connects_again) {
    Stage stage;
    stage.start_broker();
    const UniqueFd gate = stage.adopt(0);
    stage.ask_admit(gate.get(), 5, stage.client);
    stage.accept_broker();
    stage.broker.reset();
    stage.settle();
    cr_assert_eq(error_of(receive(gate.get())), "the broker has ended");
    stage.ask_admit(gate.get(), 6, stage.client);
    stage.accept_broker();
    const UniqueFd session = stage.grant(receive(stage.broker.get()));
    cr_assert(static_cast<bool>(receive(gate.get()).fd));
}

Test(doorman, closes_the_session_of_a_gate_that_is_gone) {
    Stage stage;
    stage.start_broker();
    UniqueFd gate = stage.adopt(0);
    stage.ask_admit(gate.get(), 5, stage.client);
    stage.accept_broker();
    const Packet question = receive(stage.broker.get());
    gate.reset();
    stage.settle();
    const UniqueFd session = stage.grant(question);
    cr_assert(is_closed(session.get()));
}

Test(doorman, replaces_the_channel_of_a_gate) {
    Stage stage;
    const UniqueFd old = stage.adopt(4), other = stage.adopt(5);
    const UniqueFd fresh = stage.adopt(4);
    cr_assert(is_closed(old.get()));
    cr_assert(!stage.ask_nonces(fresh.get()).empty());
    cr_assert(!stage.ask_nonces(other.get()).empty());
}

Test(doorman, closes_the_channel_of_a_gate_that_breaks_the_rules_and_no_other) {
    door::AdmitArgs empty;
    empty.source = "192.0.2.7";
    const ByteVector good = *proto::encode(empty);
    ByteVector longer = good;
    longer.resize(longer.size() + 4);
    rpc::Header message = call(door::k_program, 1, 1), version = call(door::k_program, 1, 1);
    message.type = rpc::Type::message;
    version.version = 2;
    const std::pair<rpc::Header, ByteVector> wrong[] = {
        {call(door::k_program, 8, 1), {}},             // an unknown procedure
        {call(door::k_program + 1, 1, 1), {}},         // another program
        {message, {}},                                 // not a call
        {version, {}},                                 // another version
        {call(door::k_program, 1, 1), ByteVector(4)},  // arguments where none belong
        {call(door::k_program, 2, 1), {}},             // no arguments where some belong
        {call(door::k_program, 2, 1), longer},         // trailing bytes
    };
    Stage stage;
    const UniqueFd other = stage.adopt(1);
    for (const auto& [header, payload] : wrong) {
        const UniqueFd gate = stage.adopt(0);
        send(gate.get(), header, payload);
        stage.settle();
        cr_assert(is_closed(gate.get()), "procedure %u", header.procedure);
        cr_assert(!stage.ask_nonces(other.get()).empty());
    }
    // A descriptor where none belongs.
    const UniqueFd gate = stage.adopt(0);
    send(gate.get(), call(door::k_program, 1, 1), {}, std::array{0});
    stage.settle();
    cr_assert(is_closed(gate.get()));
    // A proof that makes no sense is only refused: the client may have chosen it.
    const UniqueFd honest = stage.adopt(0);
    send(honest.get(), call(door::k_program, 2, 9), good);
    stage.settle();
    cr_assert_eq(error_of(receive(honest.get())), "the handshake ends within a message");
    cr_assert(!stage.ask_nonces(honest.get()).empty());
}

Test(doorman, does_not_take_nonces_from_another_gate) {
    Stage stage;
    stage.start_broker();
    const UniqueFd one = stage.adopt(0), two = stage.adopt(1);
    const auto nonce = stage.ask_nonces(one.get()).front();
    const auto proof = test::shake_hands(stage.server, stage.client.pem(), stage.client.key_pem(), nonce);
    door::AdmitArgs arguments;
    arguments.transcript = proof.transcript;
    arguments.certificate_verify = proof.certificate_verify;
    arguments.source = "192.0.2.7";
    send(two.get(), call(door::k_program, 2, 9), *proto::encode(arguments));
    stage.settle();
    cr_assert_eq(error_of(receive(two.get())), "the handshake was not made with a nonce of this gate");
}

Test(doorman, is_bounded) {
    Stage stage;
    BrokerLink link(stage.loop, "/nonexistent/broker.sock");
    struct Asker {
        void on_answer(BrokerAnswer& answer) noexcept { tickets.push_back(answer.ticket); }
        std::vector<std::uint64_t> tickets;
    } asker;
    proto::who::Who who;
    who.certificate.emplace();
    for (std::size_t n = 0; n < BrokerLink::k_waiting_max; ++n)
        cr_assert(link.ask_open_session(who, n, loop::to<&Asker::on_answer>(asker)).has_value());
    cr_assert(!link.ask_open_session(who, 0, loop::to<&Asker::on_answer>(asker)).has_value());
    stage.loop.advance(BrokerLink::k_patience + Milliseconds(2000));
    cr_assert_eq(asker.tickets.size(), BrokerLink::k_waiting_max);
    cr_assert_eq(asker.tickets.back(), BrokerLink::k_waiting_max - 1);
}
