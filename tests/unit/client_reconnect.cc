// SPDX-License-Identifier: LGPL-2.1-or-later
// client_reconnect - tests of connections that make themselves again: what ends, what goes on, when it is given up.
#include <criterion/criterion.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "proto/codec.h"
#include "proto/remote.h"
#include "tests/unit/client_server.h"

using namespace virtgate;
using namespace virtgate::test;
using client::CallOptions;
using client::Cause;
using client::Change;
using client::Connection;
using client::Deadline;
using client::Failure;
using client::Options;
using client::Service;
using client::Streams;
using rpc::Status;

namespace remote = proto::remote;

namespace {

struct Number {
    std::int32_t value = 0, more = 0;
    void encode(xdr::Writer& writer) const { writer.i32(value); }
    void decode(xdr::Reader& reader) {
        value = reader.i32();
        more = reader.i32();
    }
};

template <class Caller>
class Program {
public:
    explicit Program(Caller caller) : caller_(std::move(caller)) {}
    template <class Handler>
    client::Result<client::Subscription> on_number(std::int32_t what, Handler handler) const {
        return caller_.template subscribe<Number>(procedure(k_event), procedure(k_enrol), procedure(k_leave),
                                                  Number{.value = what}, std::move(handler),
                                                  within(k_patience));
    }

private:
    Caller caller_;
};

ByteVector event_of(std::uint32_t id, std::uint32_t more) {
    ByteVector payload = word(id);
    const ByteVector rest = word(more);
    payload.insert(payload.end(), rest.begin(), rest.end());
    return payload;
}

// One server after the other, and what the program was told.
class Place {
public:
    using Script = std::function<void(Place&, ScriptedServer&, const Frame&)>;
    explicit Place(Script script = {}) : script_(std::move(script)) {
        if (!script_)
            script_ = [](Place& self, ScriptedServer& server, const Frame& frame) {
                self.serve(server, frame);
            };
    }

    // Opens streams, ends them, echoes, and registers: the n-th server calls the registration of x 100 n + x.
    void serve(ScriptedServer& server, const Frame& frame) {
        if (frame.header.type == rpc::Type::stream) {
            if (frame.payload.empty()) server.stream(frame.header, Status::ok);
            return;
        }
        switch (frame.header.procedure) {
            case k_silent: return;
            case k_enrol: return server.reply(frame.header, word(id(load_be32(frame.payload.data()))));
            default: return server.reply(frame.header, frame.payload);
        }
    }
    std::uint32_t id(std::uint32_t what) { return static_cast<std::uint32_t>(100 * dialled()) + what; }

    client::Result<std::unique_ptr<client::Channel>> dial() {
        const std::lock_guard lock(mutex_);
        ++dials_;
        if (refusals_ != 0) {
            if (refusals_ > 0) --refusals_;
            return client::fail(refusal_, "nobody there");
        }
        servers_.push_back(std::make_unique<ScriptedServer>(
            [this](ScriptedServer& server, const Frame& frame) { script_(*this, server, frame); }));
        ++good_dials_;
        return servers_.back()->channel();
    }

    // The next dials fail: so many, or all with -1.
    void refuse(int count, Cause cause = Cause::unreachable) {
        const std::lock_guard lock(mutex_);
        refusals_ = count;
        refusal_ = cause;
    }
    [[nodiscard]] int dials() {
        const std::lock_guard lock(mutex_);
        return dials_;
    }
    // How many servers there were so far.
    [[nodiscard]] std::size_t dialled() const { return good_dials_; }
    [[nodiscard]] ScriptedServer& server() {
        const std::lock_guard lock(mutex_);
        return *servers_.back();
    }

    Options options(Service service) {
        Options made;
        made.service = service;
        made.keepalive = {.interval = Milliseconds{0}, .count = 0};
        made.reconnect = client::Reconnect{};
        made.reconnect->first_pause = Milliseconds{2};
        made.reconnect->longest_pause = Milliseconds{10};
        made.reconnect->dial = [this](const Deadline&) { return dial(); };
        made.reconnect->on_change = [this](const Change& change) {
            const std::lock_guard lock(mutex_);
            changes_.push_back(change);
            came_.notify_all();
        };
        return made;
    }

    Connection attach(const Options& options) {
        auto connection = Connection::attach(std::move(*dial()), options);
        cr_assert(connection.has_value(), "%s", connection ? "" : connection.error().text.c_str());
        return std::move(*connection);
    }
    Connection attach(Service service = Service::thread) { return attach(options(service)); }

    // Waits until the program was told so much; with a service of the library's.
    void await_changes(std::size_t count) {
        std::unique_lock lock(mutex_);
        cr_assert(came_.wait_for(lock, k_patience, [&] { return changes_.size() >= count; }),
                  "a change did not come");
    }
    std::vector<Change> changes() {
        const std::lock_guard lock(mutex_);
        return changes_;
    }

private:
    Script script_;
    std::mutex mutex_;
    std::condition_variable came_;
    std::vector<Change> changes_;
    std::vector<std::unique_ptr<ScriptedServer>> servers_;
    std::atomic<std::size_t> good_dials_ = 0;
    int dials_ = 0, refusals_ = 0;
    Cause refusal_ = Cause::unreachable;
};

std::string echo_or_cause(Connection& connection, std::string_view words) {
    const auto reply = connection.call(procedure(k_echo), as_bytes(words), within(k_patience));
    return reply ? text(*reply) : fmt::format("!{}", to_text(reply.error().cause));
}

// Has the connection served, by whoever does that, until `done`.
void serve_until(Connection& connection, Service service, const std::function<bool()>& done) {
    const Deadline deadline = Deadline::in(k_patience);
    while (!done()) {
        cr_assert(!deadline.passed(system_clock().now()), "it does not come");
        if (service == Service::none) {
            static_cast<void>(connection.serve(Deadline::in(Milliseconds{20})));
        } else if (service == Service::loop) {
            pollfd waited{connection.fd(), POLLIN, 0};
            if (poll(&waited, 1, 20) > 0) connection.dispatch();
        } else {
            usleep(1000);
        }
    }
}

constexpr std::array k_services{Service::none, Service::thread, Service::loop};

}  // namespace

Test(client_reconnect, what_was_open_fails_once_and_is_never_sent_again) {
    Place place;
    Connection connection = place.attach();
    std::vector<std::thread> waiting;
    std::atomic<int> closed = 0;
    for (int i = 0; i < 4; ++i)
        waiting.emplace_back([&] {
            const auto reply = connection.call(procedure(k_silent), {}, within(k_patience));
            closed += !reply && reply.error().cause == Cause::closed ? 1 : 0;
        });
    auto opened = connection.open_stream(procedure(k_open), {}, Streams::plain, within(k_patience));
    cr_assert(opened.has_value());
    place.server().await(5);
    place.server().hang_up();
    for (std::thread& thread : waiting) thread.join();
    cr_assert_eq(closed, 4);
    place.await_changes(2);
    const auto changes = place.changes();
    cr_assert_eq(changes[0].kind, Change::Kind::lost);
    cr_assert_eq(changes[0].failure.cause, Cause::closed);
    cr_assert_eq(changes[1].kind, Change::Kind::reconnected);
    cr_assert_eq(changes[1].tries, 1);
    ByteVector buffer(8);
    cr_assert_eq(opened->stream.read(buffer, Deadline::in(k_patience)).error().cause, Cause::closed);
    cr_assert_eq(opened->stream.write(bytes("x"), Deadline::in(k_patience)).error().cause, Cause::closed);
    cr_assert_eq(opened->stream.finish(Deadline::in(k_patience)).error().cause, Cause::closed);
    cr_assert_eq(echo_or_cause(connection, "again"), "again");
    cr_assert(connection.is_connected() && !connection.closed());
    for (const Frame& frame : place.server().frames()) cr_assert_eq(frame.header.procedure, k_echo);
}

Test(client_reconnect, subscriptions_go_on_with_each_service) {
    for (const Service service : k_services) {
        // An event comes behind the reply to the registration, and half of another one.
        Place place([](Place& self, ScriptedServer& server, const Frame& frame) {
            self.serve(server, frame);
            if (frame.header.procedure != k_enrol || self.dialled() < 2) return;
            ByteVector all =
                rpc::make_frame(rpc::make_message(k_program, k_version, k_event, 1), event_of(self.id(7), 1));
            const ByteVector next = all;
            all.insert(all.end(), next.begin(), next.begin() + 13);
            server.send(all);
            usleep(20000);
            server.send(ByteView(next).subspan(13));
        });
        Connection connection = place.attach(service);
        std::vector<std::pair<int, int>> seen;
        std::mutex mutex;
        const auto count = [&] {
            const std::lock_guard lock(mutex);
            return seen.size();
        };
        auto subscription = connection.program<Program>().on_number(7, [&](const Number& number) {
            const std::lock_guard lock(mutex);
            seen.emplace_back(number.value, number.more);
        });
        cr_assert(subscription.has_value());
        place.server().event(k_event, event_of(107, 0));
        serve_until(connection, service, [&] { return count() == 1; });
        place.refuse(3);
        place.server().hang_up();
        serve_until(connection, service, [&] { return place.changes().size() == 2 && count() == 3; });
        cr_assert_eq(place.changes()[1].tries, 4);
        // Its old number means nothing any more.
        place.server().event(k_event, event_of(107, 9));
        place.server().event(k_event, event_of(207, 2));
        serve_until(connection, service, [&] { return count() == 4; });
        const std::vector<std::pair<int, int>> expected{{107, 0}, {207, 1}, {207, 1}, {207, 2}};
        cr_assert(seen == expected);
        cr_assert_eq(echo_or_cause(connection, "x"), "x");
        cr_assert(subscription->cancel(Deadline::in(k_patience)).has_value());
        const Frame last = place.server().frames().back();
        cr_assert_eq(last.header.procedure, k_leave);
        cr_assert_eq(load_be32(last.payload.data()), 207);
    }
}

Test(client_reconnect, a_subscription_that_was_ended_meanwhile_is_not_made_again) {
    Place place;
    Connection connection = place.attach();
    auto kept = connection.program<Program>().on_number(1, [](const Number&) {});
    auto ended = connection.program<Program>().on_number(2, [](const Number&) {});
    cr_assert(kept && ended);
    place.refuse(-1);
    place.server().hang_up();
    place.await_changes(1);
    cr_assert(ended->cancel(Deadline::in(k_patience)).has_value(), "the server does not know of it any more");
    place.refuse(0);
    place.await_changes(2);
    cr_assert_eq(echo_or_cause(connection, "x"), "x");
    std::vector<std::uint32_t> asked;
    for (const Frame& frame : place.server().frames())
        if (frame.header.procedure != k_echo) asked.push_back(load_be32(frame.payload.data()));
    cr_assert(asked == std::vector<std::uint32_t>{1});
}

Test(client_reconnect, a_subscription_that_is_refused_is_counted_and_tried_the_next_time) {
    Place place([](Place& self, ScriptedServer& server, const Frame& frame) {
        if (frame.header.procedure == k_enrol && self.dialled() == 2 && load_be32(frame.payload.data()) == 1)
            return server.refuse(frame.header, 42, "Domain not found");
        self.serve(server, frame);
    });
    Connection connection = place.attach();
    std::atomic<int> first = 0, second = 0;
    auto one = connection.program<Program>().on_number(1, [&](const Number&) { ++first; });
    auto two = connection.program<Program>().on_number(2, [&](const Number&) { ++second; });
    cr_assert(one && two);
    place.server().hang_up();
    place.await_changes(2);
    cr_assert_eq(place.changes()[1].refused, 1);
    // Neither its old number nor that of another server.
    for (const std::uint32_t id : {101, 201, 202}) place.server().event(k_event, event_of(id, 0));
    serve_until(connection, Service::thread, [&] { return second == 1; });
    cr_assert_eq(first, 0);
    place.server().hang_up();
    place.await_changes(4);
    cr_assert_eq(place.changes()[3].refused, 0);
    place.server().event(k_event, event_of(301, 0));
    serve_until(connection, Service::thread, [&] { return first == 1; });
}

Test(client_reconnect, calls_fail_at_once_or_wait_while_there_is_no_connection) {
    for (const Service service : k_services) {
        Place place;
        Connection connection = place.attach(service);
        place.refuse(-1);
        place.server().hang_up();
        serve_until(connection, service, [&] { return !connection.is_connected(); });
        cr_assert_eq(echo_or_cause(connection, "x"), "!closed");
        cr_assert(!connection.closed(), "it has not ended");
    }
    Place place;
    Options options = place.options(Service::none);
    options.reconnect->calls_wait = true;
    Connection connection = place.attach(options);
    place.refuse(-1);
    place.server().hang_up();
    cr_assert_eq(echo_or_cause(connection, "lost"), "!closed", "it may have been sent");
    const auto late = connection.call(procedure(k_echo), {}, within(Milliseconds{30}));
    cr_assert_eq(late.error().cause, Cause::timeout);
    const auto never = connection.start_call(procedure(k_echo), {}, Instant::max(), [](auto) {});
    cr_assert_eq(never.error().cause, Cause::closed);
    std::vector<std::thread> threads;
    std::atomic<int> good = 0;
    for (int i = 0; i < 8; ++i)
        threads.emplace_back([&] { good += echo_or_cause(connection, "wait") == "wait" ? 1 : 0; });
    usleep(20000);
    place.refuse(0);
    for (std::thread& thread : threads) thread.join();
    cr_assert_eq(good, 8);
    cr_assert_eq(place.server().frames().size(), 8);
}

Test(client_reconnect, it_is_given_up_after_so_many_tries_or_at_a_clear_no) {
    for (const bool denied : {false, true}) {
        Place place;
        Options options = place.options(Service::thread);
        options.reconnect->tries = 3;
        Connection connection = place.attach(options);
        std::mutex mutex;
        std::vector<std::string> ends;
        connection.on_close([&](Connection::Reason reason, const Failure& failure) {
            cr_assert_eq(reason, Connection::Reason::end);
            const std::lock_guard lock(mutex);
            ends.push_back(failure.text);
        });
        place.refuse(-1, denied ? Cause::denied : Cause::unreachable);
        place.server().hang_up();
        place.await_changes(2);
        const Change last = place.changes()[1];
        cr_assert_eq(last.kind, Change::Kind::given_up);
        cr_assert_eq(last.tries, denied ? 1 : 3);
        cr_assert_eq(last.failure.text, "nobody there");
        serve_until(connection, Service::thread, [&] {
            const std::lock_guard lock(mutex);
            return !ends.empty();
        });
        cr_assert_eq(ends.front(), "the server closed the connection; connecting again: nobody there");
        cr_assert(connection.closed().has_value());
        cr_assert_eq(echo_or_cause(connection, "x"), "!closed");
        cr_assert_eq(place.dials(), 1 + (denied ? 1 : 3));
        // Who asks late is told, too.
        connection.on_close([&](Connection::Reason, const Failure&) {
            const std::lock_guard lock(mutex);
            ends.emplace_back();
        });
        serve_until(connection, Service::thread, [&] {
            const std::lock_guard lock(mutex);
            return ends.size() == 2;
        });
    }
}

Test(client_reconnect, a_server_that_hangs_up_in_the_handshake_has_not_said_no) {
    Place place;
    Options options = place.options(Service::thread);
    bool first = true;
    options.reconnect->dial = [&](const Deadline&) -> client::Result<std::unique_ptr<client::Channel>> {
        if (std::exchange(first, false))
            return client::fail({.cause = Cause::untrusted, .text = "it hung up", .number = ECONNRESET});
        return place.dial();
    };
    Connection connection = place.attach(options);
    place.server().hang_up();
    place.await_changes(2);
    cr_assert_eq(place.changes()[1].kind, Change::Kind::reconnected);
    cr_assert_eq(place.changes()[1].tries, 2);
}

Test(client_reconnect, it_is_given_up_after_a_time_and_when_told_so) {
    Place place;
    Options options = place.options(Service::thread);
    options.reconnect->within = Milliseconds{50};
    {
        Connection connection = place.attach(options);
        place.refuse(-1);
        place.server().hang_up();
        place.await_changes(2);
        cr_assert_eq(place.changes()[1].kind, Change::Kind::given_up);
        cr_assert_geq(place.changes()[1].tries, 2);
    }
    // In the pause, and within a try.
    for (const bool in_a_try : {false, true}) {
        Place other;
        std::stop_source stop;
        std::atomic<bool> trying = false;
        options = other.options(Service::thread);
        options.reconnect->stop = stop.get_token();
        options.reconnect->first_pause = options.reconnect->longest_pause = k_patience;
        options.reconnect->dial =
            [&](const Deadline& deadline) -> client::Result<std::unique_ptr<client::Channel>> {
            trying = true;
            while (in_a_try && !deadline.stop.stop_requested()) usleep(1000);
            return client::fail(Cause::unreachable, "nobody there");
        };
        Connection connection = other.attach(options);
        other.server().hang_up();
        while (!trying) usleep(1000);
        stop.request_stop();
        other.await_changes(2);
        cr_assert_eq(other.changes()[1].kind, Change::Kind::given_up);
        cr_assert_eq(other.changes()[1].failure.cause, Cause::cancelled);
    }
}

Test(client_reconnect, closing_ends_the_tries_too) {
    for (const Service service : k_services) {
        Place place;
        Options options = place.options(service);
        options.reconnect->first_pause = options.reconnect->longest_pause = k_patience;
        options.reconnect->calls_wait = true;
        Connection connection = place.attach(options);
        place.refuse(-1);
        place.server().hang_up();
        serve_until(connection, service, [&] { return !connection.is_connected(); });
        std::thread waiting([&] { cr_assert_eq(echo_or_cause(connection, "x"), "!closed"); });
        usleep(10000);
        connection.close();
        waiting.join();
        cr_assert_eq(connection.closed()->text, "the connection was closed here");
        place.refuse(0);
        cr_assert_eq(echo_or_cause(connection, "x"), "!closed");
    }
}

Test(client_reconnect, a_server_that_dies_at_once_is_not_asked_all_the_time) {
    Place place([](Place&, ScriptedServer& server, const Frame&) { server.hang_up(); });
    Options options = place.options(Service::thread);
    options.reconnect->first_pause = Milliseconds{40};
    options.reconnect->longest_pause = Milliseconds{60000};
    options.reconnect->within = Milliseconds{300};
    Connection connection = place.attach(options);
    auto first = connection.call(procedure(k_echo), {}, within(k_patience));
    cr_assert(!first);
    // Each of these finds a connection that ends with it, for as long as the pauses are short.
    const Instant end = system_clock().now() + Milliseconds{300};
    while (system_clock().now() < end)
        static_cast<void>(connection.call(procedure(k_echo), {}, within(k_patience)));
    // At once, after 20 to 40 ms, 40 to 80, 80 to 160, 160 to 320.
    cr_assert_leq(place.dialled(), 7);
    cr_assert_geq(place.dialled(), 3);
}

Test(client_reconnect, login_and_open_are_made_again) {
    Place place([](Place&, ScriptedServer& server, const Frame& frame) {
        if (frame.header.program == rpc::k_keepalive_program) return;
        const auto which = static_cast<remote::Procedure>(frame.header.procedure);
        if (which == remote::Procedure::auth_list)
            server.reply(frame.header, *proto::encode(remote::AuthListRet{}));
        else if (which == remote::Procedure::connect_supports_feature)
            server.reply(frame.header, *proto::encode(remote::ConnectSupportsFeatureRet{.supported = 1}));
        else
            server.reply(frame.header);
    });
    const auto uri = client::Uri::parse("test+unix:///default");
    cr_assert(uri.has_value());
    auto connection = Connection::open_over(std::move(*place.dial()), *uri, place.options(Service::thread));
    cr_assert(connection.has_value(), "%s", connection ? "" : connection.error().text.c_str());
    const auto said = [&] {
        std::vector<std::pair<std::uint32_t, std::string>> all;
        for (const Frame& frame : place.server().frames())
            all.emplace_back(frame.header.procedure, text(frame.payload));
        return all;
    };
    const auto before = said();
    place.server().hang_up();
    place.await_changes(2);
    cr_assert(said() == before);
    cr_assert_eq(before.back().first, static_cast<std::uint32_t>(remote::Procedure::connect_open));
    connection->close();
    cr_assert_eq(said().back().first, static_cast<std::uint32_t>(remote::Procedure::connect_close));
}

Test(client_reconnect, a_channel_needs_a_way_to_get_another_one) {
    Place place;
    Options options;
    options.reconnect = client::Reconnect{};
    auto connection = Connection::attach(std::move(*place.dial()), options);
    cr_assert_eq(connection.error().cause, Cause::invalid);
}
