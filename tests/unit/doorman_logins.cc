// SPDX-License-Identifier: LGPL-2.1-or-later
// doorman_logins - visits and failures of clients that log in.
#include "tests/unit/doorman_stage.h"

using namespace virtgate;
using namespace virtgate::test::doorman;

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

// A gate that was taken over makes sources up. Half of the places is all that it gets, whether it waits or not.
Test(logins, of_one_gate_leave_places_for_others) {
    Stage stage(LoginMode::login_sasl);
    stage.start_sasl();
    const UniqueFd one = stage.adopt(supervise::PeerRole::peer_gate, 0),
                   two = stage.adopt(supervise::PeerRole::peer_gate, 1);
    std::vector<UniqueFd> processes;
    const auto begin = [&](int gate, const std::string& source) {
        cr_assert(!stage.start(gate, stage.enter(gate, "tls", source.c_str())).came());
        processes.push_back(stage.take_exchange());
    };
    const auto answer = [&](int gate) {
        stage.say(processes.back().get(), {.complete = false, .data = {}, .name = {}, .strength = 0});
        cr_assert(receive(gate).came());
    };
    begin(two.get(), "198.51.100.1");
    answer(two.get());
    for (int i = 1; i <= 6; ++i) {
        begin(one.get(), fmt::format("192.0.2.{}", i));
        answer(one.get());
    }
    cr_assert(!is_closed(processes[0].get()), "the oldest, of another gate");
    cr_assert(is_closed(processes[1].get()) && is_closed(processes[2].get()), "its own two oldest");
    cr_assert(!is_closed(processes[3].get()));
    for (int i = 2; i <= 4; ++i) begin(two.get(), fmt::format("198.51.100.{}", i));
    begin(two.get(), "198.51.100.5");
    cr_assert(is_closed(processes[0].get()), "the only one that waits for its client");
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
