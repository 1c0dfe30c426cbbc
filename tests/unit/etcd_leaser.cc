// SPDX-License-Identifier: LGPL-2.1-or-later
// etcd_leaser - a leaser as a whole: what it grants, and what it makes of answers that never come.
#include <criterion/criterion.h>

#include "libshared/rpc/error.h"
#include "tests/unit/etcd_rig.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace std::chrono_literals;

namespace {

constexpr const char* k_disk = "/p/held/disk/x";

// A rig whose lock space is alive.
struct Alive : LeaserRig {
    Alive() { begin(); }
    void begin(std::uint64_t lease = 0, std::vector<proto::lease::Leased> held = {}) {
        resume(lease, std::move(held));
        cr_assert(pump_until(loop, [&] { return alive(); }), "not alive");
    }
};

proto::lease::Leased leased(const proto::lease::TakeRet& taken) {
    return {.name = {std::byte{'d'}, std::byte{'i'}, std::byte{'s'}, std::byte{'k'}},
            .shared = false,
            .lease = taken.lease,
            .token = taken.token};
}

void plant(FakeEtcd& etcd, const std::string& key, std::uint64_t lease, const std::string& host) {
    ++etcd.revision;
    etcd.keys[key] = {.value = R"({"host":")" + host + R"(","since":1700000000,"attempt":"x"})",
                      .created = etcd.revision,
                      .modified = etcd.revision,
                      .lease = lease};
}

}  // namespace

Test(leaser, takes_and_lets_go) {
    Alive rig;
    const auto first = rig.take_now("disk");
    cr_assert(first.ok && rig.etcd.keys.at(k_disk).created == first.taken.token);
    cr_assert_eq(rig.etcd.keys.at(k_disk).lease, first.taken.lease);
    cr_assert_eq(rig.answer(rig.take("disk")).code, rpc::k_code_resource_busy);
    cr_assert(rig.answer(rig.let_go("disk", first.taken)).ok);
    cr_assert(!rig.etcd.keys.contains(k_disk));
    const auto second = rig.take_now("disk");
    cr_assert(second.ok && second.taken.token > first.taken.token);
}

Test(leaser, says_who_has_what_it_cannot_take) {
    Alive rig;
    plant(rig.etcd, k_disk, 7, "other");
    for (const bool shared : {false, true}) {
        const auto answer = rig.take_now("disk", shared);
        cr_assert_eq(answer.code, rpc::k_code_resource_busy);
        cr_assert_eq(answer.text, "held by other since 2023-11-14 22:13:20 UTC");
    }
    plant(rig.etcd, "/p/held/iso/s/0000000000000007", 7, "other");
    cr_assert(rig.take_now("iso", true).ok && !rig.take_now("iso", false).ok);
}

Test(leaser, needs_a_resource_that_was_made_unless_it_may_make_it) {
    Alive rig;
    cr_assert_eq(rig.take_now("disk", false, false).text, "there is no such resource");
    cr_assert(rig.answer(rig.make("disk")).ok && rig.take_now("disk", false, false).ok);
    plant(rig.etcd, "/p/held/other/x", 7, "other");
    cr_assert_eq(rig.answer(rig.remove("other")).code, rpc::k_code_resource_busy);
    cr_assert(rig.answer(rig.remove("never")).ok);
}

Test(leaser, finds_out_that_a_lock_was_taken_whose_answer_was_lost) {
    for (const Fate fate : {Fate::lost_answer, Fate::unavailable}) {
        Alive rig;
        rig.etcd.fates = {fate};
        const auto answer = rig.take_now("disk");
        cr_assert(answer.ok, "%s", answer.text.c_str());
        cr_assert_eq(answer.taken.token, rig.etcd.keys.at(k_disk).created);
    }
}

Test(leaser, takes_again_what_was_never_done) {
    Alive rig;
    rig.etcd.fates = {Fate::lost};
    const auto answer = rig.take_now("disk");
    cr_assert(answer.ok && answer.taken.token == rig.etcd.keys.at(k_disk).created);
}

// The heart of it: looking whether it was done is not enough, since it may be done after that.
Test(leaser, makes_sure_that_a_lost_request_cannot_be_done_late) {
    Alive rig;
    rig.etcd.fates = {Fate::late};
    const auto first = rig.take_now("disk");
    cr_assert(first.ok);
    cr_assert(rig.answer(rig.let_go("disk", first.taken)).ok);
    rig.etcd.do_late();
    cr_assert(!rig.etcd.keys.contains(k_disk), "a request that was given up took the lock");
    // Nor can one that is late take away what somebody has by now.
    plant(rig.etcd, k_disk, 7, "other");
    rig.etcd.do_late();
    cr_assert_eq(rig.etcd.keys.at(k_disk).lease, 7);
}

Test(leaser, does_not_delete_late_what_somebody_else_has_by_then) {
    Alive rig;
    const auto taken = rig.take_now("disk").taken;
    rig.etcd.fates = {Fate::late};
    const auto let_go = rig.let_go("disk", taken);
    rig.pass(3s);
    cr_assert(rig.is_answered(let_go) && !rig.etcd.keys.contains(k_disk));
    plant(rig.etcd, k_disk, 7, "other");
    rig.etcd.do_late();
    cr_assert(rig.etcd.keys.contains(k_disk));
}

Test(leaser, holds_nothing_that_it_said_it_could_not_take) {
    Alive rig;
    rig.etcd.fates = {Fate::lost_answer};
    rig.etcd.is_gone = false;
    const auto serial = rig.take("disk");
    // Done, and nothing can be asked from now on.
    rig.etcd.is_gone = true;
    rig.pass(4s);
    if (rig.answer(serial).ok) return;  // it was asked before
    rig.etcd.is_gone = false;
    rig.pass(5s);
    cr_assert(!rig.etcd.keys.contains(k_disk), "held, and nobody knows");
}

Test(leaser, knows_its_own_request_when_that_was_sent_twice) {
    Alive rig;
    rig.etcd.fates = {Fate::twice};
    const auto answer = rig.take_now("disk");
    cr_assert(answer.ok && answer.taken.token == rig.etcd.keys.at(k_disk).created);
}

Test(leaser, gives_back_what_it_got_after_it_had_said_no) {
    Alive rig;
    rig.etcd.fates = {Fate::held_back};
    const auto serial = rig.take("disk");
    // Our deadline passes; libcurl's, which is by the machine's clock, does not.
    for (int i = 0; i < 4; ++i) rig.loop.advance(1s);
    rig.settle();
    cr_assert(rig.is_answered(serial) && !rig.answer(serial).ok && rig.etcd.keys.contains(k_disk));
    rig.etcd.answer_held_back();
    cr_assert(pump_until(rig.loop, [&] { return !rig.etcd.keys.contains(k_disk); }));
    cr_assert(rig.take_now("disk").ok);
}

Test(leaser, answers_in_time_when_etcd_does_not) {
    Alive rig;
    rig.etcd.is_gone = true;
    const auto serial = rig.take("disk");
    rig.pass(3'100ms);
    cr_assert(rig.is_answered(serial));
    cr_assert_eq(rig.answer(serial).code, rpc::k_code_operation_failed);
}

Test(leaser, says_that_all_is_lost_when_two_thirds_of_the_time_are_over) {
    Alive rig;
    cr_assert(rig.take_now("disk").ok);
    const unsigned before = rig.etcd.keep_alives;
    rig.pass(35s);
    cr_assert(rig.etcd.keep_alives >= before + 3 && rig.lost.empty() && rig.alive());
    rig.etcd.is_gone = true;
    // Renewed at most 10 s ago: not yet after 9 s, and after 20.5 s for certain.
    rig.pass(9s);
    cr_assert(rig.lost.empty());
    rig.pass(11'500ms);
    cr_assert_eq(rig.lost.size(), 1);
    cr_assert(rig.state.phase == proto::lease::LeasePhase::lease_late);
    cr_assert_eq(rig.take_now("other").code, rpc::k_code_operation_failed);
}

Test(leaser, keeps_others_out_while_who_lost_a_lock_is_ended) {
    Alive rig;
    const auto taken = rig.take_now("disk").taken;
    rig.etcd.is_gone = true;
    rig.pass(20'500ms);
    cr_assert_eq(rig.lost.size(), 1);
    rig.etcd.is_gone = false;
    rig.pass(2s);
    cr_assert(rig.alive() && rig.state.lease == taken.lease && rig.etcd.keys.contains(k_disk));
    cr_assert(rig.answer(rig.let_go("disk", taken)).ok && !rig.etcd.keys.contains(k_disk));
}

Test(leaser, begins_anew_when_the_lease_has_ended) {
    Alive rig;
    const auto taken = rig.take_now("disk").taken;
    rig.etcd.end_lease(taken.lease);
    rig.pass(11s);
    cr_assert_eq(rig.lost.size(), 1);
    cr_assert(pump_until(rig.loop, [&] { return rig.alive() && rig.state.lease != taken.lease; }));
    const auto again = rig.take_now("disk");
    cr_assert(again.ok && again.taken.lease != taken.lease && again.taken.token > taken.token);
    cr_assert(rig.answer(rig.let_go("disk", taken)).ok && rig.etcd.keys.contains(k_disk),
              "let go by a former owner");
}

Test(leaser, notices_that_a_lock_is_broken) {
    Alive rig;
    const auto taken = rig.take_now("disk").taken;
    rig.settle();
    rig.etcd.erase(k_disk);
    cr_assert(pump_until(rig.loop, [&] { return !rig.lost.empty(); }));
    cr_assert_eq(rig.lost[0].token, taken.token);
    cr_assert(rig.take_now("disk").ok);
}

Test(leaser, notices_it_after_history_was_forgotten_too) {
    Alive rig;
    cr_assert(rig.take_now("disk").ok && rig.take_now("kept").ok);
    rig.etcd.keys.erase(k_disk);
    rig.etcd.compact();
    cr_assert(pump_until(rig.loop, [&] { return !rig.lost.empty(); }));
    rig.settle();
    cr_assert_eq(rig.lost.size(), 1);
}

Test(leaser, that_is_new_goes_on_with_the_lease) {
    Alive rig;
    const auto taken = rig.take_now("disk").taken;
    rig.restart();
    rig.begin(taken.lease, {leased(taken)});
    cr_assert(rig.state.lease == taken.lease && rig.lost.empty() && rig.etcd.keys.contains(k_disk));
    cr_assert_eq(rig.take_now("disk").code, rpc::k_code_resource_busy);
}

Test(leaser, lets_go_what_no_locker_knows_of) {
    Alive rig;
    const auto taken = rig.take_now("disk").taken;
    rig.connect();
    rig.begin(taken.lease);
    cr_assert(pump_until(rig.loop, [&] { return !rig.etcd.keys.contains(k_disk); }));
    cr_assert(rig.take_now("disk").ok);
}

Test(leaser, says_what_is_missing_when_it_goes_on) {
    Alive rig;
    const auto taken = rig.take_now("disk").taken;
    rig.restart();
    rig.etcd.keys.erase(k_disk);
    plant(rig.etcd, k_disk, 7, "other");
    rig.begin(taken.lease, {leased(taken)});
    cr_assert_eq(rig.lost.size(), 1);
    cr_assert_eq(rig.etcd.keys.at(k_disk).lease, 7);
}

Test(leaser, that_finds_its_lease_gone_says_so) {
    Alive rig;
    const auto taken = rig.take_now("disk").taken;
    rig.restart();
    rig.etcd.end_lease(taken.lease);
    rig.begin(taken.lease, {leased(taken)});
    cr_assert(rig.lost.size() == 1 && rig.state.lease != taken.lease);
}

// A request of the process before, which waits in a server that was stopped.
Test(leaser, that_is_new_makes_requests_of_the_former_one_fail) {
    Alive rig;
    rig.etcd.fates = {Fate::late};
    static_cast<void>(rig.take("disk"));
    rig.restart();
    rig.begin(rig.state.lease == 0 ? 101 : rig.state.lease);
    rig.etcd.do_late();
    cr_assert(!rig.etcd.keys.contains(k_disk));
}

Test(leaser, goes_on_with_another_server) {
    LeaserRig rig;
    FakeEtcd gone(rig.loop);
    gone.is_gone = true;
    rig.config.endpoints = {gone.url(), rig.etcd.url()};
    rig.restart();
    rig.resume(0);
    rig.pass(1s);
    cr_assert(pump_until(rig.loop, [&] { return rig.alive(); }));
    cr_assert(rig.take_now("disk").ok);
}

Test(leaser, logs_in_and_does_so_again_when_etcd_has_forgotten_it) {
    LeaserRig rig;
    rig.config.user = "u";
    rig.config.password = "p";
    rig.etcd.token = "one";
    rig.restart();
    rig.resume(0);
    cr_assert(pump_until(rig.loop, [&] { return rig.alive(); }));
    rig.etcd.token = "two";
    cr_assert(rig.take_now("disk").ok);
    cr_assert_geq(rig.etcd.logins, 2);
}
