// SPDX-License-Identifier: LGPL-2.1-or-later
// worker_names_link - the second connection that keeps names true: when it comes, what it misses, and how it is lost.
#include <criterion/criterion.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "libshared/loop/fake_loop.h"
#include "libshared/rpc/error.h"
#include "tests/unit/direct_connector.h"
#include "tests/unit/names_rig.h"
#include "tests/unit/pump.h"
#include "workerd/worker/names_directory.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::workerd::worker;

// ---- the connection ----------------------------------

namespace {

struct Frame {
    rpc::Header header{};
    ByteVector payload{};
};

// A link, and the daemon that it connects to.
class Desk {
public:
    explicit Desk(bool read_only = false, Prologue::Identity identity = {}) {
        char name[] = "/tmp/virtgate-names-XXXXXX";
        cr_assert(mkdtemp(name) != nullptr);
        directory_ = name;
        path_ = directory_ + "/up";
        listen_again();
        link = std::make_unique<NamesLink>(
            loop, *scratch_, connector_, Milliseconds{30'000},
            NamesLink::Way{"qemu:///system", path_, read_only, std::move(identity)});
    }
    ~Desk() {
        unlink(path_.c_str());
        rmdir(directory_.c_str());
    }
    Desk(const Desk&) = delete;
    Desk& operator=(const Desk&) = delete;

    void listen_again() {
        unlink(path_.c_str());
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path_.data(), path_.size());
        listener_ = UniqueFd{socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
        cr_assert_eq(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        cr_assert_eq(listen(listener_.get(), 4), 0);
    }
    void stop_listening() { listener_.reset(); }

    void pump() { test::pump(loop); }
    // As sessions do that do not find a name.
    void miss(unsigned times) {
        for (unsigned i = 0; i < times; ++i) {
            cr_assert(!link->find(ObjectKind::domain, k_web).has_value());
            static_cast<void>(link->epoch());
        }
    }
    bool accept() {
        pump();
        daemon = UniqueFd{accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
        asked_.clear();
        return static_cast<bool>(daemon);
    }
    Frame asked() {
        pump();
        std::byte buffer[4096];
        for (ssize_t n; (n = recv(daemon.get(), buffer, sizeof buffer, 0)) > 0;)
            asked_.insert(asked_.end(), buffer, buffer + n);
        cr_assert_geq(asked_.size(), rpc::k_frame_min, "no frame comes to the daemon");
        const auto size = static_cast<std::ptrdiff_t>(load_be32(asked_.data()));
        Frame frame{rpc::read_header(asked_.data()),
                    ByteVector(asked_.begin() + rpc::k_frame_min, asked_.begin() + size)};
        asked_.erase(asked_.begin(), asked_.begin() + size);
        return frame;
    }
    void write(ByteView bytes) {
        const ssize_t n = ::send(daemon.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        cr_assert_eq(n, static_cast<ssize_t>(bytes.size()), "%s", strerror(errno));
    }
    void answer(const Frame& call, ByteView payload = {}, Status status = Status::ok) {
        write(rpc::make_frame(rpc::reply_to(call.header, status), payload));
    }
    // From a connection that was accepted to the answers to all registrations.
    void serve() {
        answer(asked(), encoded(remote::AuthListRet{}));
        answer(asked());
        answer(asked());
        for (int i = 0; i < 4; ++i) answer(asked(), ByteVector(4));
        pump();
        cr_assert(link->is_serving());
    }
    void start() {
        miss(NamesLink::k_worth);
        cr_assert(accept());
        serve();
    }
    void learn(const Uuid& which, std::string_view name, ObjectKind kind = ObjectKind::domain) {
        link->learn(kind, which, name, link->epoch());
    }
    bool knows(const Uuid& which, std::string_view name, ObjectKind kind = ObjectKind::domain) {
        const auto found = link->find(kind, which);
        cr_assert(!found || *found == name, "%s", std::string(*found).c_str());
        return found.has_value();
    }
    // True if the link has closed its end, whatever it sent before.
    bool is_left() {
        pump();
        std::byte buffer[4096];
        ssize_t n;
        while ((n = recv(daemon.get(), buffer, sizeof buffer, 0)) > 0) continue;
        return n == 0 || errno == ECONNRESET;
    }

    loop::FakeLoop loop;
    test::DirectConnector connector_{loop};
    std::unique_ptr<NamesLink> link;
    UniqueFd daemon;

private:
    std::string directory_, path_;
    UniqueFd listener_;
    std::unique_ptr<Scratch> scratch_ = std::make_unique<Scratch>();
    ByteVector asked_;
};

ByteVector domain_event(const Uuid& which, std::int32_t what) {
    return event(ObjectKind::domain, which, what);
}

}  // namespace

Test(names_link, connects_when_it_is_worth_it) {
    Desk desk;
    desk.miss(NamesLink::k_worth - 1);
    cr_assert(!desk.accept());
    desk.miss(1);
    cr_assert(desk.accept());
    desk.miss(100);
    cr_assert(!desk.link->is_serving());
    UniqueFd first = std::move(desk.daemon);
    cr_assert(!desk.accept(), "one connection is enough");
}

Test(names_link, is_the_same_client_as_its_sessions) {
    const Prologue::Identity identity = {
        {.field = "sasl-user-name", .value = remote::TypedParamValue::make_text("alice")}};
    Desk desk(true, identity);
    desk.miss(NamesLink::k_worth);
    cr_assert(desk.accept());
    desk.answer(desk.asked(), encoded(remote::AuthListRet{}));
    const Frame open = desk.asked();
    cr_assert_eq(open.header.procedure, static_cast<std::uint32_t>(Procedure::connect_open));
    cr_assert(open.payload == encoded(remote::ConnectOpenArgs{.name = "qemu:///system", .flags = 1}));
    desk.answer(open);
    const Frame who = desk.asked();
    cr_assert_eq(who.header.procedure, static_cast<std::uint32_t>(Procedure::connect_set_identity));
    cr_assert(who.payload == encoded(remote::ConnectSetIdentityArgs{.params = identity, .flags = 0}));
    desk.answer(who);
    cr_assert_eq(desk.asked().header.procedure,
                 static_cast<std::uint32_t>(Procedure::connect_register_close_callback));
}

Test(names_link, knows_nothing_before_it_serves) {
    Desk desk;
    const Names::Epoch early = desk.link->epoch();
    desk.learn(k_web, "web");
    cr_assert(!desk.knows(k_web, "web"));
    desk.start();
    desk.link->learn(ObjectKind::domain, k_web, "web", early);
    cr_assert(!desk.knows(k_web, "web"), "asked before events came");
    desk.learn(k_web, "web");
    cr_assert(desk.knows(k_web, "web"));
}

Test(names_link, drops_what_is_announced) {
    Desk desk;
    desk.start();
    desk.learn(k_web, "web");
    desk.learn(k_other, "other");
    desk.write(domain_event(k_web, k_undefined));
    desk.pump();
    cr_assert(!desk.knows(k_web, "web"));
    cr_assert(desk.knows(k_other, "other"));
    desk.learn(k_web, "db");
    desk.write(domain_event(k_web, k_suspended));
    desk.pump();
    cr_assert(desk.knows(k_web, "db"));
}

// The loop may look at a client before it looks at the events that came earlier.
Test(names_link, what_was_written_before_a_call_came_is_known_to_it) {
    Desk desk;
    desk.start();
    desk.learn(k_web, "web");
    desk.write(domain_event(k_web, k_undefined));
    desk.link->catch_up();
    cr_assert(!desk.knows(k_web, "web"));
    // A question under way when the event came.
    const Names::Epoch asked = desk.link->epoch();
    desk.write(domain_event(k_web, k_defined));
    desk.link->catch_up();
    desk.link->learn(ObjectKind::domain, k_web, "web", asked);
    cr_assert(!desk.knows(k_web, "web"));
}

// And an answer of before the change may be read before the event: then the event comes after.
Test(names_link, an_answer_that_overtakes_its_event_does_not_stay) {
    Desk desk;
    desk.start();
    const Names::Epoch asked = desk.link->epoch();
    desk.write(domain_event(k_web, k_undefined));
    desk.link->learn(ObjectKind::domain, k_web, "web", asked);
    desk.link->catch_up();
    cr_assert(!desk.knows(k_web, "web"));
}

Test(names_link, takes_events_in_parts_and_many_at_once) {
    Desk desk;
    desk.start();
    const ByteVector one = domain_event(k_web, k_stopped);
    for (std::size_t cut = 1; cut < one.size(); ++cut) {
        desk.learn(k_web, "web");
        desk.write(ByteView(one).first(cut));
        desk.link->catch_up();
        cr_assert(desk.knows(k_web, "web"));
        desk.write(ByteView(one).subspan(cut));
        desk.link->catch_up();
        cr_assert(!desk.knows(k_web, "web"), "%zu", cut);
    }
    ByteVector many;
    for (unsigned i = 0; i < 1'000; ++i) {
        desk.learn(uuid(i), "web");
        const ByteVector each = domain_event(uuid(i), k_started);
        many.insert(many.end(), each.begin(), each.end());
    }
    desk.write(many);
    desk.link->catch_up();
    for (unsigned i = 0; i < 1'000; ++i) cr_assert(!desk.knows(uuid(i), "web"));
}

Test(names_link, passes_over_what_it_did_not_ask_for) {
    Desk desk;
    desk.start();
    desk.learn(k_web, "web");
    desk.write(
        rpc::make_frame(header(Procedure::domain_event_callback_reboot, Type::message), ByteVector(8)));
    desk.write(rpc::make_keepalive(rpc::Keepalive::ping));
    desk.write(rpc::make_frame(header(Procedure::domain_screenshot, Type::stream), ByteVector(5'000)));
    // Longer than any packet, and never kept.
    ByteVector head(rpc::k_frame_min);
    rpc::write_header(head.data(), rpc::k_frame_max, header(Procedure::domain_screenshot, Type::stream));
    desk.write(head);
    const ByteVector piece(65'536);
    for (std::size_t left = rpc::k_frame_max - head.size(); left > 0;) {
        const std::size_t size = std::min(left, piece.size());
        desk.write(ByteView(piece).first(size));
        desk.pump();
        left -= size;
    }
    cr_assert(desk.knows(k_web, "web"));
    desk.write(domain_event(k_web, k_undefined));
    desk.pump();
    cr_assert(!desk.knows(k_web, "web"));
    cr_assert(desk.link->is_serving());
}

Test(names_link, believes_nothing_after_a_frame_that_it_does_not_understand) {
    const ByteVector whole = domain_event(k_other, k_defined);
    ByteVector cut_short(whole.begin(), whole.end() - 4);
    store_be32(cut_short.data(), static_cast<std::uint32_t>(cut_short.size()));
    ByteVector tiny(28), huge(28), long_event(rpc::k_frame_min);
    store_be32(tiny.data(), 27);
    store_be32(huge.data(), rpc::k_frame_max + 1);
    rpc::write_header(long_event.data(), NamesFeed::k_frame_max + 1,
                      header(Procedure::domain_event_callback_lifecycle, Type::message));
    const ByteVector unasked =
        rpc::make_frame(header(Procedure::domain_lookup_by_uuid, Type::reply, 9), ByteVector(4));
    const ByteVector closed =
        rpc::make_frame(header(Procedure::connect_event_connection_closed, Type::message), ByteVector(4));
    for (const ByteVector& each : {cut_short, tiny, huge, long_event, unasked, closed}) {
        Desk desk;
        desk.start();
        desk.learn(k_web, "web");
        const Names::Epoch asked = desk.link->epoch();
        desk.write(each);
        desk.pump();
        cr_assert(!desk.knows(k_web, "web"));
        cr_assert(!desk.link->is_serving());
        cr_assert(desk.is_left());
        desk.link->learn(ObjectKind::domain, k_web, "web", asked);
        desk.learn(k_other, "other");
        cr_assert(!desk.knows(k_web, "web") && !desk.knows(k_other, "other"));
    }
}

Test(names_link, forgets_everything_at_once_when_the_daemon_is_gone) {
    Desk desk;
    desk.start();
    desk.learn(k_web, "web");
    desk.daemon.reset();
    desk.link->catch_up();
    cr_assert(!desk.knows(k_web, "web"));
    cr_assert(!desk.link->is_serving());
    desk.link->catch_up();
}

Test(names_link, comes_back_after_a_rest_when_names_are_asked_for) {
    Desk desk;
    desk.start();
    const Names::Epoch before = desk.link->epoch();
    const ByteVector event = domain_event(k_web, k_defined);
    desk.write(ByteView(event).first(event.size() - 1));
    desk.pump();
    desk.daemon.reset();
    desk.pump();
    desk.miss(100);
    cr_assert(!desk.accept(), "not at once");
    desk.loop.advance(NamesLink::k_rest_min - Milliseconds{1});
    desk.miss(100);
    cr_assert(!desk.accept());
    desk.loop.advance(Milliseconds{1});
    cr_assert(!desk.accept(), "nobody asks");
    desk.miss(1);
    cr_assert(desk.accept());
    desk.serve();
    desk.link->learn(ObjectKind::domain, k_web, "web", before);
    cr_assert(!desk.knows(k_web, "web"), "asked before the loss");
    desk.learn(k_web, "web");
    cr_assert(desk.knows(k_web, "web"));
    desk.write(event);
    desk.pump();
    cr_assert(!desk.knows(k_web, "web"), "half a frame was left from before the loss");
}

Test(names_link, rests_longer_each_time_and_starts_over_when_it_has_served) {
    Desk desk;
    desk.start();
    Milliseconds rest = NamesLink::k_rest_min;
    for (int i = 0; i < 9; ++i) {
        desk.daemon.reset();
        desk.pump();
        desk.loop.advance(rest - Milliseconds{1});
        desk.miss(1);
        cr_assert(!desk.accept());
        desk.loop.advance(Milliseconds{1});
        desk.miss(1);
        cr_assert(desk.accept(), "after %lld ms", static_cast<long long>(rest.count()));
        desk.serve();
        rest = std::min(2 * rest, NamesLink::k_rest_max);
    }
    cr_assert_eq(rest, NamesLink::k_rest_max);
    desk.loop.advance(NamesLink::k_rest_max);
    desk.daemon.reset();
    desk.pump();
    desk.loop.advance(NamesLink::k_rest_min);
    desk.miss(1);
    cr_assert(desk.accept());
}

Test(names_link, survives_a_daemon_that_is_not_there_or_refuses) {
    Desk desk;
    desk.stop_listening();
    desk.miss(NamesLink::k_worth);
    desk.pump();
    desk.learn(k_web, "web");
    cr_assert(!desk.knows(k_web, "web"));
    desk.listen_again();
    desk.loop.advance(NamesLink::k_rest_min);
    desk.miss(1);
    cr_assert(desk.accept());
    desk.answer(desk.asked(), encoded(remote::AuthListRet{}));
    desk.answer(desk.asked(), rpc::make_error_payload(38, "no such hypervisor"), Status::error);
    desk.pump();
    cr_assert(!desk.link->is_serving());
    desk.loop.advance(2 * NamesLink::k_rest_min);
    desk.miss(1);
    cr_assert(desk.accept());
    desk.serve();
    desk.learn(k_web, "web");
    cr_assert(desk.knows(k_web, "web"));
}

Test(names_link, keeps_nothing_while_registrations_are_not_answered) {
    Desk desk;
    desk.miss(NamesLink::k_worth);
    cr_assert(desk.accept());
    desk.answer(desk.asked(), encoded(remote::AuthListRet{}));
    desk.answer(desk.asked());
    desk.pump();
    cr_assert(desk.link->is_serving());
    desk.learn(k_web, "web");
    cr_assert(!desk.knows(k_web, "web"));
    desk.answer(desk.asked());
    const Frame domains = desk.asked(), networks = desk.asked();
    desk.answer(networks, ByteVector(4));
    desk.answer(domains, rpc::make_error_payload(3, "no events here"), Status::error);
    desk.pump();
    desk.learn(k_web, "web");
    desk.learn(k_web, "web", ObjectKind::network);
    cr_assert(!desk.knows(k_web, "web"));
    cr_assert(desk.knows(k_web, "web", ObjectKind::network));
}

Test(names_link, trusts_nothing_while_more_comes_than_it_reads) {
    Desk desk;
    desk.start();
    desk.learn(k_web, "web");
    // Events that mean nothing, but what is behind them may.
    const ByteVector one = domain_event(k_other, k_resumed);
    ByteVector many;
    while (many.size() < 2 * channel::k_packet_max) many.insert(many.end(), one.begin(), one.end());
    desk.write(many);
    desk.link->catch_up();
    cr_assert(!desk.knows(k_web, "web"));
    cr_assert(desk.link->is_serving());
}

Test(names_link, can_end_at_any_time) {
    {
        Desk desk;
        desk.miss(NamesLink::k_worth);
        desk.link.reset();
        desk.pump();
        cr_assert(!desk.accept());
    }
    {
        Desk desk;
        desk.miss(NamesLink::k_worth);
        cr_assert(desk.accept());
        desk.link.reset();
        cr_assert(desk.is_left());
    }
    Desk desk;
    desk.start();
    desk.link.reset();
    cr_assert(desk.is_left());
    desk.loop.advance(Milliseconds{60'000});
}

// ---- who shares one ----------------------------------

Test(names_directory, shares_a_link_between_those_who_go_the_same_way) {
    loop::FakeLoop loop;
    const auto scratch = std::make_unique<Scratch>();
    test::DirectConnector connector(loop);
    NamesDirectory directory(loop, *scratch, connector, Milliseconds{1'000});
    const NamesLink::Way way{"qemu:///system", "/run/libvirt-sock", false, {}};
    auto one = directory.use(way), two = directory.use(way);
    cr_assert(one != nullptr && one == two);
    const auto named = [](std::string_view name) {
        return Prologue::Identity{
            {.field = "sasl-user-name", .value = remote::TypedParamValue::make_text(std::string(name))}};
    };
    const NamesLink::Way others[] = {{"qemu:///session", way.socket, false, {}},
                                     {way.uri, "/run/other-sock", false, {}},
                                     {way.uri, way.socket, true, {}},
                                     {way.uri, way.socket, false, named("alice")},
                                     {way.uri, way.socket, false, named("bob")}};
    std::vector<std::shared_ptr<NamesLink>> all;
    for (const auto& each : others) {
        auto link = directory.use(each);
        cr_assert(link != one);
        for (const auto& seen : all) cr_assert(link != seen);
        all.push_back(std::move(link));
    }
    cr_assert_eq(directory.size(), 6);
    all.clear();
    one.reset();
    cr_assert_eq(directory.size(), 1);
    two.reset();
    cr_assert_eq(directory.size(), 0, "nobody uses it");
    cr_assert(directory.use(way) != nullptr);
}

Test(names_directory, has_none_where_names_change_without_a_word) {
    loop::FakeLoop loop;
    const auto scratch = std::make_unique<Scratch>();
    test::DirectConnector connector(loop);
    NamesDirectory directory(loop, *scratch, connector, Milliseconds{1'000});
    for (const char* uri : {"test:///default", "qemu:///system", "lxc:///", "storage:///system"})
        cr_assert(directory.use({uri, "/s", false, {}}) != nullptr, "%s", uri);
    // Each connection has objects of its own; or who knows.
    for (const char* uri :
         {"test:///etc/node.xml", "test:///default?x", "vbox:///session", "esx://h", "", "qemu"})
        cr_assert(directory.use({uri, "/s", false, {}}) == nullptr, "%s", uri);
}
