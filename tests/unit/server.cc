// SPDX-License-Identifier: LGPL-2.1-or-later
// server - tests of what every daemon that is called has in common, with the lock program as an example.
#include "libshared/server/server.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <deque>

#include "libshared/loop/fake_loop.h"
#include "proto/codec.h"
#include "proto/holder.h"
#include "proto/lock.h"
#include "tests/unit/pump.h"

using namespace virtgate;
using namespace virtgate::server;
namespace lock = proto::lock;
using rpc::Header;
using rpc::Status;
using rpc::Type;

namespace {

constexpr std::size_t k_frame_max = 4096;
constexpr unsigned k_calls_max = 2;

struct Frame {
    Header header;
    ByteVector payload;
};

// A daemon that answers REGISTER at once, RESTORE (of another program) with a value, and RESTRICT when told to.
class Stage : public ServerOwner {
public:
    explicit Stage(std::size_t clients = 4, Milliseconds ping = Milliseconds{0})
        : server(loop,
                 {.clients = clients,
                  .client = {.frame_max = k_frame_max,
                             .calls = k_calls_max,
                             .ping_interval = ping,
                             .ping_count = 1}},
                 *this) {
        program.serve<&Stage::register_owner>(lock::Procedure::register_, *this);
        program.serve<&Stage::restrict>(lock::Procedure::restrict, *this);
        program.serve<&Stage::forget>(lock::Procedure::new_, *this);
        other.serve<&Stage::restore>(proto::holder::Procedure::restore, *this);
        other.serve<&Stage::start_pings>(proto::holder::Procedure::hand_over, *this);
        server.add(program);
        server.add(other);
        const UniqueFd made{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        sockaddr_un address{};
        address.sun_family = AF_UNIX;  // a name of the kernel's choice
        cr_assert_eq(bind(made.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);
        cr_assert_eq(::listen(made.get(), 16), 0);
        address_size = sizeof name;
        cr_assert_eq(getsockname(made.get(), reinterpret_cast<sockaddr*>(&name), &address_size), 0);
        server.listen(UniqueFd{dup(made.get())}, 7);
        server.start();
    }
    ~Stage() override { waiting.clear(); }

    void turn() {
        test::pump(loop);
        loop.run();
        test::pump(loop);
    }

    void register_owner(Client& client, const lock::RegisterArgs& arguments, Call call) noexcept {
        cr_assert_eq(client.listener(), 7);
        names.push_back(arguments.owner.name);
        call.reply();
    }
    void restrict(Client&, const lock::RestrictArgs&, Call call) noexcept {
        waiting.push_back(std::move(call));
    }
    void forget(Client&, const lock::NewArgs&, Call) noexcept {}
    void restore(Client&, const proto::holder::RestoreArgs& arguments, Call call) noexcept {
        call.reply(proto::holder::RestoreArgs{.from = arguments.from + 1});
    }
    void start_pings(Client& client, Call call) noexcept {
        client.start_pings();
        call.reply();
    }

    bool admits(const Peer& peer, unsigned) noexcept override { return admit && peer.uid == geteuid(); }
    void on_closed(Client&, std::string_view reason) noexcept override { closed.emplace_back(reason); }
    void on_settled() noexcept override { ++settled; }

    loop::FakeLoop loop;
    Program program{lock::k_program, lock::k_version};
    Program other{proto::holder::k_program, proto::holder::k_version};
    Server server;
    sockaddr_un name{};
    socklen_t address_size = 0;
    std::vector<std::string> names, closed;
    std::deque<Call> waiting;
    bool admit = true;
    int settled = 0;
};

// The other end of a connection.
class Caller {
public:
    explicit Caller(Stage& stage)
        : stage_(stage), fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
        cr_assert_eq(connect(fd_.get(), reinterpret_cast<const sockaddr*>(&stage.name), stage.address_size),
                     0);
        stage.turn();
    }

    void write(ByteView bytes) {
        cr_assert_eq(send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
                     static_cast<ssize_t>(bytes.size()));
        stage_.turn();
    }
    void write(const Header& header, ByteView payload) { write(rpc::make_frame(header, payload)); }

    // What has come by now, whole frames only; nothing more if the connection is at its end.
    std::vector<Frame> read() {
        stage_.turn();
        std::byte piece[8192];
        for (ssize_t n; (n = recv(fd_.get(), piece, sizeof piece, 0)) >= 0;) {
            if (n == 0) {
                is_at_end = true;
                break;
            }
            buffer_.insert(buffer_.end(), piece, piece + n);
            stage_.turn();
        }
        std::vector<Frame> frames;
        while (buffer_.size() >= 4 && load_be32(buffer_.data()) <= buffer_.size()) {
            const auto size = static_cast<std::ptrdiff_t>(load_be32(buffer_.data()));
            frames.push_back({rpc::read_header(buffer_.data()),
                              ByteVector(buffer_.begin() + rpc::k_frame_min, buffer_.begin() + size)});
            buffer_.erase(buffer_.begin(), buffer_.begin() + size);
        }
        return frames;
    }
    Frame read_one() {
        auto frames = read();
        cr_assert_eq(frames.size(), 1, "%zu frames came", frames.size());
        return std::move(frames.front());
    }
    // The error that the only frame is.
    std::string read_error(int code = rpc::k_code_rpc) {
        const Frame frame = read_one();
        cr_assert(frame.header.status == Status::error && frame.header.type == Type::reply);
        cr_assert_eq(rpc::read_error_code(frame.payload), code);
        return rpc::read_error_text(frame.payload);
    }
    void hang_up() {
        fd_.reset();
        stage_.turn();
    }
    [[nodiscard]] int fd() const { return fd_.get(); }
    bool is_at_end = false;

private:
    Stage& stage_;
    UniqueFd fd_;
    ByteVector buffer_;
};

ByteVector register_args(std::string name = "guest") {
    lock::RegisterArgs arguments;
    arguments.owner.name = std::move(name);
    return *proto::encode(arguments);
}

Header call_of(lock::Procedure procedure, std::uint32_t serial) {
    return rpc::make_call(lock::k_program, lock::k_version, procedure, serial);
}

ByteVector frame_of(lock::Procedure procedure, std::uint32_t serial, ByteView payload) {
    return rpc::make_frame(call_of(procedure, serial), payload);
}

ByteVector restrict_frame(std::uint32_t serial) {
    return frame_of(lock::Procedure::restrict, serial, *proto::encode(lock::RestrictArgs{}));
}

}  // namespace

Test(server, a_call_reaches_its_handler_and_its_answer_the_client) {
    Stage stage;
    Caller caller(stage);
    caller.write(frame_of(lock::Procedure::register_, 41, register_args()));
    const Frame answer = caller.read_one();
    cr_assert(answer.header == rpc::reply_to(call_of(lock::Procedure::register_, 41)));
    cr_assert(answer.payload.empty());
    cr_assert(stage.names == std::vector<std::string>{"guest"});
}

Test(server, programs_are_served_beside_each_other_and_results_are_encoded) {
    Stage stage;
    Caller caller(stage);
    const Header call = rpc::make_call(proto::holder::k_program, proto::holder::k_version,
                                       proto::holder::Procedure::restore, 5);
    caller.write(call, *proto::encode(proto::holder::RestoreArgs{.from = 8}));
    cr_assert(caller.read_one().payload == *proto::encode(proto::holder::RestoreArgs{.from = 9}));
}

Test(server, frames_may_come_in_pieces_of_any_size) {
    Stage stage;
    Caller caller(stage);
    const ByteVector frame = frame_of(lock::Procedure::register_, 1, register_args());
    for (std::size_t cut = 1; cut < frame.size(); ++cut) {
        caller.write(ByteView(frame).first(cut));
        cr_assert(caller.read().empty(), "an answer after %zu bytes", cut);
        caller.write(ByteView(frame).subspan(cut));
        cr_assert(caller.read_one().header.status == Status::ok);
    }
}

Test(server, wrong_headers_get_the_answers_of_libvirt_in_its_order) {
    Stage stage;
    Caller caller(stage);
    Header header = call_of(lock::Procedure::register_, 3);
    header.version = 2;
    caller.write(header, {});
    cr_assert(caller.read_error() == "Cannot find program 245874415 version 2");
    header = call_of(lock::Procedure::register_, 3);
    header.program = 0xfffffffe;
    caller.write(header, {});
    cr_assert(caller.read_error() == "Cannot find program -2 version 1");
    header = call_of(static_cast<lock::Procedure>(99), 3);
    header.status = Status::proceed;
    caller.write(header, {});
    cr_assert(caller.read_error() == "Unexpected message status 2", "the status comes first");
    for (const std::uint32_t procedure : {0U, 8U, 99U, 0x7fffffffU}) {
        caller.write(call_of(static_cast<lock::Procedure>(procedure), 3), {});
        cr_assert(caller.read_error() == fmt::format("unknown procedure: {}", procedure));
    }
    cr_assert(stage.names.empty());
}

Test(server, what_is_no_call_is_ignored) {
    Stage stage;
    Caller caller(stage);
    for (const std::uint32_t type : {1U, 2U, 3U, 5U, 6U, 7U, 0xffffffffU})
        for (const std::uint32_t program : {lock::k_program, 0x20008086U}) {
            Header header = call_of(lock::Procedure::register_, 3);
            header.type = static_cast<Type>(type);
            header.program = program;
            caller.write(header, register_args());
        }
    cr_assert(caller.read().empty());
    cr_assert(stage.names.empty() && stage.closed.empty());
}

Test(server, a_payload_has_to_be_the_arguments_to_the_last_byte) {
    Stage stage;
    Caller caller(stage);
    const ByteVector good = register_args();
    for (std::size_t size = 0; size < good.size(); size += 4) {
        caller.write(call_of(lock::Procedure::register_, 3), ByteView(good).first(size));
        cr_assert(caller.read_error() == "Unable to decode message payload", "%zu bytes", size);
    }
    ByteVector longer = good;
    longer.resize(good.size() + 4);
    caller.write(call_of(lock::Procedure::register_, 3), longer);
    cr_assert(caller.read_error() == "Unable to decode message payload");
    ByteVector nul = good;
    nul[4 + 16] = std::byte{0};  // the first letter of the name
    caller.write(call_of(lock::Procedure::register_, 3), nul);
    cr_assert(caller.read_error() == "Unable to decode message payload");
}

Test(server, a_length_that_cannot_be_ends_the_connection) {
    for (const std::uint32_t length : {0U, 4U, 27U, 33554437U, 0xffffffffU}) {
        Stage stage;
        Caller caller(stage);
        ByteVector word(4);
        store_be32(word.data(), length);
        caller.write(word);
        cr_assert(caller.read().empty() && caller.is_at_end, "length %u", length);
        cr_assert_eq(stage.closed.size(), 1);
        cr_assert_eq(stage.server.size(), 0);
    }
}

Test(server, a_frame_that_is_too_long_is_passed_over_and_refused) {
    Stage stage;
    Caller caller(stage);
    for (const std::size_t size : {k_frame_max + 4, std::size_t{100'000}}) {
        caller.write(call_of(lock::Procedure::register_, 77), ByteVector(size - rpc::k_frame_min));
        cr_assert(caller.read_error() == "the message is longer than 4096 bytes");
    }
    caller.write(frame_of(lock::Procedure::register_, 1, register_args()));
    cr_assert(caller.read_one().header.status == Status::ok, "and what follows is served");
}

Test(server, descriptors_are_not_taken) {
    Stage stage;
    Caller caller(stage);
    Header header = call_of(lock::Procedure::restrict, 3);
    header.type = Type::call_with_fds;
    const ByteVector two_words(8);
    caller.write(header, two_words);  // none, and flags
    stage.waiting.front().reply();
    stage.waiting.clear();
    cr_assert(caller.read_one().header.type == Type::reply);
    ByteVector one(8);
    store_be32(one.data(), 1);
    caller.write(header, one);
    cr_assert(caller.read().empty() && caller.is_at_end);
}

Test(server, no_more_calls_are_open_than_allowed_and_all_are_served_in_the_end) {
    Stage stage;
    Caller caller(stage);
    ByteVector five;
    for (std::uint32_t serial = 0; serial < 5; ++serial) {
        const ByteVector frame = restrict_frame(serial);
        five.insert(five.end(), frame.begin(), frame.end());
    }
    caller.write(five);
    std::vector<std::uint32_t> order;
    while (!stage.waiting.empty()) {
        cr_assert_leq(stage.waiting.size(), k_calls_max);
        Call call = std::move(stage.waiting.back());  // answers need no order
        stage.waiting.pop_back();
        call.reply();
        order.push_back(caller.read_one().header.serial);
    }
    cr_assert(order == (std::vector<std::uint32_t>{1, 2, 3, 4, 0}));
}

Test(server, a_call_that_nobody_answers_is_answered) {
    Stage stage;
    Caller caller(stage);
    caller.write(frame_of(lock::Procedure::new_, 9, *proto::encode(lock::NewArgs{})));
    cr_assert(caller.read_error(rpc::k_code_internal) == "internal error");
}

Test(server, an_answer_to_a_client_that_is_gone_goes_nowhere) {
    Stage stage;
    Caller other(stage);
    {
        Caller caller(stage);
        caller.write(restrict_frame(1));
        caller.write(restrict_frame(2));
        cr_assert_eq(stage.waiting.size(), 2);
        caller.hang_up();
        stage.waiting.front().reply();  // finds out that nobody listens
        stage.waiting.pop_front();
        stage.turn();
    }
    cr_assert_eq(stage.server.size(), 1);
    cr_assert_null(stage.waiting.front().client());
    stage.waiting.front().reply();
    stage.waiting.clear();
    cr_assert(other.read().empty());
}

Test(server, pings_are_answered_and_a_client_that_does_not_read_is_not_read) {
    Stage stage;
    Caller caller(stage);
    const auto ping = rpc::make_keepalive(rpc::Keepalive::ping);
    caller.write(ping);
    cr_assert_eq(caller.read_one().header.procedure, static_cast<std::uint32_t>(rpc::Keepalive::pong));
    std::size_t sent = 0;
    for (; sent < 100'000 && send(caller.fd(), ping.data(), ping.size(), MSG_NOSIGNAL) > 0; ++sent)
        stage.turn();
    cr_assert_lt(sent, 100'000, "whoever does not read may send for ever");
    std::size_t came = 0;
    for (std::size_t n; (n = caller.read().size()) != 0;) came += n;
    cr_assert_eq(came, sent);
}

Test(server, a_client_that_asked_is_pinged_and_given_up) {
    Stage stage(4, Milliseconds{1000});
    Caller silent(stage);
    stage.loop.advance(Milliseconds{60'000});
    cr_assert(silent.read().empty(), "one that did not ask is never pinged");
    Caller caller(stage);
    caller.write(rpc::make_call(proto::holder::k_program, proto::holder::k_version,
                                proto::holder::Procedure::hand_over, 1),
                 {});
    cr_assert_eq(caller.read().size(), 1);
    stage.loop.advance(Milliseconds{1000});
    cr_assert_eq(caller.read_one().header.procedure, static_cast<std::uint32_t>(rpc::Keepalive::ping));
    caller.write(rpc::make_keepalive(rpc::Keepalive::pong));
    stage.loop.advance(Milliseconds{1000});
    cr_assert_eq(caller.read().size(), 1, "it answered");
    stage.loop.advance(Milliseconds{2000});
    cr_assert(caller.read().size() <= 1 && caller.is_at_end);
    cr_assert_eq(stage.server.size(), 1);
}

Test(server, who_is_not_admitted_is_closed_without_an_answer) {
    Stage stage;
    stage.admit = false;
    Caller caller(stage);
    cr_assert(caller.read().empty() && caller.is_at_end);
    cr_assert_eq(stage.server.size(), 0);
    cr_assert(stage.closed.empty(), "it was never a client");
}

Test(server, more_clients_than_allowed_wait_until_one_leaves) {
    Stage stage(2);
    Caller first(stage), second(stage), third(stage);
    const auto ping = rpc::make_keepalive(rpc::Keepalive::ping);
    third.write(ping);
    cr_assert(third.read().empty());
    cr_assert_eq(stage.server.size(), 2);
    first.hang_up();
    cr_assert_eq(third.read().size(), 1);
}

Test(server, a_peer_is_known_by_the_kernel_and_its_process_can_be_opened) {
    auto pair = make_channel_pair();
    const auto peer = read_peer(pair->first.get());
    cr_assert(peer && peer->uid == geteuid() && peer->gid == getegid() && peer->pid == getpid());
    cr_assert(open_peer_process(pair->first.get(), *peer).has_value());
}

Test(server, a_connection_goes_on_elsewhere_after_any_byte) {
    const ByteVector frame = frame_of(lock::Procedure::register_, 1, register_args());
    for (std::size_t cut = 0; cut <= frame.size(); ++cut) {
        Stage before, after;
        Caller caller(before);
        caller.write(ByteView(frame).first(cut));
        before.server.pause();
        cr_assert_eq(before.settled, 1);
        before.server.for_each([&](Client& client) {
            auto adopted = after.server.adopt(client.give_up(), 7);
            cr_assert(adopted && (*adopted)->peer().pid == getpid());
        });
        cr_assert_eq(send(caller.fd(), frame.data() + cut, frame.size() - cut, MSG_NOSIGNAL),
                     static_cast<ssize_t>(frame.size() - cut));
        after.turn();
        cr_assert(caller.read_one().header.status == Status::ok, "cut at %zu", cut);
        cr_assert_eq(before.names.size() + after.names.size(), 1);
    }
}

Test(server, what_waits_behind_an_open_call_is_handed_over_with_the_connection) {
    Stage before, after;
    Caller caller(before);
    ByteVector stream;
    for (std::uint32_t serial = 0; serial < 4; ++serial) {
        const ByteVector frame = restrict_frame(serial);
        stream.insert(stream.end(), frame.begin(), frame.end());
    }
    caller.write(stream);
    before.server.pause();
    cr_assert_eq(before.settled, 0, "calls are open");
    while (!before.waiting.empty()) {
        before.waiting.front().reply();
        before.waiting.pop_front();
        before.turn();
    }
    cr_assert_eq(before.settled, 1);
    before.server.for_each(
        [&](Client& client) { cr_assert(after.server.adopt(client.give_up(), 7).has_value()); });
    after.turn();
    cr_assert_eq(after.waiting.size(), 2);
    while (!after.waiting.empty()) {
        after.waiting.front().reply();
        after.waiting.pop_front();
        after.turn();
    }
    cr_assert_eq(caller.read().size(), 4);
}

Test(server, a_client_in_the_middle_of_an_overlong_frame_says_so) {
    Stage stage;
    Caller caller(stage);
    const ByteVector frame = rpc::make_frame(call_of(lock::Procedure::register_, 1), ByteVector(k_frame_max));
    caller.write(ByteView(frame).first(100));
    stage.server.pause();
    stage.server.for_each([](Client& client) { cr_assert(client.is_skipping()); });
}
