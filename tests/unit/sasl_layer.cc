// SPDX-License-Identifier: LGPL-2.1-or-later
// sasl_layer - the security layer of a client over plain TCP: every byte, both ways, and how it ends.
#include <criterion/criterion.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>

#include "libshared/base/clock.h"
#include "tests/unit/support/sasl_stage.h"

using namespace virtgate;
using namespace virtgate::test;
using channel::Outcome;

namespace {

constexpr std::size_t k_long = 10'000'000;

// Byte `i` of what one side sends; the sides send different things.
char pattern(std::size_t i, unsigned side) {
    return static_cast<char>((i * 2654435761U + (i >> 13) + side) >> 7);
}

std::string make_pattern(unsigned side, std::size_t size = k_long) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = pattern(i, side);
    return text;
}

// A client that has logged in over plain TCP, its gate's clear side and its connection.
struct Encrypted {
    explicit Encrypted(SaslStage& stage, bool hand_over_now = true) {
        visitor = std::make_unique<Visitor>(stage.open(true));
        client = std::make_unique<Client>("alice", "open sesame", true);
        Login login = log_in(*visitor, *client, "DIGEST-MD5");
        cr_assert(login.complete, "%s", login.last.text.c_str());
        strength = login.last.result.strength;
        cr_assert_eq(strength, client->strength());
        clear = std::move(login.last.clear);
        cr_assert(static_cast<bool>(clear), "no clear side");
        std::array<int, 2> ends{};
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
        tcp = UniqueFd{ends[0]};
        server_end = UniqueFd{ends[1]};
        if (hand_over_now) hand_over();
    }
    void hand_over() {
        const std::byte byte{};
        cr_assert_eq(channel::send_packet(clear.get(), {&byte, 1}, std::array{server_end.get()}),
                     Outcome::done);
        server_end.reset();
        // A gate serves it without waiting; here it is simpler with.
        cr_assert(set_nonblocking(clear.get(), false).has_value());
    }
    std::unique_ptr<Visitor> visitor;
    std::unique_ptr<Client> client;
    unsigned strength = 0;
    UniqueFd clear, tcp, server_end;
};

// Sends `out` in pieces of `piece` bytes and receives `size` bytes at the same time, each through a function.
template <class Encode, class Decode>
std::string pump(int fd, const std::string& out, std::size_t size, std::size_t piece, Encode encode,
                 Decode decode) {
    std::string in, waiting;
    std::size_t sent = 0;
    std::vector<char> buffer(65536);
    while (sent < out.size() || !waiting.empty() || in.size() < size) {
        if (waiting.empty() && sent < out.size()) {
            const std::size_t n = std::min(piece, out.size() - sent);
            waiting = encode(std::string_view{out}.substr(sent, n));
            sent += n;
        }
        const int wanted = (waiting.empty() ? 0 : POLLOUT) | (in.size() < size ? POLLIN : 0);
        pollfd polled{fd, static_cast<short>(wanted), 0};
        if (poll(&polled, 1, 20'000) <= 0) break;
        if ((polled.revents & POLLOUT) != 0) {
            const ssize_t n = ::send(fd, waiting.data(), waiting.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n > 0) waiting.erase(0, static_cast<std::size_t>(n));
        }
        if ((polled.revents & (POLLIN | POLLHUP)) != 0) {
            const ssize_t n = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
            if (n == 0) break;
            if (n > 0) in += decode(std::string_view{buffer.data(), static_cast<std::size_t>(n)});
        }
    }
    return in;
}

std::string same(std::string_view text) { return std::string{text}; }

// What comes until the other end closes, at most within 5 s.
std::string read_all(int fd) {
    std::string text;
    for (;;) {
        pollfd polled{fd, POLLIN, 0};
        if (poll(&polled, 1, 5000) <= 0) return text + "(still open)";
        char part[4096];
        const ssize_t n = recv(fd, part, sizeof part, 0);
        if (n <= 0) return text;
        text.append(part, static_cast<std::size_t>(n));
    }
}

}  // namespace

// The gate is another process, so that both directions are busy at the same time.
Test(sasl_layer, carries_ten_megabytes_both_ways, .timeout = 120) {
    SaslStage stage(make_config({"DIGEST-MD5"}), make_users());
    Encrypted session(stage);
    cr_expect_geq(session.strength, 56U);
    cr_assert(stage.wait_for_children(1));
    const pid_t codec = stage.children().front();
    const std::string from_client = make_pattern(0), from_gate = make_pattern(1);
    const std::size_t before = SaslStage::data_kib(codec);
    std::size_t most = 0;
    const Instant start = system_clock().now();
    const pid_t gate = fork();
    if (gate == 0) {
        session.tcp.reset();
        const std::string in = pump(session.clear.get(), from_gate, k_long, 100'000, same, same);
        _exit(in == from_client ? 0 : 1);
    }
    session.clear.reset();
    const std::string in = pump(
        session.tcp.get(), from_client, k_long, session.client->max_piece(),
        [&](std::string_view clear) {
            most = std::max(most, SaslStage::data_kib(codec));
            return session.client->encode(clear);
        },
        [&](std::string_view coded) { return session.client->decode(coded).value_or("(broken)"); });
    cr_expect(in == from_gate, "the client got something else");
    cr_expect_leq(most, before + 1024, "%zu KiB before, %zu at most", before, most);
    int status = -1;
    cr_assert_eq(waitpid(gate, &status, 0), gate);
    cr_expect_eq(status, 0, "the gate got something else");
    fmt::print(stderr, "layer: {:.0f} MB/s, {} KiB of data\n",
               2.0 * static_cast<double>(k_long) / 1000.0 / milliseconds_since(start), most);
    // The gate has closed its end: so is the connection closed, and the process gone.
    cr_expect(read_all(session.tcp.get()).empty());
    cr_expect(stage.wait_for_children(0));
}

Test(sasl_layer, passes_on_small_pieces_and_half_closes) {
    SaslStage stage(make_config({"DIGEST-MD5"}), make_users());
    Encrypted session(stage);
    // One blob that comes byte by byte.
    const std::string coded = session.client->encode("hello");
    for (const char c : coded) cr_assert_eq(::send(session.tcp.get(), &c, 1, 0), 1);
    std::array<char, 16> buffer{};
    cr_assert_eq(recv(session.clear.get(), buffer.data(), buffer.size(), 0), 5);
    cr_expect_str_eq(buffer.data(), "hello");
    // The client has no more to say, and still gets an answer.
    shutdown(session.tcp.get(), SHUT_WR);
    cr_expect_eq(recv(session.clear.get(), buffer.data(), buffer.size(), 0), 0);
    cr_assert_eq(::send(session.clear.get(), "bye", 3, 0), 3);
    session.clear.reset();
    const auto rest = session.client->decode(read_all(session.tcp.get()));
    cr_expect(rest == "bye", "%s", rest.value_or("(broken)").c_str());
    cr_expect(stage.wait_for_children(0));
}

Test(sasl_layer, ends_with_either_side) {
    SaslStage stage(make_config({"DIGEST-MD5"}), make_users());
    Encrypted client_goes(stage);
    client_goes.tcp.reset();
    cr_expect(read_all(client_goes.clear.get()).empty());
    client_goes.clear.reset();
    cr_expect(stage.wait_for_children(0));
    Encrypted gate_goes(stage);
    gate_goes.clear.reset();
    cr_expect(read_all(gate_goes.tcp.get()).empty());
    cr_expect(stage.wait_for_children(0));
    Encrypted never(stage, false);
    never.clear.reset();
    cr_expect(stage.wait_for_children(0), "waits for a connection that cannot come");
}

// A blob that was changed on its way is not passed on, and neither is anything after it.
Test(sasl_layer, refuses_what_was_changed) {
    SaslStage stage(make_config({"DIGEST-MD5"}), make_users());
    for (const std::size_t place : {std::size_t{0}, std::size_t{4}, std::size_t{8}}) {
        Encrypted session(stage);
        std::string coded = session.client->encode("domain_destroy") + session.client->encode("more");
        coded[place] = static_cast<char>(coded[place] ^ 0x40);
        cr_assert_eq(::send(session.tcp.get(), coded.data(), coded.size(), 0),
                     static_cast<ssize_t>(coded.size()));
        shutdown(session.tcp.get(), SHUT_WR);
        cr_expect(read_all(session.clear.get()).empty());
        session.clear.reset();
        cr_expect(stage.wait_for_children(0));
    }
}

// Neither side reads: what is written piles up in sockets, not in the process.
Test(sasl_layer, does_not_hoard) {
    SaslStage stage(make_config({"DIGEST-MD5"}), make_users());
    Encrypted session(stage);
    const pid_t codec = stage.children().front();
    const std::string one = make_pattern(2, 60'000);
    const std::size_t before = SaslStage::data_kib(codec);
    std::size_t written = 0;
    for (int idle = 0; idle < 20;) {
        const ssize_t n = ::send(session.clear.get(), one.data(), one.size(), MSG_DONTWAIT);
        if (n > 0) written += static_cast<std::size_t>(n);
        idle = n > 0 ? 0 : idle + 1;
        if (n <= 0) usleep(5000);
        cr_assert_lt(written, 8'000'000U, "nothing stops the writer");
    }
    cr_expect_leq(SaslStage::data_kib(codec), before + 512);
    session.tcp.reset();
    session.clear.reset();
    cr_expect(stage.wait_for_children(0));
}
