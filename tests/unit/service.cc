// SPDX-License-Identifier: LGPL-2.1-or-later
// service - tests of what a program of others is made of, with the procedures of examples/inventory: versions, threads and
// lanes, events, streams, and what is refused.
#include "libshared/service/service.h"

#include <criterion/criterion.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "libshared/channel/packet.h"
#include "libshared/loop/fake_loop.h"
#include "proto/inventory.h"
#include "proto/remote.h"
#include "proto/service.h"
#include "proto/supervise.h"
#include "tests/unit/pump.h"

using namespace virtgate;
using namespace virtgate::proto::inventory;
using rpc::Header;
using rpc::Status;
using rpc::Type;
using service::Answer;
using service::Caller;
using service::refuse;
namespace remote = proto::remote;

namespace {

// Handlers that do what the test wants.
class Things {
public:
    explicit Things(service::Service& service) : changed(service, program(), Procedure::item_changed) {
        service::Version& newest = service.serve(program());
        newest.answer<&Things::list_items>(Procedure::list_items, *this);
        newest.work<&Things::get_item>(Procedure::get_item, *this);
        newest.answer<&Things::set_item>(Procedure::set_item, *this);
        newest.work<&Things::audit_items>(Procedure::audit_items, *this);
        newest.send<&Things::export_items>(Procedure::export_items, *this);
        newest.receive<&Things::import_items>(Procedure::import_items, *this);
        newest.answer<&Things::watch_items>(Procedure::watch_items, *this);
        newest.answer<&Things::unwatch_items>(Procedure::unwatch_items, *this);
        service.serve(v1::program()).answer<&Things::list_items>(v1::Procedure::list_items, *this);
    }

    Answer<ItemList> list_items(const Caller& caller) { return ItemList{.items = {{caller.identity, "x"}}}; }
    Answer<Item> get_item(const Caller&, const ItemName& asked) {
        if (asked.name == "throw") throw std::runtime_error("thrown");
        return Item{asked.name, "found"};
    }
    Answer<void> set_item(const Caller&, const Item& item) {
        if (item.tag.empty()) return refuse("no tag", rpc::k_code_invalid_argument);
        changed.tell(ItemChangedMsg{.callback_id = 0, .changed = item});
        return {};
    }
    // Until it is let go.
    Answer<AuditRet> audit_items(const Caller&, const AuditArgs&) {
        std::unique_lock lock(mutex);
        ++waiting;
        free.wait(lock, [this] { return go; });
        return AuditRet{.untagged = 7};
    }
    Answer<service::Source> export_items(const Caller&) {
        return [this](MutableBytes room) -> Answer<std::size_t> {
            ++pieces;
            if (left == 0) return fails ? Answer<std::size_t>(refuse("in the middle")) : 0;
            const std::size_t size = std::min(left, room.size());
            left -= size;
            return size;
        };
    }
    Answer<service::Sink> import_items(const Caller&) {
        return service::Sink{.take = [this](ByteView bytes) -> Answer<void> {
                                 taken += bytes.size();
                                 return {};
                             },
                             .finish = [this]() -> Answer<void> {
                                 if (fails) return refuse("late");
                                 return {};
                             }};
    }
    Answer<WatchRet> watch_items(const Caller& caller) {
        const auto number = changed.add(caller);
        if (!number) return tl::unexpected(number.error());
        return WatchRet{.callback_id = *number};
    }
    Answer<void> unwatch_items(const Caller& caller, const UnwatchArgs& arguments) {
        return changed.remove(caller, arguments.callback_id);
    }
    void let_go() {
        const std::lock_guard lock(mutex);
        go = true;
        free.notify_all();
    }

    service::Events changed;
    std::mutex mutex;
    std::condition_variable free;
    int waiting = 0;
    bool go = false, fails = false;
    std::size_t left = 0, taken = 0, pieces = 0;
};

void turn(loop::FakeLoop& loop) {
    test::pump(loop);
    loop.run();
    test::pump(loop);
}

struct Frame {
    Header header;
    ByteVector payload;
};

// One connection's other end.
class Client {
public:
    Client(loop::FakeLoop& loop, UniqueFd socket) : loop_(loop), socket_(std::move(socket)) {
        cr_assert(set_nonblocking(socket_.get(), true).has_value());
    }
    void send(const Header& header, ByteView payload = {}) {
        const ByteVector frame = rpc::make_frame(header, payload);
        cr_assert_eq(write(socket_.get(), frame.data(), frame.size()), static_cast<ssize_t>(frame.size()));
    }
    template <class Args>
    Header start(std::uint32_t number, std::uint32_t version, std::uint32_t procedure, const Args& args) {
        const Header header{.program = number,
                            .version = version,
                            .procedure = procedure,
                            .type = Type::call,
                            .serial = ++serial_};
        send(header, *proto::encode(args));
        return header;
    }
    template <class Args>
    Header start(Procedure procedure, const Args& args, std::uint32_t version = k_version) {
        return start(k_program, version, static_cast<std::uint32_t>(procedure), args);
    }
    // The next frame; what is read of it stays.
    Frame receive() {
        std::optional<Frame> frame;
        cr_assert(test::pump_until(loop_,
                                   [&] {
                                       loop_.run();  // what was woken
                                       return (frame = cut()).has_value();
                                   }),
                  "no frame came");
        return std::move(*frame);
    }
    [[nodiscard]] bool is_silent() {
        turn(loop_);
        return !cut();
    }
    template <class Args>
    Frame ask(Procedure procedure, const Args& args, std::uint32_t version = k_version) {
        const Header asked = start(procedure, args, version);
        Frame frame = receive();
        cr_assert_eq(frame.header.serial, asked.serial);
        return frame;
    }
    template <class Args>
    std::string refusal(Procedure procedure, const Args& args, std::uint32_t version = k_version) {
        const Frame frame = ask(procedure, args, version);
        cr_assert_eq(frame.header.status, Status::error);
        return rpc::read_error_text(frame.payload);
    }
    Frame open(const char* uri = "inventory:///", std::uint32_t flags = 0) {
        start(remote::k_program, remote::k_version,
              static_cast<std::uint32_t>(remote::Procedure::connect_open),
              remote::ConnectOpenArgs{.name = uri, .flags = flags});
        return receive();
    }

private:
    std::optional<Frame> cut() {
        std::array<std::byte, 65536> buffer;
        for (ssize_t n; (n = read(socket_.get(), buffer.data(), buffer.size())) > 0;)
            input_.insert(input_.end(), buffer.begin(), buffer.begin() + n);
        if (input_.size() < rpc::k_frame_min) return std::nullopt;
        const std::size_t size = load_be32(input_.data());
        if (input_.size() < size) return std::nullopt;
        Frame frame{rpc::read_header(input_.data()),
                    {input_.begin() + rpc::k_frame_min, input_.begin() + size}};
        input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(size));
        return frame;
    }

    loop::FakeLoop& loop_;
    UniqueFd socket_;
    ByteVector input_;
    std::uint32_t serial_ = 0;
};

struct Nothing {
    void encode(xdr::Writer&) const {}
};

std::pair<UniqueFd, UniqueFd> make_pair(int type) {
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    return {UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

proto::config::ServiceConfig make_config() {
    proto::config::ServiceConfig config;
    config.name = "inventory";
    config.uri = "inventory:///";
    config.threads = 2;
    return config;
}

// A service with its broker's end.
struct Stage {
    Stage() : Stage(make_pair(SOCK_SEQPACKET)) {}
    explicit Stage(std::pair<UniqueFd, UniqueFd> channel)
        : broker(std::move(channel.first)),
          service(loop, make_config(), std::move(channel.second)),
          things(service) {}
    ~Stage() { things.let_go(); }

    Client connect(bool read_only = false) {
        auto [ours, theirs] = make_pair(SOCK_STREAM);
        cr_assert(
            service.attach(std::move(theirs), {.identity = "alice", .session = 9, .read_only = read_only})
                .has_value());
        return {loop, std::move(ours)};
    }
    Client open(bool read_only = false) {
        Client client = connect(read_only);
        cr_assert_eq(client.open().header.status, Status::ok);
        return client;
    }
    void await_waiting(int count) {
        cr_assert(test::pump_until(loop, [&] {
            const std::lock_guard lock(things.mutex);
            return things.waiting == count;
        }));
    }

    loop::FakeLoop loop;
    UniqueFd broker;
    service::Service service;
    Things things;
};

}  // namespace

Test(service, answers_with_results_and_errors) {
    Stage stage;
    Client client = stage.open();
    const Frame list = client.ask(Procedure::list_items, Nothing{});
    cr_assert_eq(proto::decode<ItemList>(list.payload)->items.front().name, "alice");
    cr_assert_eq(client.ask(Procedure::set_item, Item{"a", "b"}).header.status, Status::ok);
    const Frame refused = client.ask(Procedure::set_item, Item{"a", ""});
    cr_assert_eq(rpc::read_error_code(refused.payload), rpc::k_code_invalid_argument);
    cr_assert_eq(rpc::read_error_text(refused.payload), "no tag");
    // In a thread; and what is thrown there is an error of that call alone.
    cr_assert_eq(proto::decode<Item>(client.ask(Procedure::get_item, ItemName{"x"}).payload)->tag, "found");
    cr_assert_eq(client.refusal(Procedure::get_item, ItemName{"throw"}), "thrown");
    cr_assert_eq(client.ask(Procedure::get_item, ItemName{"x"}).header.status, Status::ok);
}

Test(service, wants_the_connection_opened_first) {
    Stage stage;
    Client client = stage.connect();
    cr_assert_eq(client.refusal(Procedure::list_items, Nothing{}), "connection not open");
    cr_assert_eq(client.open("test:///default").header.status, Status::error);
    cr_assert_eq(client.open().header.status, Status::ok);
    cr_assert_eq(client.open().header.status, Status::error);
    cr_assert_eq(client.ask(Procedure::list_items, Nothing{}).header.status, Status::ok);
}

Test(service, serves_versions_side_by_side) {
    Stage stage;
    Client client = stage.open();
    cr_assert_eq(client.ask(Procedure::list_items, Nothing{}, 1).header.status, Status::ok);
    cr_assert_eq(client.ask(Procedure::list_items, Nothing{}, 2).header.status, Status::ok);
    // What only the newer one has, and a version of tomorrow.
    cr_assert_eq(client.refusal(Procedure::watch_items, Nothing{}, 1), "unknown procedure: 8");
    cr_assert_eq(client.refusal(Procedure::list_items, Nothing{}, 3),
                 "Cannot find program 541675094 version 3");
}

Test(service, lets_readers_only_read) {
    Stage stage;
    // Whether the broker says it, or the client itself.
    for (const bool by_broker : {true, false}) {
        Client client = stage.connect(by_broker);
        cr_assert_eq(client.open("inventory:///", by_broker ? 0 : 1).header.status, Status::ok);
        cr_assert_eq(client.refusal(Procedure::set_item, Item{"a", "b"}),
                     "set_item is not for connections that only read");
        cr_assert_eq(client.ask(Procedure::list_items, Nothing{}).header.status, Status::ok);
    }
}

Test(service, has_a_lane_for_what_has_priority) {
    Stage stage;
    Client slow = stage.open(), fast = stage.open();
    // More than there are threads.
    for (int i = 0; i < 3; ++i) slow.start(Procedure::audit_items, AuditArgs{});
    stage.await_waiting(2);
    // get_item runs in a thread, too, and has "@priority high".
    cr_assert_eq(fast.ask(Procedure::get_item, ItemName{"x"}).header.status, Status::ok);
    cr_assert(slow.is_silent());
    stage.things.let_go();
    for (int i = 0; i < 3; ++i) cr_assert_eq(proto::decode<AuditRet>(slow.receive().payload)->untagged, 7U);
}

Test(service, answers_into_nothing_when_a_client_has_gone) {
    Stage stage;
    {
        Client client = stage.open();
        client.start(Procedure::audit_items, AuditArgs{});
        stage.await_waiting(1);
    }
    test::pump(stage.loop);
    stage.things.let_go();
    Client other = stage.open();
    cr_assert_eq(other.ask(Procedure::audit_items, AuditArgs{}).header.status, Status::ok);
}

Test(service, tells_events_to_those_who_asked) {
    Stage stage;
    Client watcher = stage.open(), other = stage.open();
    const int number =
        proto::decode<WatchRet>(watcher.ask(Procedure::watch_items, Nothing{}).payload)->callback_id;
    cr_assert_eq(other.ask(Procedure::set_item, Item{"a", "b"}).header.status, Status::ok);
    const Frame event = watcher.receive();
    cr_assert_eq(event.header.type, Type::message);
    cr_assert_eq(event.header.version, k_version);
    const auto message = proto::decode<ItemChangedMsg>(event.payload);
    cr_assert_eq(message->callback_id, number);
    cr_assert_eq(message->changed.tag, "b");
    cr_assert(other.is_silent());
    cr_assert_eq(watcher.ask(Procedure::unwatch_items, UnwatchArgs{number}).header.status, Status::ok);
    cr_assert_eq(watcher.refusal(Procedure::unwatch_items, UnwatchArgs{number}),
                 fmt::format("event callback {} is not registered", number));
    cr_assert_eq(other.ask(Procedure::set_item, Item{"a", "c"}).header.status, Status::ok);
    cr_assert(watcher.is_silent());
}

Test(service, runs_tasks_of_threads_in_the_loop) {
    Stage stage;
    Client watcher = stage.open();
    static_cast<void>(watcher.ask(Procedure::watch_items, Nothing{}));
    std::thread([&] {
        stage.service.later([&] {
            stage.things.changed.tell(ItemChangedMsg{.callback_id = 0, .changed = {"a", "b"}});
        });
    }).join();
    cr_assert_eq(watcher.receive().header.type, Type::message);
}

Test(service, sends_a_stream_no_faster_than_it_is_read) {
    Stage stage;
    constexpr std::size_t k_size = std::size_t{64} << 20;
    stage.things.left = k_size;
    Client client = stage.open();
    const Header opened = client.start(Procedure::export_items, Nothing{});
    for (int i = 0; i < 100; ++i) turn(stage.loop);
    // A socket's buffer, and what may wait: nothing of the rest was asked for.
    cr_assert_lt(stage.things.pieces * 65536, k_size / 4);
    cr_assert_eq(client.receive().header.type, Type::reply);
    std::size_t got = 0;
    for (;;) {
        const Frame frame = client.receive();
        cr_assert_eq(frame.header.type, Type::stream);
        cr_assert_eq(frame.header.status, Status::proceed);
        if (frame.payload.empty()) break;
        got += frame.payload.size();
    }
    cr_assert_eq(got, k_size);
    Header finish = opened;
    finish.type = Type::stream;
    client.send(finish);
    const Frame done = client.receive();
    cr_assert(done.header.type == Type::stream && done.header.status == Status::ok);
}

Test(service, ends_a_stream_with_what_went_wrong) {
    Stage stage;
    stage.things.fails = true;
    Client client = stage.open();
    client.start(Procedure::export_items, Nothing{});
    cr_assert_eq(client.receive().header.status, Status::ok);
    const Frame end = client.receive();
    cr_assert(end.header.type == Type::stream && end.header.status == Status::error);
    cr_assert_eq(rpc::read_error_text(end.payload), "in the middle");
    cr_assert_eq(client.ask(Procedure::list_items, Nothing{}).header.status, Status::ok);
}

Test(service, takes_a_stream_and_tells_late_errors) {
    for (const bool fails : {false, true}) {
        Stage stage;
        stage.things.fails = fails;
        Client client = stage.open();
        Header stream = client.start(Procedure::import_items, Nothing{});
        cr_assert_eq(client.receive().header.status, Status::ok);
        stream.type = Type::stream;
        stream.status = Status::proceed;
        client.send(stream, ByteVector(50000));
        stream.status = Status::ok;
        client.send(stream);
        const Frame end = client.receive();
        cr_assert_eq(stage.things.taken, 50000U);
        cr_assert_eq(end.header.type, Type::stream);
        cr_assert_eq(end.header.status, fails ? Status::error : Status::ok);
    }
}

// Whatever a worker lets through: a stream keeps memory here until it ends.
Test(service, opens_only_so_many_streams) {
    Stage stage;
    Client client = stage.open();
    Header first{};
    for (std::size_t i = 0; i < service::Service::k_streams_max; ++i) {
        const Header opened = client.start(Procedure::import_items, Nothing{});
        cr_assert_eq(client.receive().header.status, Status::ok);
        if (i == 0) first = opened;
    }
    cr_assert_eq(client.refusal(Procedure::import_items, Nothing{}), "too many open streams");
    cr_assert_eq(client.ask(Procedure::list_items, Nothing{}).header.status, Status::ok);
    first.type = Type::stream;
    client.send(first);
    cr_assert_eq(client.receive().header.type, Type::stream);
    cr_assert_eq(client.ask(Procedure::import_items, Nothing{}).header.status, Status::ok);
    // Another connection has its own.
    Client other = stage.open();
    cr_assert_eq(other.ask(Procedure::import_items, Nothing{}).header.status, Status::ok);
}

Test(service, takes_connections_of_its_broker_and_ends_with_it) {
    Stage stage;
    cr_assert(stage.service.start().has_value());
    std::array<std::byte, 128> packet;
    cr_assert_eq(recv(stage.broker.get(), packet.data(), packet.size(), 0), ssize_t{rpc::k_frame_min});
    cr_assert_eq(rpc::read_header(packet.data()).program, proto::supervise::k_program);
    auto [ours, theirs] = make_pair(SOCK_STREAM);
    const int end = theirs.get();
    const auto attach = rpc::make_message(proto::service::k_program, proto::service::k_version,
                                          proto::service::Procedure::attach);
    const auto args =
        proto::encode(proto::service::AttachArgs{.identity = "bob", .read_only = false, .session = 3});
    cr_assert_eq(channel::send_packet(stage.broker.get(), rpc::make_frame(attach, *args), {&end, 1}),
                 channel::Outcome::done);
    Client client(stage.loop, std::move(ours));
    cr_assert_eq(client.open().header.status, Status::ok);
    const Frame list = client.ask(Procedure::list_items, Nothing{});
    cr_assert_eq(proto::decode<ItemList>(list.payload)->items.front().name, "bob");
    stage.broker.reset();
    cr_assert(test::pump_until(stage.loop, [&] { return stage.loop.stopped(); }));
}
