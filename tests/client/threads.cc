// SPDX-License-Identifier: LGPL-2.1-or-later
// threads - one connection used by many threads at once, for ThreadSanitizer: make check-client-threads.
//
//   client-threads THREADS CALLS
//
// Each thread makes CALLS calls; beside them run eight streams, deadlines that pass, and events whose
// handlers come and go, with a thread that serves the connection and without. Exit status 1 if an answer was
// wrong or missing.
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
    ScriptedServer server(serve);
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

}  // namespace

int main(int count, char** words) {
    const int threads = count > 1 ? atoi(words[1]) : 64;
    const long calls = count > 2 ? atol(words[2]) : 100;
    for (const client::Service service : {client::Service::none, client::Service::thread})
        run(service, threads, calls);
    fmt::print("{} calls good, {} things wrong\n", good.load(), wrong.load());
    return wrong == 0 && good == 2 * threads * calls ? 0 : 1;
}
