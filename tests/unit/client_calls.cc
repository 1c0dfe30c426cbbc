// SPDX-License-Identifier: LGPL-2.1-or-later
// client_calls - tests of one connection that is used from many threads: answers in any order, deadlines,
// broken servers.
//
// VIRTGATE_CLIENT_CALLS sets how many calls each of the 64 threads makes; "make check-client-threads" makes
// 100,000 under ThreadSanitizer.
#include <criterion/criterion.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "tests/unit/client_server.h"

using namespace virtgate;
using namespace virtgate::client;
using namespace virtgate::test;

namespace {

void echo(ScriptedServer& server, const Frame& frame) {
    if (frame.header.procedure == k_echo) server.reply(frame.header, frame.payload);
}

Failure failure_of(client::Result<ByteVector> result) {
    cr_assert(!result.has_value());
    return result.error();
}

}  // namespace

Test(client_calls, a_call_gets_its_answer_or_its_error) {
    ScriptedServer server([](ScriptedServer& self, const Frame& frame) {
        if (frame.payload.empty())
            self.refuse(frame.header, 42, "Domain not found");
        else
            self.reply(frame.header, frame.payload);
    });
    Connection connection = attach(server);
    cr_assert_eq(echo_of(connection, "hello"), "hello");
    const Failure failure = failure_of(connection.call(procedure(k_echo), {}));
    cr_assert(failure.is(42));
    cr_assert_eq(failure.text, "Domain not found");
    cr_assert_eq(echo_of(connection, "again"), "again");
    const auto frames = server.frames();
    for (std::uint32_t i = 0; i < 3; ++i) cr_assert_eq(frames[i].header.serial, i, "serials start at 0");
}

Test(client_calls, answers_may_come_in_any_order) {
    constexpr std::size_t k_threads = 16;
    std::vector<Frame> waiting;
    ScriptedServer server([&waiting](ScriptedServer& self, const Frame& frame) {
        waiting.push_back(frame);
        if (waiting.size() < k_threads) return;
        for (; !waiting.empty(); waiting.pop_back())
            self.reply(waiting.back().header, waiting.back().payload);
    });
    Connection connection = attach(server);
    std::vector<std::thread> threads;
    std::atomic<int> good = 0;
    for (std::size_t i = 0; i < k_threads; ++i)
        threads.emplace_back([&, mine = fmt::format("thread {}", i)] {
            const auto reply = connection.call(procedure(k_echo), as_bytes(mine), within(k_patience));
            if (reply && text(*reply) == mine) ++good;
        });
    for (std::thread& thread : threads) thread.join();
    cr_assert_eq(good, k_threads);
}

Test(client_calls, nobody_waits_for_the_answer_of_another) {
    std::atomic<bool> asked = false;
    ScriptedServer server([&asked](ScriptedServer& self, const Frame& frame) {
        if (frame.header.procedure == k_silent) asked = true;
        echo(self, frame);
    });
    Connection connection = attach(server);
    // The first one has the role of the reader and never gets its answer; all others get theirs.
    std::stop_source stop;
    std::thread stuck([&] {
        const auto reply =
            connection.call(procedure(k_silent), {}, {.deadline = {.stop = stop.get_token()}, .fds = {}});
        cr_assert(!reply && reply.error().cause == Cause::cancelled);
    });
    while (!asked) usleep(1000);
    for (int i = 0; i < 100; ++i) cr_assert_eq(echo_of(connection, "x"), "x");
    stop.request_stop();
    stuck.join();
    cr_assert_eq(echo_of(connection, "y"), "y");
}

Test(client_calls, the_reader_passes_its_role_on) {
    // Each call is answered when the next one comes: whoever reads leaves while another still waits.
    std::optional<Frame> before;
    ScriptedServer server([&before](ScriptedServer& self, const Frame& frame) {
        if (before) self.reply(before->header, before->payload);
        before = frame;
        if (text(frame.payload) == "last") self.reply(frame.header, frame.payload);
    });
    Connection connection = attach(server);
    std::vector<std::thread> threads;
    std::atomic<int> good = 0;
    for (std::size_t i = 0; i < 20; ++i) {
        threads.emplace_back(
            [&] { good += connection.call(procedure(k_echo), bytes("abc"), within(k_patience)) ? 1 : 0; });
        server.await(i + 1);
    }
    cr_assert_eq(echo_of(connection, "last"), "last");
    for (std::thread& thread : threads) thread.join();
    cr_assert_eq(good, 20);
}

Test(client_calls, sixty_four_threads_on_one_connection, .timeout = 600) {
    const char* wanted = getenv("VIRTGATE_CLIENT_CALLS");
    const long calls = wanted != nullptr ? strtol(wanted, nullptr, 10) : 200;
    ScriptedServer server(echo);
    Connection connection = attach(server);
    std::vector<std::thread> threads;
    std::atomic<long> good = 0;
    for (int t = 0; t < 64; ++t)
        threads.emplace_back([&connection, &good, t, calls] {
            for (long i = 0; i < calls; ++i) {
                const std::string mine = fmt::format("{}/{}", t, i);
                const auto reply = connection.call(procedure(k_echo), as_bytes(mine));
                if (reply && text(*reply) == mine) ++good;
            }
        });
    for (std::thread& thread : threads) thread.join();
    cr_assert_eq(good, 64 * calls);
}

Test(client_calls, a_late_answer_is_dropped) {
    std::optional<Frame> late;
    ScriptedServer server([&late](ScriptedServer& self, const Frame& frame) {
        if (frame.header.procedure == k_silent) {
            late = frame;
            return;
        }
        if (late) self.reply(late->header, bytes("too late"));
        late.reset();
        self.reply(frame.header, frame.payload);
    });
    Connection connection = attach(server);
    cr_assert_eq(failure_of(connection.call(procedure(k_silent), {}, within(Milliseconds{30}))).cause,
                 Cause::timeout);
    cr_assert_eq(echo_of(connection, "a"), "a");
    cr_assert_eq(echo_of(connection, "b"), "b");
    cr_assert(!connection.closed());
}

Test(client_calls, there_is_a_bound_for_calls_without_an_answer) {
    ScriptedServer server(echo);
    Options options;
    options.limits.calls = 3;
    Connection connection = attach(server, options);
    for (int i = 0; i < 3; ++i)
        cr_assert_eq(failure_of(connection.call(procedure(k_silent), {}, within(Milliseconds{5}))).cause,
                     Cause::timeout);
    cr_assert_eq(failure_of(connection.call(procedure(k_echo), {}, within(k_patience))).cause, Cause::busy);
}

Test(client_calls, a_server_that_does_not_read_makes_callers_wait_and_no_queue_grow) {
    ScriptedServer server(echo);
    Options options;
    options.limits.send_queue = 100000;
    Connection connection = attach(server, options);
    server.pause(true);
    const ByteVector large(50000);
    std::vector<std::thread> threads;
    std::atomic<int> late = 0, early = 0, good = 0;
    for (int i = 0; i < 32; ++i)
        threads.emplace_back([&, i] {
            // Half of them give up, the others wait until the server reads again.
            const bool is_patient = i % 2 != 0;
            const auto reply = connection.call(procedure(k_echo), large,
                                               within(is_patient ? k_patience : Milliseconds{200}));
            if (!reply && reply.error().cause == Cause::timeout) ++late;
            if (!reply || *reply != large) return;
            ++good;
            if (!is_patient) ++early;
        });
    // The server still takes what it was waiting for when it was told to pause: one call, of whomever.
    for (int i = 0; i < 1000 && late + early < 16; ++i) usleep(10000);
    cr_assert_eq(late + early, 16);
    cr_assert_leq(early, 1);
    server.pause(false);
    for (std::thread& thread : threads) thread.join();
    cr_assert_eq(late + good, 32);
}

Test(client_calls, a_server_may_die_at_any_byte) {
    const rpc::Header call = rpc::make_call(k_program, k_version, k_echo, 0);
    const ByteVector whole = rpc::make_frame(rpc::reply_to(call), bytes("0123456789ab"));
    for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
        ScriptedServer server([&](ScriptedServer& self, const Frame&) {
            self.send(ByteView(whole).first(cut));
            self.hang_up();
        });
        Connection connection = attach(server);
        const auto reply = connection.call(procedure(k_echo), {}, within(k_patience));
        if (cut == whole.size()) {
            cr_assert(reply.has_value());
            continue;
        }
        cr_assert_eq(failure_of(reply).cause, Cause::closed);
        const bool within_message = reply.error().text.find("within a message") != std::string::npos;
        cr_assert_eq(within_message, cut > 0, "%s", reply.error().text.c_str());
        cr_assert_eq(failure_of(connection.call(procedure(k_echo), {})).cause, Cause::closed);
    }
}

Test(client_calls, a_server_may_send_byte_by_byte) {
    ScriptedServer server([](ScriptedServer& self, const Frame& frame) {
        const ByteVector whole = rpc::make_frame(rpc::reply_to(frame.header), frame.payload);
        for (const std::byte& one : whole) self.send({&one, 1});
    });
    Connection connection = attach(server);
    for (int i = 0; i < 10; ++i) cr_assert_eq(echo_of(connection, "slowly"), "slowly");
}

Test(client_calls, garbage_is_a_clear_error_and_closes) {
    using Make = std::function<ByteVector(const rpc::Header&)>;
    const auto changed = [](auto change) -> Make {
        return [change](const rpc::Header& call) {
            rpc::Header header = rpc::reply_to(call);
            change(header);
            return rpc::make_frame(header, {});
        };
    };
    const std::vector<std::pair<Make, std::string_view>> kinds{
        {[](const rpc::Header&) { return bytes("HTTP/1.1 400 Bad Request\r\n"); }, "not libvirt's protocol"},
        {[](const rpc::Header&) { return word(4); }, "not libvirt's protocol"},
        {[](const rpc::Header&) { return word(0x7fffffff); }, "not libvirt's protocol"},
        {changed([](rpc::Header& h) { h.serial += 1; }), "an answer to nothing"},
        {changed([](rpc::Header& h) { h.procedure += 1; }), "another procedure"},
        {changed([](rpc::Header& h) { h.program += 1; }), "another procedure"},
        {changed([](rpc::Header& h) { h.status = rpc::Status::proceed; }), "neither good nor an error"},
        {changed([](rpc::Header& h) { h.type = rpc::Type::call; }), "it made a call"},
        {changed([](rpc::Header& h) { h.type = static_cast<rpc::Type>(99); }), "type 99"},
    };
    for (const auto& [make, words] : kinds) {
        ScriptedServer server(
            [&make = make](ScriptedServer& self, const Frame& frame) { self.send(make(frame.header)); });
        Connection connection = attach(server);
        const Failure failure = failure_of(connection.call(procedure(k_echo), {}, within(k_patience)));
        cr_assert_eq(failure.cause, Cause::protocol);
        cr_assert_neq(failure.text.find(words), std::string::npos, "%s", failure.text.c_str());
        cr_assert(connection.closed().has_value());
    }
    // An error that cannot be read says so; the frame is whole, so the connection goes on.
    ScriptedServer server([](ScriptedServer& self, const Frame& frame) {
        if (frame.header.procedure == k_echo) return self.reply(frame.header);
        self.send(rpc::make_frame(rpc::reply_to(frame.header, rpc::Status::error), word(1)));
    });
    Connection connection = attach(server);
    cr_assert_eq(failure_of(connection.call(procedure(k_silent), {})).cause, Cause::protocol);
    cr_assert(connection.call(procedure(k_echo), {}).has_value());
}

Test(client_calls, a_frame_longer_than_the_limit_is_refused_before_it_comes) {
    ScriptedServer server(
        [](ScriptedServer& self, const Frame& frame) { self.reply(frame.header, ByteVector(5000)); });
    Options options;
    options.limits.frame_max = 4096;
    Connection connection = attach(server, options);
    cr_assert_eq(failure_of(connection.call(procedure(k_echo), {}, within(k_patience))).cause,
                 Cause::protocol);
}

Test(client_calls, closing_ends_the_calls_that_wait) {
    ScriptedServer server(echo);
    Connection connection = attach(server);
    std::thread waiting([&] {
        const auto reply = connection.call(procedure(k_silent), {});
        cr_assert(!reply && reply.error().cause == Cause::closed);
    });
    server.await(1);
    connection.close();
    waiting.join();
}

Test(client_calls, descriptors_go_both_ways) {
    ScriptedServer server([](ScriptedServer& self, const Frame& frame) {
        cr_assert_eq(frame.header.type, rpc::Type::call_with_fds);
        cr_assert_eq(load_be32(frame.payload.data()), 1);
        cr_assert_eq(self.fds().size(), 1);
        rpc::Header header = rpc::reply_to(frame.header);
        header.type = rpc::Type::reply_with_fds;
        self.send(rpc::make_frame(header, word(1)));
        const auto output = make_socket_channel(UniqueFd{dup(self.fd())}, true, true);
        cr_assert(output->send_descriptor(self.fds().front().get()).has_value());
        self.event(99, {});  // what follows is read as frames again
    });
    Connection connection = attach(server);
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    std::vector<UniqueFd> received;
    const auto reply =
        connection.call(procedure(k_echo), {},
                        {.deadline = Deadline::in(k_patience), .fds = {ends[1]}, .received = &received});
    cr_assert(reply.has_value(), "%s", reply ? "" : reply.error().text.c_str());
    cr_assert_eq(received.size(), 1);
    cr_assert_eq(write(received.front().get(), "!", 1), 1);
    char back = 0;
    cr_assert_eq(read(ends[0], &back, 1), 1);
    cr_assert_eq(back, '!');
}

Test(client_calls, started_calls_answer_in_the_loop_and_time_out_there) {
    ScriptedServer server(echo);
    Options options;
    options.service = Service::loop;
    Connection connection = attach(server, options);
    std::vector<std::string> said;
    const auto note = [&said](std::string_view who) {
        return [&said, who = std::string(who)](const client::Result<ByteVector>& reply) {
            said.push_back(who + " " + (reply ? text(*reply) : std::string(to_text(reply.error().cause))));
        };
    };
    const auto turn_until = [&connection, &said](std::size_t count) {
        while (said.size() < count) {
            pollfd waited{connection.fd(), POLLIN, 0};
            cr_assert_eq(poll(&waited, 1, 20000), 1);
            connection.dispatch();
        }
    };
    cr_assert(connection.start_call(procedure(k_echo), bytes("one"), Instant::max(), note("a")).has_value());
    turn_until(1);
    const Instant soon = system_clock().now() + Milliseconds{20};
    cr_assert(connection.start_call(procedure(k_silent), {}, soon, note("b")).has_value());
    const auto id = connection.start_call(procedure(k_silent), {}, Instant::max(), note("c"));
    turn_until(2);
    connection.cancel_call(*id);
    connection.dispatch();
    const std::vector<std::string> expected{"a one", "b timeout", "c cancelled"};
    cr_assert(said == expected);
    // A blocking call of the loop's own thread, and of another one, goes past the loop.
    cr_assert_eq(echo_of(connection, "two"), "two");
    std::thread([&] { cr_assert_eq(echo_of(connection, "three"), "three"); }).join();
    pollfd waited{connection.fd(), POLLIN, 0};
    cr_assert_eq(poll(&waited, 1, 0), 0, "nothing is left for the loop");
}

// The thread waits for the server then, which says nothing.
Test(client_calls, a_started_call_that_is_given_up_is_told_of_at_once) {
    ScriptedServer server(echo);
    Options options;
    options.service = Service::thread;
    Connection connection = attach(server, options);
    std::atomic<bool> told = false;
    const auto id = connection.start_call(procedure(k_silent), {}, Instant::max(),
                                          [&told](const client::Result<ByteVector>& reply) {
                                              told = !reply && reply.error().cause == Cause::cancelled;
                                          });
    cr_assert(id.has_value());
    server.await(1);
    usleep(50000);
    connection.cancel_call(*id);
    for (int i = 0; i < 5000 && !told; ++i) usleep(1000);
    cr_assert(told);
}

Test(client_calls, pings_are_answered_while_nobody_calls) {
    ScriptedServer server(echo);
    Options options;
    options.service = Service::thread;
    Connection connection = attach(server, options);
    for (int i = 0; i < 3; ++i) {
        server.send(rpc::make_keepalive(rpc::Keepalive::ping));
        server.await(static_cast<std::size_t>(i) + 1);
        cr_assert(server.frames().back().header.program == rpc::k_keepalive_program);
        cr_assert_eq(server.frames().back().header.procedure, 2);
    }
    cr_assert_eq(echo_of(connection, "x"), "x");
}

Test(client_calls, the_end_is_told_once_with_its_reason) {
    for (const Service service : {Service::thread, Service::none}) {
        ScriptedServer server(echo);
        Options options;
        options.service = service;
        Connection connection = attach(server, options);
        std::atomic<int> told = 0;
        connection.on_close([&told](Connection::Reason reason, const Failure& failure) {
            cr_assert(reason == Connection::Reason::end);
            cr_assert_eq(failure.cause, Cause::closed);
            ++told;
        });
        server.hang_up();
        if (service == Service::none) static_cast<void>(connection.serve(Deadline::in(k_patience)));
        for (int i = 0; i < 2000 && told == 0; ++i) usleep(10000);
        cr_assert_eq(told, 1);
        cr_assert(connection.closed().has_value());
    }
}
