// SPDX-License-Identifier: LGPL-2.1-or-later
// auditor_ledger - every decision leaves one record, whatever becomes of its worker, and nobody speaks of others'.
#include "workerd/auditor/ledger.h"

#include <criterion/criterion.h>

#include "proto/lock.h"
#include "tests/unit/auditor_support.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::workerd::auditor;

namespace {

using Words = std::vector<std::string>;
using Taken = Ledger::Taken;

// Worker 3 is alice's with session 12, worker 4 bob's with session 13.
struct House {
    House() {
        ledger.add_worker(3, "alice");
        ledger.add_worker(4, "bob");
        ledger.open_session(arrival(12, 3));
        auto bob = arrival(13, 4);
        bob.identity = "bob";
        ledger.open_session(bob);
        collector.records.clear();
    }
    void decide(std::uint64_t worker, proto::audit::DecisionArgs args) {
        const auto taken = ledger.decide(worker, std::move(args));
        cr_assert(taken && *taken == Taken::yes, "%s", taken ? "too early" : taken.error().text.c_str());
    }
    void settle(std::uint64_t worker, const proto::audit::OutcomeArgs& args) {
        const auto taken = ledger.settle(worker, args);
        cr_assert(taken && *taken == Taken::yes, "%s", taken ? "too early" : taken.error().text.c_str());
    }
    // The lie that was found in it.
    std::string lie(std::uint64_t worker, proto::audit::DecisionArgs args) {
        const std::size_t before = collector.records.size();
        const auto taken = ledger.decide(worker, std::move(args));
        cr_assert(!taken, "it was believed");
        cr_assert_eq(collector.records.size(), before, "a lie left a record");
        return taken.error().text;
    }
    [[nodiscard]] Words results() const { return collector.values("call", "result"); }

    Collector collector;
    Ledger ledger{collector, test_time};
};

}  // namespace

Test(auditor_ledger, a_refused_call_is_written_at_once) {
    House house;
    house.decide(3, refused(12, 1));
    cr_assert(house.collector.values("call", "verdict") == Words{"refused"});
    cr_assert(house.results() == Words{"-"});
    cr_assert_eq(house.ledger.held(3), 0);
}

Test(auditor_ledger, an_allowed_call_is_written_when_it_ends) {
    House house;
    const Moment decided = test_time();
    house.decide(3, allowed(12, 1));
    cr_assert(house.collector.records.empty());
    set_time(decided + std::chrono::seconds{5});
    house.settle(3, outcome(12, 1));
    cr_assert(house.results() == Words{"done"});
    // Its time is that of the decision.
    cr_assert(house.collector.values("call", "time") == Words{format_time(decided)});
    cr_assert(house.collector.values("call", "duration_us") == Words{"1234"});
    cr_assert_eq(house.ledger.held(3), 0);
    house.settle(3, outcome(12, 1));
    cr_assert_eq(house.collector.records.size(), 1, "an outcome that came twice");
}

Test(auditor_ledger, calls_end_in_any_order_and_in_different_ways) {
    House house;
    for (std::uint64_t call = 1; call <= 4; ++call) house.decide(3, allowed(12, call));
    house.settle(3, outcome(12, 3, 42));
    house.settle(3, outcome(12, 1));
    house.settle(3, {.session = 12, .call = 2, .answered = false, .error = 0, .duration = 7});
    cr_assert(house.results() == (Words{"error", "done", "lost"}));
    cr_assert(house.collector.values("call", "error") == (Words{"42", "-", "-"}));
    cr_assert_eq(house.ledger.held(3), 1);
}

Test(auditor_ledger, a_call_on_probation_is_held_too) {
    House house;
    auto args = allowed(12, 1);
    args.verdict = proto::audit::AuditVerdict::verdict_shadowed;
    args.reason = proto::audit::AuditReason::reason_no_binding;
    house.decide(3, args);
    house.settle(3, outcome(12, 1));
    cr_assert(house.collector.values("call", "verdict") == Words{"shadowed"});
    cr_assert(house.collector.values("call", "reason") == Words{"no-binding"});
    cr_assert(house.results() == Words{"done"});
}

Test(auditor_ledger, a_reply_that_is_refused_replaces_the_decision) {
    House house;
    house.decide(3, allowed(12, 1));
    auto args = refused(12, 1);
    args.reason = proto::audit::AuditReason::reason_redacted;
    house.decide(3, args);
    house.settle(3, outcome(12, 1));
    cr_assert(house.collector.values("call", "reason") == Words{"redacted"});
    cr_assert_eq(house.ledger.held(3), 0);
}

Test(auditor_ledger, a_crash_of_a_worker_loses_no_decision) {
    House house;
    for (std::uint64_t call = 1; call <= 3; ++call) house.decide(3, allowed(12, call));
    house.decide(4, allowed(13, 1));
    house.ledger.lose_worker(3);
    cr_assert(house.results() == (Words{"lost", "lost", "lost"}));
    cr_assert(house.collector.values("call", "identity") == (Words{"alice", "alice", "alice"}));
    cr_assert(house.collector.values("call", "subject").front() == "CN=alice,O=Acme");
    cr_assert_eq(house.ledger.held(4), 1, "another worker's call is still open");
    // The sessions end afterwards, by the broker's word.
    house.ledger.close_session(12);
    cr_assert(house.collector.values("session-end", "identity") == Words{"alice"});
}

Test(auditor_ledger, the_end_of_a_session_writes_its_calls_and_no_others) {
    House house;
    house.ledger.open_session(arrival(14, 3));
    house.collector.records.clear();
    house.decide(3, allowed(12, 1));
    house.decide(3, allowed(14, 2));
    house.decide(3, allowed(12, 3));
    set_time(test_time() + std::chrono::seconds{90});
    house.ledger.close_session(12);
    cr_assert(house.results() == (Words{"lost", "lost"}));
    cr_assert(house.collector.values("call", "session") == (Words{"12", "12"}));
    cr_assert(house.collector.values("session-end", "duration_us") == Words{"90000000"});
    cr_assert_eq(house.collector.records.back().json.at("record"), "session-end", "the end comes last");
    cr_assert_eq(house.ledger.held(3), 1);
}

Test(auditor_ledger, a_departed_session_may_still_be_spoken_of_by_its_worker) {
    House house;
    house.ledger.close_session(12);
    house.collector.records.clear();
    house.decide(3, refused(12, 1));
    house.decide(3, allowed(12, 2));
    house.settle(3, outcome(12, 2));
    cr_assert(house.results() == (Words{"-", "lost"}));
    cr_assert(house.collector.values("call", "identity") == (Words{"alice", "alice"}));
    cr_assert_eq(house.ledger.held(3), 0);
    cr_assert(!house.lie(4, refused(12, 3)).empty(), "not by another one");
}

Test(auditor_ledger, departed_sessions_are_forgotten_in_the_end) {
    House house;
    house.ledger.close_session(12);
    for (std::uint64_t i = 0; i < Ledger::k_departed_max; ++i) {
        house.ledger.open_session(arrival(1'000 + i, 3));
        house.ledger.close_session(1'000 + i);
    }
    const auto taken = house.ledger.decide(3, refused(12, 1));
    cr_assert(taken && *taken == Taken::too_early);
    house.decide(3, refused(1'000, 1));
}

Test(auditor_ledger, a_worker_that_speaks_of_others_is_not_believed) {
    House house;
    cr_assert_eq(house.lie(4, refused(12, 1)), "it speaks of session 12, which is not its own");
    cr_assert_eq(house.lie(4, allowed(12, 1)), "it speaks of session 12, which is not its own");
    house.decide(3, allowed(12, 1));
    cr_assert(!house.ledger.settle(4, outcome(12, 1)), "an outcome of another one's call");
    cr_assert_eq(house.ledger.held(3), 1);
    cr_assert_eq(house.lie(99, refused(12, 1)), "nobody knows it");
}

Test(auditor_ledger, the_locker_speaks_of_locks_and_of_sessions_that_may_lock) {
    House house;
    auto arrived = arrival(14, 3);
    arrived.locks = true;
    house.ledger.open_session(arrived);
    house.ledger.add_worker(Ledger::k_locker, "");
    house.collector.records.clear();
    const auto of_lock = [](proto::audit::DecisionArgs args) {
        args.program = proto::lock::k_program;
        args.version = proto::lock::k_version;
        args.procedure = static_cast<std::uint32_t>(proto::lock::Procedure::acquire_resource);
        return args;
    };
    house.decide(Ledger::k_locker, of_lock(allowed(14, 1)));
    house.decide(3, allowed(14, 1));  // the worker's own call with that number
    house.settle(Ledger::k_locker, outcome(14, 1, 87));
    cr_assert(house.collector.values("call", "program") == Words{"lock"});
    cr_assert(house.collector.values("call", "identity") == Words{"alice"});
    cr_assert_eq(house.ledger.held(3), 1);
    cr_assert_eq(house.lie(Ledger::k_locker, of_lock(allowed(12, 2))),
                 "it speaks of session 12, which is not its own");
    cr_assert_eq(house.lie(Ledger::k_locker, allowed(14, 3)), "it speaks of a call that is not about locks");
    // The end of the session is the end of what both hold, and the last words come behind it.
    house.decide(Ledger::k_locker, of_lock(allowed(14, 4)));
    house.ledger.close_session(14);
    cr_assert(house.results() == (Words{"error", "lost", "lost"}));
    house.decide(Ledger::k_locker, of_lock(refused(14, 5)));
    cr_assert_eq(house.collector.values("call", "identity").back(), "alice");
    house.ledger.close_session(13);
    house.lie(Ledger::k_locker, of_lock(refused(13, 6)));
}

Test(auditor_ledger, what_cannot_be_is_a_lie) {
    using namespace proto::audit;
    House house;
    auto args = refused(12, 1);
    args.verdict = static_cast<AuditVerdict>(0);
    house.lie(3, args);
    args.verdict = static_cast<AuditVerdict>(4);
    house.lie(3, args);
    args = refused(12, 1);
    args.reason = static_cast<AuditReason>(10);
    house.lie(3, args);
    args = refused(12, 1);
    args.objects[0].kind = static_cast<proto::policy::ObjectKind>(11);
    house.lie(3, args);
    args = refused(12, 1);
    args.objects[0].uuid.resize(15);
    house.lie(3, args);
    house.decide(3, allowed(12, 1));
    cr_assert_eq(house.lie(3, allowed(12, 1)), "it allowed call 1 of session 12 twice");
}

Test(auditor_ledger, a_session_that_is_not_known_yet_may_come) {
    House house;
    auto taken = house.ledger.decide(3, allowed(14, 1));
    cr_assert(taken && *taken == Taken::too_early);
    taken = house.ledger.settle(3, outcome(14, 1));
    cr_assert(taken && *taken == Taken::too_early);
    cr_assert(house.collector.records.empty());
    house.ledger.open_session(arrival(14, 3));
    house.decide(3, allowed(14, 1));
}

Test(auditor_ledger, dropped_messages_are_said) {
    House house;
    auto args = refused(12, 1);
    args.dropped = 5;
    house.decide(3, args);
    args.call = 2;
    house.decide(3, args);
    args.call = 3;
    args.dropped = 7;
    house.decide(3, args);
    cr_assert(house.collector.values("dropped", "dropped") == (Words{"5", "2"}));
    cr_assert(house.collector.values("dropped", "identity") == (Words{"alice", "alice"}));
    cr_assert_eq(house.collector.records.front().json.at("record"), "dropped", "the gap comes first");
    args.dropped = 6;
    cr_assert_eq(house.lie(3, args), "its count of dropped records fell");
}

Test(auditor_ledger, one_worker_cannot_fill_the_memory_nor_oust_another_one) {
    House house;
    house.decide(4, allowed(13, 1));
    auto args = allowed(12, 0);
    args.detail.assign(proto::audit::k_detail_max, 'x');
    args.objects.assign(proto::audit::k_audit_objects_max, args.objects[0]);
    for (auto& object : args.objects) object.name.assign(proto::audit::k_detail_max, 'y');
    constexpr std::uint64_t k_calls = 2'000;
    for (args.call = 1; args.call <= k_calls; ++args.call) house.decide(3, args);
    const std::size_t held = house.ledger.held(3);
    cr_assert_gt(held, 100);
    cr_assert_leq(held * (512 + 9 * 512), Ledger::k_held_bytes_max);
    cr_assert_eq(house.collector.records.size(), k_calls - held);
    for (const std::string& result : house.results()) cr_assert_eq(result, "unknown");
    cr_assert_eq(house.ledger.held(4), 1);
    // The oldest were given up; an outcome of one of them is nothing.
    house.settle(3, outcome(12, 1));
    cr_assert_eq(house.collector.records.size(), k_calls - held);
    house.settle(3, outcome(12, k_calls));
    cr_assert_eq(house.results().back(), "done");
}

Test(auditor_ledger, above_a_number_of_sessions_clients_are_not_remembered) {
    House house;
    // Two are there.
    for (std::uint64_t i = 0; i < Ledger::k_clients_max; ++i) house.ledger.open_session(arrival(100 + i, 3));
    house.collector.records.clear();
    const std::uint64_t last_full = 100 + Ledger::k_clients_max - 3;
    house.decide(3, refused(last_full, 1));
    house.decide(3, refused(last_full + 1, 2));
    cr_assert(house.collector.values("call", "identity") == (Words{"alice", "alice"}));
    cr_assert(house.collector.values("call", "subject") == (Words{"CN=alice,O=Acme", "-"}));
    // An end makes room for one.
    house.ledger.close_session(last_full + 1);
    house.ledger.close_session(last_full);
    house.ledger.open_session(arrival(7, 3));
    house.ledger.open_session(arrival(8, 3));
    house.collector.records.clear();
    house.decide(3, refused(7, 3));
    house.decide(3, refused(8, 4));
    cr_assert(house.collector.values("call", "subject") == (Words{"CN=alice,O=Acme", "-"}));
}

Test(auditor_ledger, a_session_that_is_told_of_twice_counts_once) {
    House house;
    for (std::size_t i = 0; i < Ledger::k_clients_max; ++i) house.ledger.open_session(arrival(12, 3));
    house.ledger.open_session(arrival(14, 3));
    house.collector.records.clear();
    house.decide(3, refused(14, 1));
    cr_assert(house.collector.values("call", "subject") == Words{"CN=alice,O=Acme"});
}

Test(auditor_ledger, a_client_that_was_refused_leaves_a_record_and_no_session) {
    House house;
    auto args = arrival(0, 0);
    args.identity.clear();
    args.place = {};
    args.reason = "no-identity";
    house.ledger.open_session(args);
    cr_assert(house.collector.values("session", "verdict") == Words{"refused"});
    cr_assert(house.collector.values("session", "reason") == Words{"no-identity"});
    cr_assert(house.collector.values("session", "session") == Words{"-"});
    cr_assert(house.collector.values("session", "role") == Words{"-"});
    cr_assert_eq(house.ledger.worker_of(0), 0);
    house.ledger.close_session(0);
    cr_assert_eq(house.collector.records.size(), 1);
}

Test(auditor_ledger, policies_leave_records) {
    House house;
    house.ledger.note_policy({.generation = 5, .identities = 12, .accepted = true});
    house.ledger.note_policy({.generation = 5, .identities = 12, .accepted = false});
    cr_assert(house.collector.values("policy", "verdict") == (Words{"allowed", "refused"}));
    cr_assert(house.collector.values("policy", "generation") == (Words{"5", "5"}));
    cr_assert(house.collector.values("policy", "detail") == (Words{"12 identities", "12 identities"}));
}

Test(auditor_ledger, at_the_end_everything_that_is_held_is_written) {
    House house;
    house.decide(3, allowed(12, 1));
    house.decide(4, allowed(13, 1));
    house.ledger.give_up();
    cr_assert(house.results() == (Words{"unknown", "unknown"}));
    house.ledger.give_up();
    cr_assert_eq(house.collector.records.size(), 2);
}

Test(auditor_ledger, a_worker_that_comes_again_begins_anew) {
    House house;
    auto args = allowed(12, 1);
    args.dropped = 5;
    house.decide(3, args);
    house.ledger.add_worker(3, "alice");
    cr_assert(house.results() == Words{"lost"});
    house.decide(3, allowed(12, 1));
    cr_assert_eq(house.ledger.held(3), 1);
}
