// SPDX-License-Identifier: LGPL-2.1-or-later
// locker_survival - tests of what a locker does before it answers, of crashes between any two steps, and of handing over.
#include <criterion/criterion.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/unit/locker_rig.h"

using namespace virtgate;
using namespace virtgate::lockd::locker;
using namespace virtgate::lockd::locker::test;
namespace kept = proto::kept;

namespace {

std::uint32_t self() { return static_cast<std::uint32_t>(getpid()); }

// A client that speaks for another owner, with a lock space `rig.spaces`.
struct Ready {
    explicit Ready(Rig& rig) : client(rig) {
        cr_assert(client.open_space(rig.spaces) == "ok");
        cr_assert(client.register_owner(k_nobody) == "ok");
    }
    Client client;
};

// A process that connects and registers itself, and does then what its end of the pipe says.
class Guest {
public:
    Guest(Rig& rig, bool deaf) {
        int ends[2];
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        pid = fork();
        if (pid == 0) live(rig, ends[1], deaf);
        close(ends[1]);
        talk_ = UniqueFd{ends[0]};
        char byte;
        cr_assert_eq(read(talk_.get(), &byte, 1), 1);
        rig.turn();
    }
    ~Guest() {
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
    }
    // Closes its connection and lives on.
    void leave() {
        cr_assert_eq(write(talk_.get(), "x", 1), 1);
        char byte;
        cr_assert_eq(read(talk_.get(), &byte, 1), 1);
    }
    // The signal that ended it, waited for.
    int ended() {
        int status = 0;
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    }
    pid_t pid;

private:
    [[noreturn]] static void live(const Rig& rig, int talk, bool deaf) {
        if (deaf) std::signal(SIGTERM, SIG_IGN);
        const int connection = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(connection, reinterpret_cast<const sockaddr*>(&rig.name), rig.name_size) != 0) _exit(1);
        proto::lock::RegisterArgs arguments;
        arguments.owner.id = 1;
        arguments.owner.process_id = static_cast<std::uint32_t>(getpid());
        ByteVector payload;
        xdr::Writer writer(payload, 4096);
        arguments.encode(writer);
        const ByteVector frame =
            rpc::make_frame(rpc::make_call(proto::lock::k_program, proto::lock::k_version,
                                           proto::lock::Procedure::register_, 0),
                            payload);
        char byte = '1';
        if (write(connection, frame.data(), frame.size()) < 0 || write(talk, &byte, 1) != 1) _exit(1);
        if (read(talk, &byte, 1) != 1) _exit(1);
        close(connection);
        if (write(talk, &byte, 1) != 1) _exit(1);
        for (;;) pause();
    }
    UniqueFd talk_;
};

}  // namespace

Test(locker_survival, nothing_is_answered_before_it_is_in_the_queue) {
    Rig rig;
    Ready ready(rig);
    Client own(rig);
    const auto answers_when_there_is_room = [&](Client& client, std::string at_once) {
        cr_assert(at_once.empty(), "%s", at_once.c_str());
        rig.holder.mode = Holder::Mode::at_once;
        cr_assert(client.answer() == "ok");
        rig.holder.mode = Holder::Mode::stuck;
    };
    rig.holder.mode = Holder::Mode::stuck;
    answers_when_there_is_room(ready.client, ready.client.acquire(rig.spaces, "r", k_auto));
    cr_assert(!is_free(rig.spaces + "/r"));
    answers_when_there_is_room(ready.client, ready.client.open_space(rig.spaces + "/new"));
    answers_when_there_is_room(own, own.register_owner(self()));
    answers_when_there_is_room(own, own.restrict());
}

Test(locker_survival, what_is_in_the_queue_is_kept_although_both_died_before_it_was_read) {
    Rig rig;
    Ready ready(rig);
    // Nobody reads, but there is room.
    rig.holder.stop_reading();
    for (int i = 0; i < 10; ++i) {
        cr_assert(ready.client.acquire(rig.spaces, fmt::format("r{}", i), k_auto) == "ok");
        if (i % 3 == 0) cr_assert(ready.client.release(rig.spaces, fmt::format("r{}", i)) == "ok");
    }
    cr_assert_eq(rig.holder.things.size(), 1, "the lock space");
    rig.locker.reset();
    for (int i = 0; i < 10; ++i)
        cr_assert_eq(is_free(fmt::format("{}/r{}", rig.spaces, i)), i % 3 == 0, "r%d", i);
    rig.crash();
    rig.start();
    cr_assert_eq(rig.locker->table().held(), 6);
}

Test(locker_survival, nothing_is_let_go_before_that_is_in_the_queue) {
    Rig rig;
    Ready ready(rig);
    cr_assert(ready.client.acquire(rig.spaces, "r", k_auto) == "ok");
    rig.holder.mode = Holder::Mode::stuck;
    cr_assert(ready.client.release(rig.spaces, "r").empty());
    cr_assert(!is_free(rig.spaces + "/r"));
    rig.holder.mode = Holder::Mode::at_once;
    cr_assert(ready.client.answer() == "ok" && !exists(rig.spaces + "/r"));
}

Test(locker_survival, a_queue_that_broke_answers_nobody) {
    Rig rig;
    Ready ready(rig);
    cr_assert(ready.client.acquire(rig.spaces, "held", k_auto) == "ok");
    rig.holder.break_queue();
    cr_assert(ready.client.acquire(rig.spaces, "r", k_auto).empty());
    cr_assert(ready.client.release(rig.spaces, "held").empty() && !is_free(rig.spaces + "/held"));
}

Test(locker_survival, where_there_is_no_room_new_locks_are_refused_and_old_ones_can_end) {
    Rig rig;
    Ready ready(rig);
    Client own(rig);
    cr_assert(ready.client.acquire(rig.spaces, "old", k_auto) == "ok");
    rig.holder.mode = Holder::Mode::refusing;
    const std::string refusal = "1/51 internal error: there is no room to write down more locks";
    cr_assert(ready.client.acquire(rig.spaces, "r", k_auto) == refusal);
    cr_assert(!exists(rig.spaces + "/r"), "it was made for the lock that is not held");
    cr_assert(ready.client.open_space(rig.spaces + "/x") == refusal);
    cr_assert(own.register_owner(self()) == refusal);
    cr_assert(own.restrict().starts_with("55/7 "), "it is not registered");
    cr_assert(ready.client.release(rig.spaces, "old") == "ok" && !exists(rig.spaces + "/old"));
    rig.holder.mode = Holder::Mode::at_once;
    cr_assert(ready.client.open_space(rig.spaces + "/x") == "ok");
    cr_assert(ready.client.acquire(rig.spaces, "r", k_auto | k_shared) == "ok");
    cr_assert(own.register_owner(self()) == "ok");
    cr_assert_eq(rig.holder.things.size(), 4);
    cr_assert_eq(rig.holder.things.rbegin()->first, 3, "slots of what was not kept are used again");
    rig.holder.mode = Holder::Mode::refusing;
    cr_assert(ready.client.acquire(rig.spaces, "r", k_shared) == refusal);
    cr_assert(!is_free(rig.spaces + "/r"));
    cr_assert(ready.client.release(rig.spaces, "r") == "ok" && !exists(rig.spaces + "/r"));
}

// A grant that is used up and will be renewed makes clients wait; it turns out that it will not: they are told.
Test(locker_survival, who_waits_for_room_is_told_when_there_is_none) {
    Rig rig;
    Ready ready(rig);
    rig.holder.mode = Holder::Mode::stuck;
    cr_assert(ready.client.acquire(rig.spaces, "r", k_auto).empty());
    rig.holder.mode = Holder::Mode::refusing;
    cr_assert(ready.client.answer() == "1/51 internal error: there is no room to write down more locks");
    cr_assert(!exists(rig.spaces + "/r"));
}

Test(locker_survival, no_more_is_kept_than_the_holder_has_room_for) {
    Rig rig;
    rig.holder.things_max = 3;
    rig.crash();
    rig.start();
    Ready ready(rig);
    for (const char* name : {"a", "b"}) cr_assert(ready.client.acquire(rig.spaces, name, k_auto) == "ok");
    cr_assert(ready.client.acquire(rig.spaces, "c", k_auto) ==
              "1/51 internal error: too many locks are held");
    cr_assert(!exists(rig.spaces + "/c") && ready.client.release(rig.spaces, "a") == "ok");
    cr_assert(ready.client.acquire(rig.spaces, "c", k_auto) == "ok");
}

Test(locker_survival, a_crash_loses_no_lock_and_no_lock_space) {
    Rig rig;
    {
        Ready ready(rig);
        for (int i = 0; i < 10; ++i)
            cr_assert(ready.client.acquire(rig.spaces, fmt::format("r{}", i), k_auto | (i % 2)) == "ok");
        write_file(rig.direct + "/disk", "data");
        cr_assert(ready.client.acquire("", rig.direct + "/disk") == "ok");
        rig.crash();
        cr_assert(!is_free(rig.spaces + "/r3") && !is_free(rig.direct + "/disk"));
    }
    rig.start();
    cr_assert_eq(rig.locker->table().held(), 11);
    Client client(rig);
    cr_assert(client.register_owner(k_nobody) == "ok");
    cr_assert(client.open_new(rig.spaces).starts_with("1/7 "));
    cr_assert(client.acquire(rig.spaces, "r1", k_shared) == "ok", "shared ones stay shared");
    cr_assert(client.release(rig.spaces, "r1") == "ok" && client.release(rig.spaces, "r1") == "ok");
    for (int i = 0; i < 10; ++i) {
        if (i == 1) continue;
        cr_assert(client.acquire(rig.spaces, fmt::format("r{}", i)).starts_with("87/51 "));
        cr_assert(client.release(rig.spaces, fmt::format("r{}", i)) == "ok", "r%d", i);
        cr_assert(!exists(fmt::format("{}/r{}", rig.spaces, i)), "it was made for the lock");
    }
    cr_assert(client.release("", rig.direct + "/disk") == "ok" && is_free(rig.direct + "/disk"));
    cr_assert_eq(rig.holder.things.size(), 1, "the lock space");
}

Test(locker_survival, nobody_is_served_before_all_is_taken_over_and_the_holder_says_so) {
    Rig rig;
    rig.crash();
    rig.start(true);
    cr_assert_eq(rig.holder.ready, 2);
    Client client(rig);
    cr_assert(client.open_space("").empty());
    rig.holder.send_serve();
    cr_assert(client.answer() == "ok");
}

Test(locker_survival, a_record_or_a_descriptor_that_makes_no_sense_stays_locked_and_is_left_alone) {
    Rig rig;
    {
        Ready ready(rig);
        cr_assert(ready.client.acquire(rig.spaces, "good", k_auto) == "ok");
        cr_assert(ready.client.acquire(rig.spaces, "bad", k_auto) == "ok");
        cr_assert(ready.client.acquire(rig.spaces, "lost", k_auto) == "ok");
    }
    rig.crash();
    auto& bad = std::get<kept::Kept::lock>(rig.holder.things.at(2).record.value);
    bad.inode += 1;
    auto& lost = std::get<kept::Kept::lock>(rig.holder.things.at(3).record.value);
    lost.space = {std::byte{'/'}, std::byte{'x'}};
    rig.start();
    cr_assert_eq(rig.locker->table().held(), 1);
    cr_assert(rig.holder.dropped.empty());
    Client client(rig);
    cr_assert(client.register_owner(k_nobody) == "ok");
    cr_assert(client.acquire(rig.spaces, "bad").starts_with("87/51 ") && !is_free(rig.spaces + "/bad"));
    cr_assert(!is_free(rig.spaces + "/lost"));
    cr_assert(client.acquire(rig.spaces, "new", k_auto) == "ok");
    cr_assert_eq(rig.holder.things.rbegin()->first, 4, "their slots are taken");
}

Test(locker_survival, connections_go_on_after_a_hand_over) {
    Rig rig;
    Ready ready(rig);
    Client own(rig), fresh(rig);
    cr_assert(own.register_owner(self()) == "ok" && own.restrict() == "ok");
    cr_assert(ready.client.acquire(rig.spaces, "r", k_auto) == "ok");
    for (int i = 0; i < 3; ++i) {
        cr_assert(rig.hand_over());
        cr_assert_eq(rig.holder.things.size(), 5, "lock space, lock, three connections");
        rig.start();
        cr_assert_eq(rig.holder.things.size(), 3, "lock space, lock, the owner's own connection");
        cr_assert(own.register_owner(self()).starts_with("29/7 "), "restricted it stays");
        cr_assert(fresh.acquire("", "x").starts_with("55/7 "), "and without an owner");
    }
    cr_assert(ready.client.release(rig.spaces, "r") == "ok");
}

Test(locker_survival, a_hand_over_waits_for_what_is_under_way) {
    Rig rig;
    Ready ready(rig);
    rig.holder.mode = Holder::Mode::stuck;
    cr_assert(ready.client.acquire(rig.spaces, "r", k_auto).empty());
    rig.holder.send_hand_over();
    rig.turn();
    cr_assert(!rig.loop.stopped());
    rig.holder.mode = Holder::Mode::at_once;
    cr_assert(ready.client.answer() == "ok");
    rig.turn();
    cr_assert(rig.loop.stopped());
    cr_assert_eq(rig.holder.things.size(), 3, "the lock space, the lock, the connection");
    cr_assert_eq(rig.locker->status(), 0);
}

Test(locker_survival, what_was_handed_over_is_used_once_even_if_the_next_locker_crashes) {
    Rig rig;
    Ready ready(rig);
    Client own(rig);
    cr_assert(own.register_owner(self()) == "ok");
    cr_assert(rig.hand_over());
    for (auto& [slot, thing] : rig.holder.things)
        if (auto* one = std::get_if<kept::Kept::connection>(&thing.record.value)) {
            cr_assert(one->phase == kept::KeptPhase::phase_handed_over);
            // As if it had been sent half a ping: 14 bytes.
            const auto ping = rpc::make_keepalive(rpc::Keepalive::ping);
            one->unread.assign(ping.begin(), ping.begin() + 14);
        }
    rig.locker.reset();
    rig.start(true);
    cr_assert_eq(rig.holder.ready, 2);
    for (auto& [slot, thing] : rig.holder.things)
        if (auto* one = std::get_if<kept::Kept::connection>(&thing.record.value)) {
            cr_assert(one->phase == kept::KeptPhase::phase_served && one->unread.empty());
        }
    const auto ping = rpc::make_keepalive(rpc::Keepalive::ping);
    cr_assert_eq(send(own.fd(), ping.data() + 14, 14, MSG_NOSIGNAL), 14);
    cr_assert(own.answer() == "ok", "its second half makes it whole");
}

Test(locker_survival, after_a_crash_a_kept_connection_ends_for_its_client_without_harm) {
    Rig rig;
    Ready ready(rig);
    Client own(rig);
    cr_assert(own.register_owner(self()) == "ok");
    cr_assert(own.acquire(rig.spaces, "r", k_auto) == "ok");
    rig.crash();
    rig.start();
    own.answer();
    cr_assert(own.is_at_end, "nobody knows whether an answer is missing");
    cr_assert(!is_free(rig.spaces + "/r"));
    own.hang_up();
    rig.loop.advance(Milliseconds{5000});
    rig.turn();
    cr_assert(!is_free(rig.spaces + "/r"), "this process lives: and was not ended");
    rig.crash();
    rig.start();
    cr_assert(!is_free(rig.spaces + "/r"), "nor after another crash");
}

Test(locker_survival, an_owner_that_ends_while_nobody_serves_is_noticed_afterwards) {
    for (const bool crash : {true, false}) {
        Rig rig;
        Ready ready(rig);
        {
            Guest guest(rig, false);
            Client helper(rig);
            cr_assert(helper.register_owner(static_cast<std::uint32_t>(guest.pid)) == "ok");
            cr_assert(helper.acquire(rig.spaces, "r", k_auto) == "ok");
            if (crash)
                rig.crash();
            else
                cr_assert(rig.hand_over());
        }
        cr_assert(!is_free(rig.spaces + "/r"));
        rig.start();
        cr_assert(virtgate::test::pump_until(rig.loop, [&] { return !exists(rig.spaces + "/r"); }));
        cr_assert_eq(rig.locker->table().held(), 0);
    }
}

Test(locker_survival, an_owner_that_lives_on_is_ended_in_steps_and_its_locks_end_with_it) {
    Rig rig;
    Ready ready(rig);
    Guest guest(rig, true);
    Client helper(rig);
    cr_assert(helper.register_owner(static_cast<std::uint32_t>(guest.pid)) == "ok");
    cr_assert(helper.acquire(rig.spaces, "r", k_auto) == "ok");
    guest.leave();
    rig.turn();
    rig.loop.advance(Milliseconds{1'500});
    rig.turn();
    cr_assert_eq(kill(guest.pid, 0), 0);
    cr_assert(!is_free(rig.spaces + "/r"));
    rig.loop.advance(Milliseconds{200});
    cr_assert_eq(guest.ended(), SIGKILL);
    cr_assert(virtgate::test::pump_until(rig.loop, [&] { return !exists(rig.spaces + "/r"); }));
    // The connection is dropped after the locks: a crash in between finds it, and begins again.
    cr_assert_eq(rig.holder.dropped.size(), 2);
    cr_assert_eq(rig.holder.things.size(), 1);
}

Test(locker_survival, locks_of_a_dead_owner_that_are_being_taken_end_too) {
    Rig rig;
    Ready ready(rig);
    Client helper(rig);
    Guest guest(rig, false);
    cr_assert(helper.register_owner(static_cast<std::uint32_t>(guest.pid)) == "ok");
    rig.holder.mode = Holder::Mode::stuck;
    cr_assert(helper.acquire(rig.spaces, "r", k_auto).empty());
    guest.leave();
    rig.turn();
    cr_assert_eq(guest.ended(), SIGTERM);
    rig.turn();
    rig.holder.mode = Holder::Mode::at_once;
    cr_assert(helper.answer() == "ok");
    cr_assert(virtgate::test::pump_until(rig.loop, [&] { return !exists(rig.spaces + "/r"); }));
}

Test(locker_survival, many_locks_end_when_the_queue_has_room_again) {
    Rig rig;
    Ready ready(rig);
    Client helper(rig);
    Guest guest(rig, false);
    cr_assert(helper.register_owner(static_cast<std::uint32_t>(guest.pid)) == "ok");
    constexpr int k_locks = 100;
    for (int i = 0; i < k_locks; ++i)
        cr_assert(helper.acquire(rig.spaces, fmt::format("r{}", i), k_auto) == "ok");
    rig.holder.mode = Holder::Mode::stuck;
    guest.leave();
    rig.turn();
    cr_assert_eq(guest.ended(), SIGTERM);
    rig.turn();
    cr_assert(rig.holder.dropped.empty() && !is_free(rig.spaces + "/r7"));
    rig.holder.mode = Holder::Mode::at_once;
    rig.turn();
    cr_assert_eq(rig.holder.dropped.size(), k_locks + 1);
    cr_assert_eq(rig.locker->table().held(), 0);
}

Test(locker_survival, many_connections_are_handed_over_although_the_queue_is_full) {
    Rig rig;
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 40; ++i) clients.push_back(std::make_unique<Client>(rig));
    rig.holder.mode = Holder::Mode::stuck;
    rig.holder.send_hand_over();
    rig.turn();
    cr_assert(!rig.loop.stopped());
    rig.holder.mode = Holder::Mode::at_once;
    rig.turn();
    cr_assert(rig.loop.stopped());
    cr_assert_eq(rig.holder.things.size(), clients.size());
}

Test(locker_survival, what_a_locker_takes_over_waits_for_its_queue) {
    Rig rig;
    Ready ready(rig);
    cr_assert(ready.client.acquire(rig.spaces, "r", k_auto) == "ok");
    cr_assert(rig.hand_over());
    rig.start(true, false);
    cr_assert_eq(rig.holder.ready, 1, "the connection is not dropped yet");
    rig.holder.open_queue();
    rig.turn();
    rig.holder.send_serve();
    rig.turn();
    cr_assert_eq(rig.holder.ready, 2);
    cr_assert(ready.client.release(rig.spaces, "r") == "ok");
}

Test(locker_survival, a_holder_that_is_gone_ends_the_locker) {
    Rig rig;
    rig.holder.hang_up();
    rig.turn();
    cr_assert(rig.loop.stopped());
    cr_assert_neq(rig.locker->status(), 0);
}
