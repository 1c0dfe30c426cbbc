// SPDX-License-Identifier: LGPL-2.1-or-later
// holder_keeping - what a next holder finds, whenever this one is killed and however slow the service manager is.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "lockd/holder/keeping.h"
#include "proto/holder.h"
#include "tests/unit/holder_rig.h"
#include "tests/unit/pump.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::lockd::holder;

namespace {

// A holder's memory: gone when it is destroyed, as if the process had been killed.
struct Life {
    Life(const std::string& journal, std::vector<Keeping::Found> found) {
        auto opened = Journal::open(journal, boot());
        cr_assert(opened.has_value());
        keeping =
            std::make_unique<Keeping>(loop, std::move(opened->journal), loop::to<&Life::on_settled>(*this));
        auto recovered = keeping->recover(std::move(opened->entries), std::move(found));
        cr_assert(recovered.has_value());
        recovery = *recovered;
    }
    void on_settled(std::uint64_t ticket, bool done) noexcept { settled[ticket] = done; }

    loop::FakeLoop loop;
    std::map<std::uint64_t, bool> settled{};
    std::unique_ptr<Keeping> keeping;
    Keeping::Recovery recovery{};
};

std::vector<Keeping::Found> found_in(Manager& manager) {
    manager.take();
    std::vector<Keeping::Found> found;
    for (auto& [name, fd] : manager.store) {
        const auto slot = slot_of(name);
        cr_assert(slot.has_value(), "%s", name.c_str());
        found.push_back({.slot = *slot, .fd = UniqueFd{fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)}});
    }
    return found;
}

}  // namespace

Test(slots, have_names_that_fit_one_variable) {
    std::size_t size = 0;
    for (std::uint32_t slot = 0; slot < proto::holder::k_slots_max; ++slot) {
        const std::string name = name_of(slot);
        cr_assert_eq(slot_of(name).value_or(~0U), slot, "%s", name.c_str());
        size += name.size() + 1;
    }
    // MAX_ARG_STRLEN of Linux; two listeners have names of their own.
    constexpr std::size_t k_longest = 131'072 - sizeof "LISTEN_FDNAMES=kept-own:kept-libvirt:own:libvirt:";
    cr_assert_lt(size, k_longest);
    for (const char* wrong :
         {"", "a", "own", "-1", "00", "01", "0A", " 1", "1 ", "PAG8", "ZZZZ", "PA8", "ZZZZZZZZZZZZZZ", "A:B"})
        cr_assert(!slot_of(wrong).has_value(), "%s", wrong);
    cr_assert_eq(name_of(proto::holder::k_slots_max - 1), "PA7");
}

Test(keeping, leaves_everything_with_the_manager) {
    const Scratch scratch;
    Manager manager(scratch);
    Life life(scratch / "journal", {});
    cr_assert(life.keeping->outer().is_there());
    UniqueFd file = make_file();
    const ino_t inode = inode_of(file.get());
    const auto kept = life.keeping->keep(40, std::move(file), record("a lock"));
    cr_assert(kept.has_value() && !kept->has_value());
    cr_assert(life.keeping->state(40) == Keeping::State::kept);
    manager.take();
    cr_assert_eq(manager.store.count("14"), 1);
    cr_assert_eq(inode_of(manager.store.find("14")->second.get()), inode);
    cr_assert(life.keeping->renew(40, record("another record")).has_value());
    const auto dropped = life.keeping->drop({40});
    cr_assert(dropped.has_value() && !dropped->has_value());
    cr_assert(!life.keeping->state(40));
    manager.take();
    cr_assert((manager.history == std::vector<std::string>{"+14", "-14"}));
}

Test(keeping, works_alone_where_nobody_keeps_anything) {
    const Scratch scratch;
    for (const char* most : {"", "0"}) {
        unsetenv("NOTIFY_SOCKET");
        setenv("FDSTORE", most, 1);
        if (*most != '\0') setenv("NOTIFY_SOCKET", (scratch / "nobody").c_str(), 1);
        Life life(scratch / "journal", {});
        cr_assert(!life.keeping->outer().is_there());
        const auto kept = life.keeping->keep(1, make_file(), record("x"));
        cr_assert(kept.has_value() && !kept->has_value());
        cr_assert(life.keeping->drop({1}).has_value());
    }
    unsetenv("FDSTORE");
}

Test(keeping, waits_for_a_slow_manager_and_keeps_the_order) {
    const Scratch scratch;
    Manager manager(scratch);
    Life life(scratch / "journal", {});
    cr_assert(life.keeping->keep(9, make_file(), record("nine")).has_value());
    fill_queue();
    const auto one = life.keeping->keep(1, make_file(), record("one"));
    const auto two = life.keeping->drop({9});
    const auto three = life.keeping->keep(2, make_file(), record("two"));
    cr_assert(one && *one && two && *two && three && *three);
    cr_assert(life.keeping->state(1) == Keeping::State::storing);
    cr_assert(life.keeping->state(9) == Keeping::State::dropping, "its descriptor is still there");
    cr_assert(!life.keeping->is_settled());
    pump(life.loop);
    cr_assert(life.settled.empty());
    manager.take();
    pump(life.loop);
    manager.take();
    cr_assert((life.settled == std::map<std::uint64_t, bool>{{**one, true}, {**two, true}, {**three, true}}));
    cr_assert((manager.history == std::vector<std::string>{"+9", "+1", "-9", "+2"}));
    cr_assert(life.keeping->is_settled() && life.keeping->state(1) == Keeping::State::kept &&
              !life.keeping->state(9));
}

Test(keeping, refuses_what_the_manager_does_not_take) {
    const Scratch scratch;
    Manager manager(scratch);
    Life life(scratch / "journal", {});
    cr_assert(life.keeping->keep(9, make_file(), record("nine")).has_value());
    fill_queue();
    const auto keep = life.keeping->keep(1, make_file(), record("one"));
    const auto drop = life.keeping->drop({9});
    life.loop.advance(OuterStore::k_patience - Milliseconds{1});
    cr_assert(life.settled.empty());
    life.loop.advance(OuterStore::k_retry);
    cr_assert((life.settled == std::map<std::uint64_t, bool>{{**keep, false}}));
    cr_assert(!life.keeping->state(1), "the slot is free again");
    cr_assert(life.keeping->state(9) == Keeping::State::dropping, "what is not removed is held for ever");
    manager.take();
    pump(life.loop);
    manager.take();
    cr_assert(life.settled.at(**drop));
    cr_assert((manager.history == std::vector<std::string>{"+9", "-9"}));
    auto opened = Journal::open(scratch / "journal", boot());
    cr_assert(opened.has_value() && opened->entries.empty());
}

Test(keeping, goes_on_when_the_manager_comes_back) {
    const Scratch scratch;
    Manager manager(scratch);
    Life life(scratch / "journal", {});
    manager.go_away();
    const auto kept = life.keeping->keep(1, make_file(), record("one"));
    cr_assert(kept && *kept);
    life.loop.advance(OuterStore::k_retry);
    cr_assert(life.settled.empty());
    manager.come_back();
    life.loop.advance(OuterStore::k_retry);
    cr_assert(life.settled.at(**kept));
    manager.take();
    cr_assert_eq(manager.store.count("1"), 1);
}

Test(keeping, says_when_the_manager_has_dealt_with_everything) {
    const Scratch scratch;
    Manager manager(scratch);
    Life life(scratch / "journal", {});
    struct Flag {
        void raise() noexcept { ++count; }
        int count = 0;
    } flag;
    fill_queue();
    const auto kept = life.keeping->keep(1, make_file(), record("one"));
    cr_assert(kept && *kept);
    life.keeping->outer().flush(Milliseconds{5'000}, loop::to<&Flag::raise>(flag));
    pump(life.loop);
    cr_assert_eq(flag.count, 0);
    manager.take();
    pump(life.loop);  // what waited, and the barrier behind it
    cr_assert_eq(flag.count, 0);
    manager.take();
    cr_assert_eq(manager.store.count("1"), 1);
    cr_assert_eq(std::count(manager.others.begin(), manager.others.end(), "BARRIER=1"), 1);
    pump(life.loop);
    cr_assert_eq(flag.count, 1);
    // A manager that is too slow is not waited for.
    life.keeping->outer().flush(Milliseconds{5'000}, loop::to<&Flag::raise>(flag));
    pump(life.loop);
    life.loop.advance(Milliseconds{5'000});
    cr_assert_eq(flag.count, 2);
}

Test(keeping, tells_what_belongs_together_from_what_does_not) {
    const Scratch scratch;
    Manager manager(scratch);
    {
        Life life(scratch / "journal", {});
        for (const Slot slot : {1U, 2U, 3U, 5U})
            cr_assert(life.keeping->keep(slot, make_file(), record("record of " + std::to_string(slot)))
                          .has_value());
    }
    manager.take();
    manager.store.erase("2");
    manager.store.emplace("4", make_file());
    manager.store.emplace("5", make_file());  // a second one: which does the record mean?
    auto found = found_in(manager);
    manager.history.clear();
    Life next(scratch / "journal", std::move(found));
    cr_assert_eq(next.recovery.kept, 2);
    cr_assert_eq(next.recovery.without_record, 3);
    cr_assert_eq(next.recovery.without_descriptor, 2);
    cr_assert(next.keeping->state(1) && !next.keeping->state(2) && next.keeping->state(3) &&
              !next.keeping->state(4) && !next.keeping->state(5));
    manager.take();
    cr_assert((manager.history == std::vector<std::string>{"-4", "-5", "-5"}));
    auto opened = Journal::open(scratch / "journal", boot());
    cr_assert(opened.has_value());
    cr_assert_eq(opened->entries.size(), 2);
}

// An exec in place brings the records along: they count more than the journal, which is mended.
Test(keeping, believes_what_an_exec_left_more_than_the_journal) {
    const Scratch scratch;
    unsetenv("NOTIFY_SOCKET");
    std::vector<Keeping::Found> found;
    for (const Slot slot : {1U, 2U})
        found.push_back({slot, make_file(), record("of exec " + std::to_string(slot))});
    {
        Life before(scratch / "journal", {});
        cr_assert(before.keeping->keep(2, make_file(), record("old")).has_value());
        cr_assert(before.keeping->keep(3, make_file(), record("gone")).has_value());
    }
    Life next(scratch / "journal", std::move(found));
    cr_assert_eq(next.recovery.kept, 2);
    auto opened = Journal::open(scratch / "journal", boot());
    cr_assert(opened.has_value());
    cr_assert_eq(opened->entries.size(), 2);
    for (const auto& entry : opened->entries)
        cr_assert(entry.record == record("of exec " + std::to_string(entry.slot)));
}

// Random work with a manager of random slowness; now and then the holder is killed. What was acknowledged is there
// afterwards, with the record that was acknowledged last; what was let go is not; and each record has its own
// descriptor, never that of an earlier thing in the same slot.
Test(keeping, loses_nothing_that_was_acknowledged) {
    constexpr int k_lives = 150, k_steps = 60;
    constexpr Slot k_slots = 6;
    const Scratch scratch;
    Manager manager(scratch);
    std::mt19937 chance(20261121);
    const auto roll = [&](unsigned sides) { return static_cast<unsigned>(chance() % sides); };
    struct Fact {
        ino_t inode = 0;
        std::vector<ByteVector> records{};  // what it may have; one, unless a change was not acknowledged
        bool certain = false;               // it has to be there
    };
    std::map<Slot, Fact> facts;
    std::vector<ino_t> over;  // let go, and acknowledged
    int acknowledged = 0;
    for (int life_number = 0; life_number < k_lives; ++life_number) {
        auto life = std::make_unique<Life>(scratch / "journal", found_in(manager));
        std::map<std::uint64_t, Slot> waiting;
        for (auto& [slot, fact] : facts) {
            const auto thing = life->keeping->things().find(slot);
            const bool there = thing != life->keeping->things().end();
            cr_assert(there || !fact.certain, "life %d lost slot %u", life_number, slot);
            if (!there) continue;
            cr_assert_eq(inode_of(thing->second.fd.get()), fact.inode, "life %d: slot %u is another file",
                         life_number, slot);
            cr_assert(std::find(fact.records.begin(), fact.records.end(), thing->second.record) !=
                      fact.records.end());
        }
        for (const auto& [slot, thing] : life->keeping->things())
            cr_assert(std::find(over.begin(), over.end(), inode_of(thing.fd.get())) == over.end(),
                      "it was let go");
        facts.clear();
        for (const auto& [slot, thing] : life->keeping->things())
            facts[slot] = {inode_of(thing.fd.get()), {thing.record}, true};
        for (unsigned step = roll(k_steps); step-- > 0;) {
            const Slot slot = roll(k_slots);
            const auto state = life->keeping->state(slot);
            const ByteVector bytes = record(fmt::format("{} {} {}", life_number, step, slot));
            if (!state) {
                UniqueFd file = make_file();
                facts[slot] = {inode_of(file.get()), {bytes}, false};
                const auto kept = life->keeping->keep(slot, std::move(file), bytes);
                cr_assert(kept.has_value());
                facts[slot].certain = !*kept;
                if (*kept) waiting[**kept] = slot;
                acknowledged += !*kept;
            } else if (*state == Keeping::State::kept && roll(2) == 0) {
                facts[slot].records = {bytes};
                cr_assert(life->keeping->renew(slot, bytes).has_value());
            } else if (*state == Keeping::State::kept) {
                const auto dropped = life->keeping->drop({slot});
                cr_assert(dropped.has_value());
                if (*dropped)
                    facts[slot].certain = false, waiting[**dropped] = slot;
                else
                    over.push_back(facts[slot].inode), facts.erase(slot);
            }
            if (roll(8) == 0) manager.take();
            if (roll(3) == 0) pump(life->loop);
            for (const auto& [ticket, done] : std::exchange(life->settled, {})) {
                const Slot which = waiting.at(ticket);
                if (life->keeping->state(which))
                    facts[which].certain = true, ++acknowledged;
                else
                    over.push_back(facts[which].inode), facts.erase(which);
            }
        }
    }
    cr_assert_gt(acknowledged, 500);
    cr_assert_gt(over.size(), 200);
}
