// SPDX-License-Identifier: LGPL-2.1-or-later
// gate_login - the gate before a session: the SASL dialogue, plain connections with descriptors, and sources.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "libshared/loop/fake_loop.h"
#include "libshared/rpc/error.h"
#include "netd/gate/login.h"
#include "netd/gate/plain.h"
#include "netd/gate/sources.h"
#include "proto/codec.h"
#include "proto/remote.h"
#include "tests/unit/pump.h"

using namespace virtgate;
using namespace virtgate::netd::gate;

namespace {

namespace door = proto::door;
namespace remote = proto::remote;
using rpc::Header;

FdPair stream_pair() {
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    return {UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

Header call(remote::Procedure procedure, std::uint32_t serial) {
    return rpc::make_call(remote::k_program, remote::k_version, procedure, serial);
}

proto::who::SessionGrant make_grant(std::uint64_t session, const char* identity) {
    proto::who::SessionGrant grant;
    grant.session = session;
    grant.identity = identity;
    return grant;
}

// A login between a client and doorman, both played by the test.
struct Stage {
    Stage() {
        set_log_sink([](Level, std::string_view) noexcept {});
        auto pair = stream_pair();
        client = std::move(pair.first);
        connection = std::make_unique<PlainConnection>(std::move(pair.second), false);
        auto channel = make_channel_pair();
        doorman = std::move(channel->first);
        desk = std::make_unique<Door>(loop, loop::to<&Stage::on_arrived>(*this),
                                      loop::to<&Stage::on_nonces>(*this));
        desk->adopt(std::move(channel->second));
        test::pump(loop);
        static_cast<void>(take_question());  // for nonces
        begin();
    }
    void begin() {
        login.reset();
        login = std::make_unique<Login>(*connection, *desk,
                                        door::Visit{.id = 7, .mechanisms = "SCRAM-SHA-256,GSSAPI"}, memory,
                                        loop::to<&Stage::on_changed>(*this));
    }
    void on_arrived(Door::Arrived&) noexcept {}
    void on_nonces() noexcept {}
    void on_changed() noexcept { ++changes; }

    // The client says that.
    void say(const Header& header, ByteView payload = {}) { say_bytes(rpc::make_frame(header, payload)); }
    void say_bytes(ByteView bytes) {
        while (!bytes.empty()) {
            const ssize_t n = ::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n > 0) bytes = bytes.subspan(static_cast<std::size_t>(n));
            login->go_on();
            if (login->state() == Login::State::over) return;
            cr_assert(n > 0 || errno == EAGAIN);
        }
        login->go_on();
        test::pump(loop);
    }
    struct Frame {
        Header header;
        ByteVector payload;
    };
    // What the client got; without anything the header is empty.
    Frame hear() {
        std::array<std::byte, 65536> buffer;
        const ssize_t n = recv(client.get(), buffer.data(), 4, 0);
        if (n != 4) return {};
        const std::size_t length = load_be32(buffer.data());
        cr_assert_eq(recv(client.get(), buffer.data() + 4, length - 4, 0), static_cast<ssize_t>(length - 4));
        return {rpc::read_header(buffer.data()),
                {buffer.begin() + rpc::k_frame_min, buffer.begin() + static_cast<long>(length)}};
    }
    Frame take_question() {
        std::array<std::byte, channel::k_packet_max> buffer;
        std::size_t size = 0;
        if (channel::receive_packet(doorman.get(), buffer, size) != channel::Outcome::done) return {};
        return {rpc::read_header(buffer.data()),
                {buffer.begin() + rpc::k_frame_min, buffer.begin() + static_cast<long>(size)}};
    }
    void answer(const Header& question, const door::StepRet& reply, std::span<const int> fds = {}) {
        const auto frame = rpc::make_frame(rpc::reply_to(question), *proto::encode(reply));
        cr_assert_eq(channel::send_packet(doorman.get(), frame, fds), channel::Outcome::done);
        test::pump(loop);
    }
    void refuse(const Header& question, int code) {
        const auto frame = rpc::make_error_reply(question, code, "no");
        cr_assert_eq(channel::send_packet(doorman.get(), frame), channel::Outcome::done);
        test::pump(loop);
    }
    Header start(std::string data = "hello", std::int32_t nil = 0) {
        say(call(remote::Procedure::auth_sasl_init, 1));
        cr_assert(hear().header.status == rpc::Status::ok);
        say(call(remote::Procedure::auth_sasl_start, 2),
            *proto::encode(
                remote::AuthSaslStartArgs{.mechanism = "GSSAPI", .nil = nil, .data = std::move(data)}));
        question = take_question();
        return question.header;
    }

    loop::FakeLoop loop;
    UniqueFd client, doorman;
    std::unique_ptr<PlainConnection> connection;
    std::unique_ptr<Door> desk;
    std::size_t memory = 0;
    int changes = 0;
    Frame question;
    std::unique_ptr<Login> login;
};

int error_code(const Stage::Frame& frame) {
    return frame.header.status == rpc::Status::error ? rpc::read_error_code(frame.payload) : 0;
}

std::size_t open_descriptors() {
    std::size_t count = 0;
    for (int fd = 0; fd < 256; ++fd) count += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return count;
}

}  // namespace

Test(login, tells_libvirts_clients_what_they_ask) {
    Stage stage;
    stage.say(call(remote::Procedure::auth_list, 9));
    const auto list = stage.hear();
    cr_assert(list.header == rpc::reply_to(call(remote::Procedure::auth_list, 9)));
    cr_assert_eq(load_be32(list.payload.data()), 1);
    cr_assert_eq(load_be32(list.payload.data() + 4), 1, "SASL");
    stage.say(call(remote::Procedure::auth_sasl_init, 10));
    cr_assert_eq(proto::decode<remote::AuthSaslInitRet>(stage.hear().payload)->mechanisms,
                 "SCRAM-SHA-256,GSSAPI");
    stage.say(rpc::make_message(rpc::k_keepalive_program, rpc::k_keepalive_version, rpc::Keepalive::ping));
    cr_assert_eq(stage.hear().header.procedure, 2, "pong");
}

Test(login, carries_tokens_and_knows_nothing_from_empty) {
    const std::pair<std::int32_t, std::string> tokens[] = {
        {0, std::string("a\0\xff", 3)}, {0, ""}, {1, ""}, {0, std::string(door::k_token_max, 'x')}};
    for (const auto& [nil, data] : tokens) {
        Stage stage;
        const Header question = stage.start(data, nil);
        cr_assert(question.program == door::k_program);
        const auto asked = proto::decode<door::StartArgs>(stage.question.payload);
        cr_assert_eq(asked->visit, 7);
        cr_assert_eq(asked->mechanism, "GSSAPI");
        cr_assert_eq(asked->data.has_value(), nil == 0);
        if (asked->data) cr_assert(as_text(*asked->data) == data);
        cr_assert(stage.login->state() == Login::State::asking);
        // And the other way round.
        const bool is_there = nil == 0;
        stage.answer(question, {.complete = false,
                                .data = is_there ? std::optional<door::Token>(door::Token{std::byte{0xfe}})
                                                 : std::nullopt,
                                .grant = {}});
        const auto reply = proto::decode<remote::AuthSaslStartRet>(stage.hear().payload);
        cr_assert_eq(reply->complete, 0);
        cr_assert_eq(reply->nil, is_there ? 0 : 1);
        cr_assert_eq(reply->data, is_there ? "\xfe" : "");
        cr_assert(stage.login->state() == Login::State::reading);
        cr_assert_eq(stage.memory, 0);
    }
}

Test(login, ends_with_a_session) {
    Stage stage;
    const Header question = stage.start();
    const auto session = make_channel_pair();
    stage.answer(question, {.complete = true, .data = door::Token{}, .grant = make_grant(3, "ops")},
                 std::array{session->first.get()});
    cr_assert(stage.login->state() == Login::State::admitted);
    const auto reply = proto::decode<remote::AuthSaslStartRet>(stage.hear().payload);
    cr_assert_eq(reply->complete, 1);
    cr_assert_eq(reply->nil, 0, "an empty token is not no token");
    const auto admission = stage.login->take();
    cr_assert_eq(admission.grant.identity, "ops");
    cr_assert(static_cast<bool>(admission.session) && !admission.layer);
    stage.login.reset();
    cr_assert(stage.take_question().payload.empty(), "a visit that led to a session was left");
}

Test(login, hands_over_a_layer_only_when_the_reply_is_out) {
    Stage stage;
    const Header question = stage.start();
    // The client does not read: the reply stays here.
    std::array<std::byte, 4096> filler{};
    while (::send(stage.connection->socket(), filler.data(), filler.size(), MSG_DONTWAIT) > 0) {
    }
    const auto session = make_channel_pair();
    const auto layer = stream_pair();
    stage.answer(question, {.complete = true, .data = door::Token{}, .grant = proto::who::SessionGrant{}},
                 std::array{session->first.get(), layer.first.get()});
    cr_assert(stage.login->state() == Login::State::leaving);
    cr_assert(stage.login->want() == loop::Want::write);
    std::array<std::byte, 65536> drain;
    while (recv(stage.client.get(), drain.data(), drain.size(), 0) > 0) {
    }
    stage.login->go_on();
    cr_assert(stage.login->state() == Login::State::admitted);
    cr_assert(static_cast<bool>(stage.login->take().layer));
}

Test(login, does_not_read_behind_a_frame) {
    Stage stage;
    stage.say(call(remote::Procedure::auth_sasl_init, 1));
    static_cast<void>(stage.hear());
    ByteVector bytes = rpc::make_frame(
        call(remote::Procedure::auth_sasl_start, 2),
        *proto::encode(remote::AuthSaslStartArgs{.mechanism = "GSSAPI", .nil = 0, .data = "x"}));
    const std::array<std::byte, 5> behind{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4},
                                          std::byte{5}};
    bytes.insert(bytes.end(), behind.begin(), behind.end());
    stage.say_bytes(bytes);
    cr_assert(stage.login->state() == Login::State::asking);
    std::array<std::byte, 16> left;
    cr_assert_eq(recv(stage.connection->socket(), left.data(), left.size(), 0), 5);
}

Test(login, refuses_steps_out_of_order_and_lets_try_again) {
    struct Row {
        std::vector<remote::Procedure> before;
        remote::Procedure wrong;
    };
    using remote::Procedure;
    const Row rows[] = {
        {{}, Procedure::auth_sasl_start},
        {{}, Procedure::auth_sasl_step},
        {{Procedure::auth_sasl_init}, Procedure::auth_sasl_init},
        {{Procedure::auth_sasl_init}, Procedure::auth_sasl_step},
        {{}, Procedure::auth_polkit},
    };
    const auto payload = [](Procedure procedure) {
        if (procedure == Procedure::auth_sasl_start)
            return *proto::encode(remote::AuthSaslStartArgs{.mechanism = "GSSAPI", .nil = 1, .data = {}});
        if (procedure == Procedure::auth_sasl_step)
            return *proto::encode(remote::AuthSaslStepArgs{.nil = 1, .data = {}});
        return ByteVector{};
    };
    for (const Row& row : rows) {
        Stage stage;
        for (const Procedure procedure : row.before) {
            stage.say(call(procedure, 1), payload(procedure));
            cr_assert_eq(error_code(stage.hear()), 0);
        }
        stage.say(call(row.wrong, 2), payload(row.wrong));
        cr_assert_eq(error_code(stage.hear()), rpc::k_code_auth_failed);
        cr_assert(stage.login->state() == Login::State::reading);
        cr_assert_eq(stage.take_question().payload.size(), 0, "doorman was asked");
    }
    // START twice.
    Stage stage;
    stage.answer(stage.start(), {.complete = false, .data = {}, .grant = {}});
    static_cast<void>(stage.hear());
    stage.say(call(Procedure::auth_sasl_start, 3), payload(Procedure::auth_sasl_start));
    cr_assert_eq(error_code(stage.hear()), rpc::k_code_auth_failed);
    // A refusal of doorman begins anew.
    stage.say(call(Procedure::auth_sasl_step, 4), payload(Procedure::auth_sasl_step));
    stage.refuse(stage.take_question().header, rpc::k_code_auth_failed);
    cr_assert_eq(error_code(stage.hear()), rpc::k_code_auth_failed);
    cr_assert(stage.login->state() == Login::State::reading);
    stage.refuse(stage.start(), rpc::k_code_operation_failed);
    cr_assert_eq(error_code(stage.hear()), rpc::k_code_auth_failed,
                 "the client cannot tell the last try from others");
    cr_assert(stage.login->state() == Login::State::over);
}

Test(login, tells_outsiders_nothing) {
    using remote::Procedure;
    const Header headers[] = {
        call(Procedure::connect_open, 1),
        call(Procedure::connect_supports_feature, 1),
        rpc::make_call(remote::k_program, remote::k_version, static_cast<Procedure>(9999), 1),
        rpc::make_call(0x12345678, 1, static_cast<Procedure>(1), 1),
    };
    for (const Header& header : headers) {
        Stage stage;
        stage.say(header);
        const auto answer = stage.hear();
        cr_assert_eq(error_code(answer), rpc::k_code_rpc);
        cr_assert_eq(rpc::read_error_text(answer.payload), "authentication required");
    }
}

Test(login, ends_for_what_no_client_sends) {
    const auto over = [](ByteView bytes) {
        Stage stage;
        stage.say_bytes(bytes);
        return stage.login->state() == Login::State::over;
    };
    const auto length = [](std::uint32_t value) {
        std::array<std::byte, 4> word;
        store_be32(word.data(), value);
        return word;
    };
    cr_assert(over(length(0)));
    cr_assert(over(length(27)));
    cr_assert(over(length(Login::k_frame_max + 1)));
    cr_assert(over(length(0xffffffff)));
    cr_assert(!over(length(Login::k_frame_max)));
    Header message = call(remote::Procedure::auth_list, 1);
    message.type = rpc::Type::stream;
    cr_assert(over(rpc::make_frame(message, {})));
    cr_assert(over(rpc::make_frame(call(remote::Procedure::auth_list, 1), ByteVector(4))));
    cr_assert(over(rpc::make_frame(call(remote::Procedure::auth_sasl_init, 1), ByteVector(4))));
    // Mistakes for ever.
    Stage stage;
    for (unsigned i = 0; i <= Login::k_mistakes_max; ++i) stage.say(call(remote::Procedure::connect_open, i));
    cr_assert(stage.login->state() == Login::State::over);
}

Test(login, shares_the_memory_for_long_frames) {
    Stage stage;
    stage.memory = Login::k_memory_max - 100;
    std::array<std::byte, 4> word;
    store_be32(word.data(), Login::k_small);
    stage.say_bytes(word);
    cr_assert(stage.login->state() == Login::State::reading);
    stage.begin();
    store_be32(word.data(), Login::k_small + 1);
    stage.say_bytes(word);
    cr_assert(stage.login->state() == Login::State::over);
    cr_assert_eq(stage.memory, Login::k_memory_max - 100);
    stage.memory = 0;
    stage.begin();
    stage.say_bytes(word);
    cr_assert_eq(stage.memory, Login::k_small + 1);
    stage.login.reset();
    cr_assert_eq(stage.memory, 0);
}

Test(login, tells_a_client_that_it_is_refused) {
    Stage stage;
    stage.login =
        std::make_unique<Login>(*stage.connection, *stage.desk, std::string("authentication failed: no"),
                                stage.memory, loop::to<&Stage::on_changed>(stage));
    static_cast<void>(stage.take_question());  // the login before it left
    stage.say(call(remote::Procedure::auth_list, 9));
    const auto answer = stage.hear();
    cr_assert(answer.header == rpc::reply_to(call(remote::Procedure::auth_list, 9), rpc::Status::error));
    cr_assert_eq(error_code(answer), rpc::k_code_auth_failed);
    cr_assert_eq(rpc::read_error_text(answer.payload), "authentication failed: no");
    cr_assert(stage.login->state() == Login::State::over);
    stage.login.reset();
    cr_assert(stage.take_question().payload.empty(), "a visit that never was is left");
}

Test(login, tells_doorman_when_the_client_has_gone) {
    Stage stage;
    static_cast<void>(stage.start());
    stage.login.reset();
    const auto left = stage.take_question();
    cr_assert(left.header == rpc::make_message(door::k_program, door::k_version, door::Procedure::leave));
    cr_assert_eq(proto::decode<door::LeaveArgs>(left.payload)->visit, 7);
}

Test(plain, holds_descriptors_in_their_order) {
    auto pair = stream_pair();
    PlainConnection connection(std::move(pair.second), true);
    const std::size_t before = open_descriptors();
    const auto bytes = as_bytes("frame");
    cr_assert_eq(::send(pair.first.get(), bytes.data(), bytes.size(), 0), 5);
    for (const int fd : {0, 1}) {
        const std::byte zero{0};
        cr_assert_eq(channel::send_packet(pair.first.get(), ByteView(&zero, 1), std::span(&fd, 1)),
                     channel::Outcome::done);
    }
    std::array<std::byte, 64> buffer;
    std::size_t all = 0;
    for (int i = 0; i < 4; ++i) {
        std::size_t size = 0;
        cr_assert(connection.receive(buffer, size) == Step::want_read);
        all += size;
    }
    cr_assert_eq(all, 7);
    cr_assert_eq(connection.descriptors_held(), 2);
    for (const UniqueFd& fd : connection.take_descriptors())
        cr_assert_eq(fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
    cr_assert_eq(open_descriptors(), before);
    // Without leave the kernel drops them.
    auto other = stream_pair();
    PlainConnection closed(std::move(other.second), false);
    const int fd = 0;
    cr_assert_eq(channel::send_packet(other.first.get(), bytes, std::span(&fd, 1)), channel::Outcome::done);
    std::size_t size = 0;
    cr_assert(closed.receive(buffer, size) == Step::want_read);
    cr_assert_eq(size, 5);
    cr_assert_eq(closed.descriptors_held(), 0);
}

Test(plain, fails_for_too_many_descriptors) {
    auto pair = stream_pair();
    PlainConnection connection(std::move(pair.second), true);
    const std::size_t before = open_descriptors();
    const std::array<int, 11> fds{};
    Step step = Step::want_read;
    for (int i = 0; i < 3; ++i) {
        const std::byte zero{0};
        cr_assert_eq(channel::send_packet(pair.first.get(), ByteView(&zero, 1), fds), channel::Outcome::done);
        std::array<std::byte, 8> buffer;
        std::size_t size = 0;
        step = connection.receive(buffer, size);
    }
    cr_assert(step == Step::failed);
    static_cast<void>(connection.take_descriptors());
    cr_assert_eq(open_descriptors(), before);
}

Test(plain, sends_descriptors_behind_what_waits) {
    auto pair = stream_pair();
    PlainConnection connection(std::move(pair.second), true);
    const ByteVector large(std::size_t{1} << 20, std::byte{7});
    cr_assert(connection.send(large) == Step::done);
    cr_assert(connection.has_output());
    std::vector<UniqueFd> fds;
    fds.emplace_back(dup(0));
    cr_assert(connection.send_descriptors(std::move(fds)) == Step::done);
    cr_assert(connection.send(as_bytes("end")) == Step::done);
    std::size_t all = 0, came = 0;
    std::string tail;
    for (int i = 0; i < 1000 && all < large.size() + 4; ++i) {
        cr_assert(connection.flush() != Step::failed);
        std::array<std::byte, 65536> buffer;
        channel::ReceivedFds received;
        std::size_t size = 0;
        if (channel::receive_packet(pair.first.get(), buffer, size, &received, 32) != channel::Outcome::done)
            continue;
        all += size;
        if (received.count() != 0) {
            came += received.count();
            cr_assert_eq(all, large.size() + 1, "the descriptor came with another byte");
        } else if (all > large.size() + 1) {
            tail += as_text(ByteView(buffer).first(size));
        }
    }
    cr_assert_eq(came, 1);
    cr_assert_eq(tail, "end");
    cr_assert(!connection.has_output());
}

namespace {

Sources::Key key_of(const char* text) {
    sockaddr_storage storage{};
    auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
        storage.ss_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
        storage.ss_family = AF_INET6;
    return Sources::of_address(storage);
}

}  // namespace

Test(sources, count_addresses_networks_and_users) {
    cr_assert(key_of("192.0.2.7") == key_of("::ffff:192.0.2.7"));
    cr_assert(key_of("192.0.2.7") != key_of("192.0.2.8"));
    cr_assert(key_of("2001:db8::1") == key_of("2001:db8::2"));
    cr_assert(key_of("2001:db8::1") != key_of("2001:db8:0:1::1"));
    cr_assert(Sources::of_user(1) != Sources::of_user(2));
    cr_assert(Sources::of_user(1) != key_of("0.0.0.1"));
}

Test(sources, bound_connections_and_arrivals_of_each) {
    Sources sources(3, 2);
    const auto one = key_of("192.0.2.7"), two = key_of("192.0.2.8");
    auto a = sources.take(one), b = sources.take(one);
    cr_assert(a && b && !sources.take(one), "a third arrival");
    cr_assert(sources.take(two).has_value(), "another source pays for the first");
    a->settle();
    a->settle();
    auto c = sources.take(one);
    cr_assert(c.has_value());
    b->settle();
    cr_assert(!sources.take(one), "a fourth connection");
    a.reset();
    cr_assert(sources.take(one).has_value());
    // A place that is moved is one place.
    Sources::Place moved = std::move(*c);
    c.reset();
    cr_assert(sources.take(one).has_value());
    auto d = sources.take(one);
    cr_assert(d && !sources.take(one));
    Sources::Place target;
    target = std::move(moved);
    d.reset();
    cr_assert(sources.take(one).has_value());
}
