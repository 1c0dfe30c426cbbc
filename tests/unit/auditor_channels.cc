// SPDX-License-Identifier: LGPL-2.1-or-later
// auditor_channels - a broker and workers that a test plays: orders in which messages may come, and lies.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <set>

#include "libshared/channel/packet.h"
#include "libshared/loop/fake_loop.h"
#include "libshared/rpc/header.h"
#include "proto/codec.h"
#include "tests/unit/auditor_support.h"
#include "tests/unit/pump.h"
#include "workerd/auditor/auditor.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::workerd::auditor;
using proto::audit::Procedure;

namespace {

using Words = std::vector<std::string>;

// Keeps records, and works always.
class Shelf final : public Outlet {
public:
    explicit Shelf(Collector& collector) : collector_(collector) {}
    Done put(const Record& record) override {
        collector_.write(record);
        return {};
    }
    [[nodiscard]] const std::string& name() const noexcept override { return name_; }
    Done reopen() override {
        ++reopened;
        return {};
    }
    int reopened = 0;

private:
    Collector& collector_;
    std::string name_ = "a shelf";
};

class House {
public:
    House() {
        set_log_sink([](Level, std::string_view) noexcept {});
        auto shelf = std::make_unique<Shelf>(collector);
        shelf_ = shelf.get();
        outlets.add(std::move(shelf));
        auto pair = make_channel_pair();
        cr_assert(pair);
        broker = std::move(pair->first);
        broker_end_ = pair->second.get();
        auditor = std::make_unique<Auditor>(loop, std::move(pair->second), ledger, outlets, test_time);
    }

    template <class Args>
    static void send(int socket, Procedure procedure, const Args& args, std::span<const int> fds = {}) {
        const auto payload = proto::encode(args);
        cr_assert(payload);
        send_frame(socket, procedure, *payload, fds);
    }
    static void send_frame(int socket, Procedure procedure, ByteView payload, std::span<const int> fds = {}) {
        const auto frame = rpc::make_frame(
            rpc::make_message(proto::audit::k_program, proto::audit::k_version, procedure), payload);
        cr_assert_eq(channel::send_packet(socket, frame, fds), channel::Outcome::done);
    }

    // What the broker does, without a turn of the auditor's.
    void add_worker(std::uint64_t number, const std::string& identity) {
        auto pair = make_channel_pair();
        cr_assert(pair);
        workers[number] = std::move(pair->first);
        const int end = pair->second.get();
        send(broker.get(), Procedure::worker,
             proto::audit::WorkerArgs{.worker = number, .identity = identity}, std::span(&end, 1));
    }
    void arrive(std::uint64_t session, std::uint64_t worker) {
        send(broker.get(), Procedure::arrival, arrival(session, worker));
    }
    void depart(std::vector<std::uint64_t> sessions) {
        send(broker.get(), Procedure::departure,
             proto::audit::DepartureArgs{.sessions = std::move(sessions)});
    }
    // What a worker does.
    void decide(std::uint64_t worker, const proto::audit::DecisionArgs& args) {
        send(workers.at(worker).get(), Procedure::decision, args);
    }
    void settle(std::uint64_t worker, const proto::audit::OutcomeArgs& args) {
        send(workers.at(worker).get(), Procedure::outcome, args);
    }
    // True if the auditor has closed the worker's channel.
    [[nodiscard]] bool is_cut_off(std::uint64_t worker) {
        std::byte byte;
        const ssize_t size = recv(workers.at(worker).get(), &byte, 1, MSG_DONTWAIT);
        return size == 0 || (size < 0 && errno == ECONNRESET);
    }
    // The same, and the auditor has taken it.
    void settle_worker(std::uint64_t number, const std::string& identity) {
        const std::set<int> before = watched();
        add_worker(number, identity);
        pump();
        for (const int fd : watched())
            if (!before.contains(fd)) ends_[number] = fd;
        cr_assert(ends_.contains(number));
    }
    // One turn of the auditor, in which only that descriptor is reported as ready.
    void turn_of_worker(std::uint64_t worker) { loop.ready(ends_.at(worker), loop::Want::read); }
    void turn_of_broker() { loop.ready(broker_end_, loop::Want::read); }

    void pump() { test::pump(loop); }
    [[nodiscard]] Words kinds() const {
        Words found;
        for (const Record& record : collector.records)
            found.push_back(record.json.at("record").get<std::string>());
        return found;
    }
    [[nodiscard]] Words values(const char* kind, const char* key) const {
        return collector.values(kind, key);
    }
    [[nodiscard]] int reopened() const { return shelf_->reopened; }

    loop::FakeLoop loop;
    Collector collector;
    Outlets outlets{test_time};
    Ledger ledger{outlets, test_time};
    UniqueFd broker;
    std::unique_ptr<Auditor> auditor;
    std::map<std::uint64_t, UniqueFd> workers;

private:
    [[nodiscard]] std::set<int> watched() const {
        std::set<int> found;
        for (int fd = 0; fd < 128; ++fd)
            if (loop.wanted(fd) != loop::Want::nothing) found.insert(fd);
        return found;
    }
    std::map<std::uint64_t, int> ends_;  // the auditor's descriptor of each worker
    int broker_end_ = -1;
    Shelf* shelf_ = nullptr;
};

// Alice's worker 3 with session 12 and bob's worker 4 with session 13, and no records of their coming.
void settle_in(House& house) {
    house.settle_worker(3, "alice");
    house.settle_worker(4, "bob");
    house.arrive(12, 3);
    house.arrive(13, 4);
    house.pump();
    cr_assert(house.values("session", "session") == (Words{"12", "13"}));
    house.collector.records.clear();
}

}  // namespace

Test(auditor_channels, says_that_it_serves) {
    House house;
    cr_assert(house.auditor->report_ready());
    std::array<std::byte, channel::k_packet_max> buffer;
    std::size_t size = 0;
    cr_assert_eq(channel::receive_packet(house.broker.get(), buffer, size), channel::Outcome::done);
    const rpc::Header header = rpc::read_header(buffer.data());
    cr_assert_eq(header.program, proto::audit::k_program);
    cr_assert_eq(header.procedure, static_cast<std::uint32_t>(Procedure::ready));
    cr_assert(header.type == rpc::Type::message);
    cr_assert_eq(size, rpc::k_frame_min);
}

Test(auditor_channels, a_session_from_its_beginning_to_its_end) {
    House house;
    house.add_worker(3, "alice");
    house.arrive(12, 3);
    house.decide(3, allowed(12, 1));
    house.settle(3, outcome(12, 1));
    house.decide(3, refused(12, 2));
    house.depart({12});
    house.pump();
    cr_assert(house.kinds() == (Words{"session", "call", "call", "session-end"}));
    cr_assert(house.values("call", "verdict") == (Words{"allowed", "refused"}));
    cr_assert_eq(house.auditor->accused(), 0);
}

// Only the worker's descriptor is reported as ready: what the broker said before has to be read all the same.
Test(auditor_channels, the_broker_is_read_before_a_worker) {
    House house;
    house.settle_worker(3, "alice");
    house.arrive(12, 3);
    house.decide(3, refused(12, 1));
    house.turn_of_worker(3);
    cr_assert(house.kinds() == (Words{"session", "call"}));
    cr_assert_eq(house.auditor->accused(), 0);
}

// The broker's turn comes with a departure while the worker's records still wait.
Test(auditor_channels, a_worker_is_read_before_its_session_is_forgotten) {
    House house;
    settle_in(house);
    for (std::uint64_t call = 1; call <= 200; ++call) house.decide(3, refused(12, call));
    house.decide(3, allowed(12, 300));
    house.depart({12});
    house.turn_of_broker();
    cr_assert_eq(house.collector.records.size(), 202);
    cr_assert_eq(house.kinds().back(), "session-end");
    cr_assert_eq(house.values("call", "result").back(), "lost");
    cr_assert_eq(house.values("call", "subject").back(), "CN=alice,O=Acme");
}

Test(auditor_channels, a_session_that_becomes_known_late_is_waited_for) {
    House house;
    settle_in(house);
    house.decide(3, allowed(14, 1));
    house.settle(3, outcome(14, 1));
    house.decide(3, refused(12, 2));
    house.pump();
    cr_assert(house.collector.records.empty());
    // The other worker is served meanwhile, and another session changes nothing.
    house.decide(4, refused(13, 1));
    house.arrive(15, 3);
    house.pump();
    cr_assert(house.values("call", "session") == Words{"13"});
    house.loop.advance(Auditor::k_patience - Milliseconds{1});
    house.arrive(14, 3);
    house.pump();
    cr_assert(house.values("call", "session") == (Words{"13", "14", "12"}));
    cr_assert(house.values("call", "result") == (Words{"-", "done", "-"}));
    house.loop.advance(Auditor::k_patience);
    cr_assert_eq(house.auditor->accused(), 0);
    house.decide(3, refused(12, 9));
    house.pump();
    cr_assert_eq(house.values("call", "session").size(), 4);
}

Test(auditor_channels, each_session_that_is_late_has_its_own_time) {
    House house;
    settle_in(house);
    house.decide(3, refused(14, 1));
    house.pump();
    house.loop.advance(Auditor::k_patience / 2);
    house.arrive(14, 3);
    house.pump();
    house.decide(3, refused(15, 2));
    house.pump();
    house.loop.advance(Auditor::k_patience - Milliseconds{1});
    house.arrive(15, 3);
    house.pump();
    cr_assert_eq(house.auditor->accused(), 0);
    cr_assert(house.values("call", "session") == (Words{"14", "15"}));
}

Test(auditor_channels, a_session_that_never_becomes_known_was_a_lie) {
    House house;
    settle_in(house);
    house.decide(3, refused(14, 1));
    house.pump();
    house.loop.advance(Auditor::k_patience);
    cr_assert_eq(house.auditor->accused(), 1);
    cr_assert(house.is_cut_off(3));
    cr_assert(!house.is_cut_off(4));
    cr_assert(house.values("dropped", "identity") == Words{"alice"});
}

Test(auditor_channels, a_crash_of_a_worker_loses_no_decision) {
    House house;
    settle_in(house);
    house.decide(3, allowed(12, 1));
    house.pump();
    house.decide(3, allowed(12, 2));
    house.decide(3, refused(12, 3));
    house.decide(3, allowed(12, 4));
    house.settle(3, outcome(12, 4, 38));
    house.workers.at(3).reset();
    // The broker may hear of it first.
    house.depart({12});
    house.pump();
    Words results = house.values("call", "result");
    std::sort(results.begin(), results.end());
    cr_assert(results == (Words{"-", "error", "lost", "lost"}));
    cr_assert_eq(house.kinds().back(), "session-end");
    cr_assert_eq(house.auditor->accused(), 0);
}

Test(auditor_channels, a_worker_that_speaks_of_others_is_cut_off) {
    House house;
    settle_in(house);
    house.decide(4, allowed(13, 1));
    house.decide(4, refused(12, 2));
    house.decide(4, refused(13, 3));
    house.pump();
    cr_assert_eq(house.auditor->accused(), 1);
    cr_assert(house.is_cut_off(4));
    // What it said before stays, what it says afterwards is not heard; nobody else is harmed.
    cr_assert(house.kinds() == (Words{"call", "dropped"}));
    cr_assert(house.values("call", "result") == Words{"lost"});
    cr_assert(house.values("call", "session") == Words{"13"});
    cr_assert(house.values("dropped", "identity") == Words{"bob"});
    house.decide(3, refused(12, 1));
    house.depart({13});
    house.pump();
    cr_assert(house.values("call", "session") == (Words{"13", "12"}));
    cr_assert(house.values("session-end", "session") == Words{"13"});
}

Test(auditor_channels, what_is_no_message_costs_the_channel) {
    const auto frame = [](Procedure procedure, ByteView payload) {
        return rpc::make_frame(rpc::make_message(proto::audit::k_program, proto::audit::k_version, procedure),
                               payload);
    };
    const auto whole = proto::encode(refused(12, 1));
    ByteVector cut(whole->begin(), whole->end() - 4), longer = *whole;
    longer.resize(longer.size() + 4);
    ByteVector wrong_length = frame(Procedure::decision, *whole);
    store_be32(wrong_length.data(), 12);
    ByteVector wrong_program = frame(Procedure::decision, *whole);
    store_be32(wrong_program.data() + 4, 0x20008086);
    ByteVector wrong_type = frame(Procedure::decision, *whole);
    store_be32(wrong_type.data() + 16, 0);
    const std::vector<ByteVector> packets{
        frame(Procedure::decision, cut),
        frame(Procedure::decision, longer),
        frame(Procedure::outcome, *whole),
        frame(Procedure::decision, {}),
        frame(static_cast<Procedure>(99), {}),
        // What only the broker may say.
        frame(Procedure::arrival, *proto::encode(arrival(20, 3))),
        frame(Procedure::departure, *proto::encode(proto::audit::DepartureArgs{.sessions = {13}})),
        frame(Procedure::reopen, {}),
        frame(Procedure::policy, *proto::encode(proto::audit::PolicyArgs{})),
        frame(Procedure::worker, *proto::encode(proto::audit::WorkerArgs{})),
        wrong_length,
        wrong_program,
        wrong_type,
        ByteVector(5),
        ByteVector(channel::k_packet_max),
    };
    for (const ByteVector& packet : packets) {
        House house;
        settle_in(house);
        cr_assert_eq(channel::send_packet(house.workers.at(3).get(), packet), channel::Outcome::done);
        house.decide(3, refused(12, 1));
        house.pump();
        cr_assert_eq(house.auditor->accused(), 1);
        cr_assert(house.is_cut_off(3));
        cr_assert(house.kinds() == Words{"dropped"});
        cr_assert_eq(house.reopened(), 0);
    }
}

// Descriptors that a worker sends are of no use to it: they never get here.
Test(auditor_channels, descriptors_of_a_worker_are_thrown_away) {
    House house;
    settle_in(house);
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    House::send(house.workers.at(3).get(), Procedure::decision, refused(12, 1), std::span(&ends[1], 1));
    close(ends[1]);
    house.pump();
    char byte;
    cr_assert_eq(read(ends[0], &byte, 1), 0, "somebody still has the descriptor");
    close(ends[0]);
    cr_assert_eq(house.values("call", "session").size(), 1);
}

Test(auditor_channels, a_worker_that_never_stops_is_read_in_turns) {
    House house;
    settle_in(house);
    std::uint64_t call = 0;
    for (int i = 0; i < 3 * Auditor::k_burst; ++i) house.decide(3, refused(12, ++call));
    house.turn_of_worker(3);
    cr_assert_eq(house.collector.records.size(), Auditor::k_burst);
    house.pump();
    cr_assert_eq(house.collector.records.size(), 3 * Auditor::k_burst);
}

Test(auditor_channels, the_end_of_the_broker_is_the_end_but_nothing_is_lost) {
    House house;
    // It ends without having read this, and the kernel then reports an error before what it has sent.
    cr_assert(house.auditor->report_ready());
    settle_in(house);
    house.decide(3, allowed(12, 1));
    house.pump();
    house.decide(3, allowed(12, 2));
    house.decide(4, refused(13, 1));
    house.send(house.broker.get(), Procedure::policy, proto::audit::PolicyArgs{.generation = 5});
    house.broker.reset();
    house.pump();
    Words kinds = house.kinds();
    std::sort(kinds.begin(), kinds.end());
    cr_assert(kinds == (Words{"call", "call", "call", "policy"}));
    Words results = house.values("call", "result");
    std::sort(results.begin(), results.end());
    cr_assert(results == (Words{"-", "unknown", "unknown"}));
    cr_assert(house.is_cut_off(3) && house.is_cut_off(4));
}

Test(auditor_channels, a_worker_that_ended_before_the_broker_is_known_to_have) {
    House house;
    settle_in(house);
    house.decide(3, allowed(12, 1));
    house.decide(4, allowed(13, 1));
    house.workers.at(3).reset();
    house.broker.reset();
    house.turn_of_broker();
    cr_assert(house.values("call", "identity") == (Words{"alice", "alice"}));
    cr_assert(house.values("call", "session") == (Words{"12", "13"}));
    cr_assert(house.values("call", "result") == (Words{"lost", "unknown"}));
}

Test(auditor_channels, a_signal_writes_what_is_held) {
    House house;
    settle_in(house);
    house.decide(3, allowed(12, 1));
    house.decide(4, refused(99, 1));
    house.auditor->finish();
    cr_assert(house.values("call", "result") == Words{"unknown"});
    cr_assert(house.values("dropped", "detail") == Words{"its session is not known"});
    house.auditor->finish();
    cr_assert_eq(house.collector.records.size(), 2);
}

Test(auditor_channels, a_worker_gets_a_new_channel) {
    House house;
    settle_in(house);
    house.decide(3, allowed(12, 1));
    const UniqueFd old{dup(house.workers.at(3).get())};
    house.add_worker(3, "alice");
    house.decide(3, refused(12, 2));
    house.pump();
    cr_assert(house.values("call", "result") == (Words{"lost", "-"}));
    std::byte byte;
    cr_assert_eq(recv(old.get(), &byte, 1, MSG_DONTWAIT), 0, "the old channel is closed");
    cr_assert_eq(house.auditor->accused(), 0);
}

Test(auditor_channels, the_file_is_opened_anew_on_the_brokers_word) {
    House house;
    House::send_frame(house.broker.get(), Procedure::reopen, {});
    house.pump();
    cr_assert_eq(house.reopened(), 1);
}

Test(auditor_channels, a_broker_that_says_nonsense_is_served_on) {
    House house;
    settle_in(house);
    House::send_frame(house.broker.get(), static_cast<Procedure>(50), {});
    House::send_frame(house.broker.get(), Procedure::arrival, {});
    House::send_frame(house.broker.get(), Procedure::worker,
                      *proto::encode(proto::audit::WorkerArgs{.worker = 9, .identity = {}}));
    house.decide(3, refused(12, 1));
    house.pump();
    cr_assert(house.kinds() == Words{"call"});
}

Test(auditor_channels, refused_clients_and_policies_are_recorded) {
    House house;
    auto nobody = arrival(0, 0);
    nobody.reason = "no-identity";
    House::send(house.broker.get(), Procedure::arrival, nobody);
    House::send(house.broker.get(), Procedure::policy,
                proto::audit::PolicyArgs{.generation = 2, .accepted = true});
    house.pump();
    cr_assert(house.values("session", "reason") == Words{"no-identity"});
    cr_assert(house.values("policy", "generation") == Words{"2"});
}
