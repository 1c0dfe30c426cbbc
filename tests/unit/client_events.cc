// SPDX-License-Identifier: LGPL-2.1-or-later
// client_events - tests of events beside calls: order, whose they are, bounds.
#include <criterion/criterion.h>
#include <unistd.h>

#include <atomic>

#include "tests/unit/client_server.h"

using namespace virtgate;
using namespace virtgate::test;
using client::CallOptions;
using client::Connection;
using client::Deadline;
using client::Options;
using client::Service;

namespace {

// What the generated functions do, for a program that has no schema.
struct Number {
    std::int32_t value = 0;
    void encode(xdr::Writer& writer) const { writer.i32(value); }
    void decode(xdr::Reader& reader) { value = reader.i32(); }
};
struct Message {
    std::int32_t callback_id = 0;
    std::string words;
    void encode(xdr::Writer& writer) const {
        writer.i32(callback_id);
        writer.string(words, 1000);
    }
    void decode(xdr::Reader& reader) {
        callback_id = reader.i32();
        words = reader.string(1000);
    }
};
template <class Caller>
class Program {
public:
    explicit Program(Caller caller) : caller_(std::move(caller)) {}
    template <class Handler>
    client::Result<client::Subscription> on_message(Handler handler, const CallOptions& options = {}) const {
        return caller_.template subscribe<Message>(procedure(k_event), procedure(k_enrol), procedure(k_leave),
                                                   Number{0}, std::move(handler), options);
    }

private:
    Caller caller_;
};

ByteVector message(std::int32_t id, std::string_view words) {
    return *proto::encode(Message{id, std::string(words)});
}

}  // namespace

Test(client_events, events_reach_their_handler_in_order_also_the_early_ones) {
    std::int32_t next = 5;
    ScriptedServer server([&next](ScriptedServer& self, const Frame& frame) {
        if (frame.header.procedure == k_enrol) {
            const std::int32_t id = next++;
            // One that comes before the client can know its number, and one for somebody else.
            self.event(k_event, message(id, "early"));
            self.event(k_event, message(77, "not ours"));
            self.reply(frame.header, *proto::encode(Number{id}));
            for (int i = 0; i < 100; ++i) self.event(k_event, message(id, fmt::format("{}", i)));
            return;
        }
        self.reply(frame.header, frame.payload);
    });
    Options options;
    options.service = Service::thread;
    Connection connection = attach(server, options);
    std::mutex mutex;
    std::vector<std::string> seen;
    auto subscription = connection.program<Program>().on_message([&](const Message& message) {
        const std::lock_guard lock(mutex);
        seen.push_back(message.words);
    });
    cr_assert(subscription.has_value());
    for (int i = 0; i < 2000; ++i) {
        usleep(1000);
        const std::lock_guard lock(mutex);
        if (seen.size() >= 101) break;
    }
    cr_assert(subscription->cancel(Deadline::in(k_patience)).has_value());
    cr_assert_eq(seen.size(), 101);
    cr_assert_eq(seen.front(), "early");
    for (int i = 0; i < 100; ++i) cr_assert_eq(seen[static_cast<std::size_t>(i) + 1], fmt::format("{}", i));
    cr_assert_eq(server.frames().back().header.procedure, k_leave);
    cr_assert_eq(load_be32(server.frames().back().payload.data()), 5);
}

Test(client_events, a_handler_may_end_itself_and_may_call) {
    ScriptedServer server([](ScriptedServer& self, const Frame& frame) {
        if (frame.header.procedure == k_enrol) {
            self.reply(frame.header, word(1));
            for (int i = 0; i < 10; ++i) self.event(k_event, message(1, "x"));
            return;
        }
        self.reply(frame.header, frame.payload);
    });
    Options options;
    options.service = Service::thread;
    Connection connection = attach(server, options);
    std::atomic<int> calls = 0;
    std::atomic<bool> ready = false, over = false;
    client::Subscription subscription;
    auto made = connection.program<Program>().on_message([&](const Message&) {
        while (!ready) usleep(1000);
        if (++calls < 3) {
            cr_assert(connection.call(procedure(k_echo), {}, within(k_patience)).has_value());
            return;
        }
        cr_assert(subscription.cancel(Deadline::in(k_patience)).has_value());
        over = true;
    });
    cr_assert(made.has_value());
    subscription = std::move(*made);
    ready = true;
    for (int i = 0; i < 2000 && !over; ++i) usleep(1000);
    usleep(20000);
    cr_assert_eq(calls, 3, "the rest was not delivered any more");
}

Test(client_events, events_beyond_the_bound_are_counted) {
    ScriptedServer server([](ScriptedServer& self, const Frame& frame) {
        if (frame.header.procedure == k_enrol) {
            self.reply(frame.header, word(1));
            for (int i = 0; i < 50; ++i) self.event(k_event, message(1, "x"));
            return;
        }
        self.reply(frame.header, frame.payload);
    });
    Options options;
    options.limits.events = 10;
    Connection connection = attach(server, options);
    int seen = 0;
    auto subscription = connection.program<Program>().on_message([&](const Message&) { ++seen; });
    cr_assert(subscription.has_value());
    cr_assert(connection.call(procedure(k_echo), {}, within(k_patience)).has_value());
    while (connection.lost_events() < 40)
        cr_assert(connection.call(procedure(k_echo), {}, within(k_patience)).has_value());
    cr_assert(connection.serve(Deadline::in(k_patience)).has_value());
    cr_assert_eq(seen, 10);
    cr_assert_eq(connection.lost_events(), 40);
}

// With Service::thread nobody has to, but who does it anyway stops nobody: two threads want to run callbacks then.
Test(client_events, may_be_served_beside_the_thread, .timeout = 30) {
    ScriptedServer server([](ScriptedServer& self, const Frame& frame) {
        if (frame.header.procedure == k_enrol) return self.reply(frame.header, word(1));
        // All at once, so that the caller has them before the thread looks.
        ByteVector together;
        const auto event =
            rpc::make_frame(rpc::make_message(k_program, k_version, k_event, 1), message(1, "x"));
        for (int i = 0; i < 3; ++i) together.insert(together.end(), event.begin(), event.end());
        const auto reply = rpc::make_frame(rpc::reply_to(frame.header), frame.payload);
        together.insert(together.end(), reply.begin(), reply.end());
        self.send(together);
    });
    Options options;
    options.service = Service::thread;
    Connection connection = attach(server, options);
    std::atomic<int> seen = 0;
    auto subscription = connection.program<Program>().on_message([&](const Message&) {
        usleep(200);
        ++seen;
    });
    cr_assert(subscription.has_value());
    constexpr int k_rounds = 200;
    for (int i = 0; i < k_rounds; ++i) {
        cr_assert(connection.call(procedure(k_echo), {}, within(k_patience)).has_value());
        static_cast<void>(connection.serve(Deadline::in(Milliseconds{0})));
    }
    for (int i = 0; i < 20000 && seen < 3 * k_rounds; ++i) usleep(1000);
    cr_assert_eq(seen, 3 * k_rounds);
}
