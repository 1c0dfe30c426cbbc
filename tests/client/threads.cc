// SPDX-License-Identifier: LGPL-2.1-or-later
// threads - one connection used by many threads at once, for ThreadSanitizer: make check-client-threads.
//
//   client-threads THREADS CALLS
//
// Each thread makes CALLS calls; beside them run eight streams, deadlines that pass, and events whose
// handlers come and go, with a thread that serves the connection and without. Then the same over a server that
// dies again and again, with a connection that makes itself again. Exit status 1 if an answer was wrong or
// missing.
#include <fmt/format.h>

#include <atomic>
#include <cstdlib>

#include "tests/unit/client_server.h"

using namespace virtgate;
using namespace virtgate::test;
using client::Connection;
using client::Deadline;

namespace {

constexpr std::uint32_t k_echo = 1, k_silent = 2, k_open = 10, k_enrol = 20, k_leave = 21, k_event = 22;
constexpr Milliseconds k_patience{60000};

struct Number {
    std::int32_t value = 0;
    void encode(xdr::Writer& writer) const { writer.i32(value); }
    void decode(xdr::Reader& reader) { value = reader.i32(); }
};

template <class Caller>
class Program {
public:
    explicit Program(Caller caller) : caller_(std::move(caller)) {}
    template <class Handler>
    client::Result<client::Subscription> on_number(Handler handler) const {
        return caller_.template subscribe<Number>(procedure(k_event), procedure(k_enrol), procedure(k_leave),
                                                  Number{}, std::move(handler), {});
    }

private:
    Caller caller_;
};

// Echoes calls and what streams bring, answers every 16th call with an event before it, never answers
// k_silent.
void serve(ScriptedServer& server, const Frame& frame) {
    if (frame.header.type == rpc::Type::stream) {
        const bool data = frame.header.status == rpc::Status::proceed && !frame.payload.empty();
        return server.stream(frame.header, data ? rpc::Status::proceed : rpc::Status::ok, frame.payload);
    }
    if (frame.header.procedure == k_silent) return;
    if (frame.header.serial % 16 == 0) server.event(k_event, word(1));
    server.reply(frame.header, frame.header.procedure == k_enrol ? word(1) : frame.payload);
}

std::atomic<long> wrong = 0, good = 0;

void call_often(Connection& connection, int thread, long calls) {
    for (long i = 0; i < calls; ++i) {
        const std::string mine = fmt::format("{}/{}", thread, i);
        const auto reply = connection.call(procedure(k_echo), as_bytes(mine));
        ++(reply && text(*reply) == mine ? good : wrong);
    }
}

void use_stream(Connection& connection, int rounds) {
    auto opened = connection.open_stream(procedure(k_open), {}, client::Streams::plain);
    if (!opened) {
        ++wrong;
        return;
    }
    ByteVector buffer(64);
    for (int i = 0; i < rounds; ++i) {
        const std::string mine = fmt::format("piece {}", i);
        const auto written = opened->stream.write(as_bytes(mine), Deadline::in(k_patience));
        const auto piece = opened->stream.read(buffer, Deadline::in(k_patience));
        if (!written || !piece || text(ByteView(buffer).first(piece->size)) != mine) ++wrong;
    }
    if (rounds % 2 == 0 && !opened->stream.finish(Deadline::in(k_patience))) ++wrong;
}

void come_and_go(Connection& connection, int rounds) {
    for (int i = 0; i < rounds; ++i) {
        int seen = 0;  // callbacks run one at a time, and none after cancel()
        auto subscription = connection.program<Program>().on_number([&seen](const Number&) { ++seen; });
        if (!subscription || !subscription->cancel(Deadline::in(k_patience))) ++wrong;
    }
}

void run_late(Connection& connection, int rounds) {
    for (int i = 0; i < rounds; ++i) {
        const auto reply =
            connection.call(procedure(k_silent), {},
                            {.deadline = Deadline::in(Milliseconds{i % 3}), .fds = {}, .received = nullptr});
        if (reply || reply.error().cause != client::Cause::timeout) ++wrong;
        std::stop_source stop;
        std::thread stopper([&stop] { stop.request_stop(); });
        const auto given_up =
            connection.call(procedure(k_silent), {},
                            {.deadline = {.stop = stop.get_token()}, .fds = {}, .received = nullptr});
        if (given_up || given_up.error().cause != client::Cause::cancelled) ++wrong;
        stopper.join();
    }
}

void run(client::Service service, int threads, long calls) {
    constexpr int k_streams = 8, k_rounds = 50;
    ScriptedServer server(serve, ScriptedServer::Memory::none);
    client::Options options;
    options.service = service;
    auto connection = Connection::attach(server.channel(), options);
    require(connection.has_value(), "no connection");
    std::vector<std::thread> running;
    for (int t = 0; t < threads; ++t) running.emplace_back([&, t] { call_often(*connection, t, calls); });
    for (int t = 0; t < k_streams; ++t)
        running.emplace_back([&, t] { use_stream(*connection, k_rounds + t); });
    running.emplace_back([&] { come_and_go(*connection, k_rounds); });
    running.emplace_back([&] { run_late(*connection, k_rounds); });
    for (std::thread& thread : running) thread.join();
}

// One server after the other, for a connection that makes itself again.
class Place {
public:
    client::Result<std::unique_ptr<client::Channel>> dial() {
        const std::lock_guard lock(mutex_);
        servers_.push_back(std::make_unique<ScriptedServer>(serve, ScriptedServer::Memory::none));
        return servers_.back()->channel();
    }
    void kill() {
        const std::lock_guard lock(mutex_);
        servers_.back()->hang_up();
    }

private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<ScriptedServer>> servers_;
};

// True if it was done; false if it was lost on the way. Anything else is wrong.
bool done_or_lost(const client::Result<ByteVector>& reply, std::string_view mine) {
    if (reply) {
        if (text(*reply) != mine) ++wrong;
        return true;
    }
    if (reply.error().cause != client::Cause::closed) ++wrong;
    return false;
}

void run_over_losses(client::Service service, bool calls_wait) {
    constexpr int k_threads = 16, k_losses = 30;
    Place place;
    client::Options options;
    options.service = service;
    options.reconnect.emplace();
    options.reconnect->first_pause = options.reconnect->longest_pause = Milliseconds{1};
    options.reconnect->calls_wait = calls_wait;
    options.reconnect->dial = [&place](const Deadline&) { return place.dial(); };
    std::atomic<int> lost = 0, events = 0;
    options.reconnect->on_change = [&lost](const client::Change& change) {
        lost += change.kind == client::Change::Kind::lost ? 1 : 0;
    };
    auto connection = Connection::attach(std::move(*place.dial()), options);
    require(connection.has_value(), "no connection");
    auto subscription = connection->program<Program>().on_number([&events](const Number&) { ++events; });
    require(subscription.has_value(), "no subscription");
    std::atomic<bool> over = false;
    std::vector<std::thread> running;
    for (int t = 0; t < k_threads; ++t)
        running.emplace_back([&, t] {
            for (int i = 0; !over; ++i) {
                const std::string mine = fmt::format("{}/{}", t, i);
                done_or_lost(connection->call(procedure(k_echo), as_bytes(mine)), mine);
                if (t == 0) static_cast<void>(connection->serve(Deadline::in(Milliseconds{0})));
            }
        });
    running.emplace_back([&] {
        while (!over) {
            auto opened = connection->open_stream(procedure(k_open), {}, client::Streams::plain);
            ByteVector buffer(16);
            if (!opened || !opened->stream.write(as_bytes("x"), Deadline::in(k_patience))) continue;
            const auto piece = opened->stream.read(buffer, Deadline::in(k_patience));
            if (!piece && piece.error().cause != client::Cause::closed) ++wrong;
        }
    });
    running.emplace_back([&] {
        while (!over) {
            auto other = connection->program<Program>().on_number([](const Number&) {});
            if (other) static_cast<void>(other->cancel(Deadline::in(k_patience)));
        }
    });
    for (int i = 0; i < k_losses; ++i) {
        std::this_thread::sleep_for(Milliseconds{3});
        place.kill();
    }
    // Events come again behind the last loss.
    const int before = events;
    const Deadline deadline = Deadline::in(k_patience);
    while (events == before && !deadline.passed(system_clock().now())) std::this_thread::yield();
    if (events == before || lost == 0 || !subscription->cancel(deadline)) ++wrong;
    over = true;
    for (std::thread& thread : running) thread.join();
    if (!done_or_lost(connection->call(procedure(k_echo), as_bytes("last")), "last")) ++wrong;
}

}  // namespace

int main(int count, char** words) {
    const int threads = count > 1 ? atoi(words[1]) : 64;
    const long calls = count > 2 ? atol(words[2]) : 100;
    for (const client::Service service : {client::Service::none, client::Service::thread})
        run(service, threads, calls);
    for (const client::Service service : {client::Service::none, client::Service::thread})
        for (const bool calls_wait : {false, true}) run_over_losses(service, calls_wait);
    fmt::print("{} calls good, {} things wrong\n", good.load(), wrong.load());
    return wrong == 0 && good == 2 * threads * calls ? 0 : 1;
}
