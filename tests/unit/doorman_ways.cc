// SPDX-License-Identifier: LGPL-2.1-or-later
// doorman_ways - UNIX clients, certificates, and the server's own.
#include "tests/unit/doorman_stage.h"

using namespace virtgate;
using namespace virtgate::test::doorman;

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
    stage.tell(supervise::Procedure::drain);
    const UniqueFd client = connect_to(stage.local_listener);
    test::pump(stage.loop);
    cr_assert_eq(accept4(stage.broker_listener.get(), nullptr, nullptr, SOCK_NONBLOCK), -1);
    // It waits for whoever serves the socket next.
    cr_assert_geq(accept4(stage.local_listener.get(), nullptr, nullptr, SOCK_NONBLOCK), 0);
}

Test(local, nobody_is_accepted_before_serve) {
    Stage stage(LoginMode::login_direct, LoginMode::login_off, LoginMode::login_direct, false);
    const UniqueFd gate = stage.adopt(supervise::PeerRole::peer_gate, 0);
    const UniqueFd client = connect_to(stage.local_listener);
    test::pump(stage.loop);
    cr_assert_eq(accept4(stage.broker_listener.get(), nullptr, nullptr, SOCK_NONBLOCK), -1);
    stage.tell(supervise::Procedure::serve);
    cr_assert(stage.take_broker_question().came());
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
