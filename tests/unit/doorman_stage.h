// SPDX-License-Identifier: LGPL-2.1-or-later
// doorman_stage - a doorman whose gates, broker and virtgate-sasl are played by the test.
#pragma once

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

namespace virtgate::test::doorman {

using namespace virtgate::netd::doorman;
using virtgate::proto::config::LoginMode;
using virtgate::test::Certificate;
using virtgate::test::CertificateSpec;
namespace door = proto::door;
namespace exchange = proto::exchange;
namespace sasl = proto::sasl;
namespace supervise = proto::supervise;

inline std::string g_log;  // what was logged since the stage was made

inline proto::who::SessionGrant make_grant(std::uint64_t session, const char* identity) {
    proto::who::SessionGrant grant;
    grant.session = session;
    grant.identity = identity;
    return grant;
}

inline CertificateSpec named(const char* name, bool is_ca = false) {
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

inline Packet receive(int socket) {
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
                   LoginMode local = LoginMode::login_off, bool accepts = true) {
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
        if (accepts) tell(supervise::Procedure::serve);
    }
    // A word of the supervisor without arguments.
    void tell(supervise::Procedure word) {
        const auto frame =
            rpc::make_frame(rpc::make_message(supervise::k_program, supervise::k_version, word), {});
        cr_assert_eq(channel::send_packet(parent.get(), frame), channel::Outcome::done);
        test::pump(loop);
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
        reply(broker.get(), question.header, make_grant(17, "ops"), std::span(&theirs, 1));
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

inline bool is_closed(int socket) {
    std::byte buffer[64];
    std::size_t size = 0;
    return channel::receive_packet(socket, buffer, size) == channel::Outcome::closed;
}

inline bool logged(std::string_view part) { return g_log.find(part) != std::string::npos; }

}  // namespace virtgate::test::doorman
