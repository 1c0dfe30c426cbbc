// SPDX-License-Identifier: LGPL-2.1-or-later
// holder_keeping - what a next holder finds, whenever this one is killed and however slow the service manager is.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

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
    void on_settled() noexcept { ++settled; }

    // All of it at once; true if it is settled.
    bool apply(Keeping::Changes changes) {
        cr_assert(keeping->apply(std::move(changes)).has_value());
        return keeping->is_settled();
    }
    bool keep(Slot slot, UniqueFd file, std::string_view text) {
        Keeping::Changes changes;
        changes[slot] = {record(text), std::move(file)};
        return apply(std::move(changes));
    }
    bool drop(Slot slot) {
        Keeping::Changes changes;
        changes[slot] = {};
        return apply(std::move(changes));
    }

    loop::FakeLoop loop;
    int settled = 0;
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
    cr_assert(life.keep(40, std::move(file), "a lock") && life.keeping->has(40));
    manager.take();
    cr_assert_eq(manager.store.count("14"), 1);
    cr_assert_eq(inode_of(manager.store.find("14")->second.get()), inode);
    cr_assert(life.keep(40, {}, "another record"));
    cr_assert(life.keeping->things().at(40).record == record("another record"));
    cr_assert_eq(inode_of(life.keeping->things().at(40).fd.get()), inode);
    cr_assert(life.drop(40) && !life.keeping->has(40));
    manager.take();
    cr_assert((manager.history == std::vector<std::string>{"+14", "-14"}));
    cr_assert_eq(life.settled, 0, "nothing had to wait");
}

Test(keeping, works_alone_where_nobody_keeps_anything) {
    const Scratch scratch;
    for (const char* most : {"", "0"}) {
        unsetenv("NOTIFY_SOCKET");
        setenv("FDSTORE", most, 1);
        if (*most != '\0') setenv("NOTIFY_SOCKET", (scratch / "nobody").c_str(), 1);
        Life life(scratch / "journal", {});
        cr_assert(!life.keeping->outer().is_there());
        cr_assert(life.keep(1, make_file(), "x") && life.drop(1));
    }
    unsetenv("FDSTORE");
}

Test(keeping, waits_for_a_slow_manager_and_keeps_the_order) {
    const Scratch scratch;
    Manager manager(scratch);
    Life life(scratch / "journal", {});
    cr_assert(life.keep(9, make_file(), "nine") && life.keep(4, make_file(), "four"));
    fill_queue();
    Keeping::Changes changes;
    changes[1] = {record("one"), make_file()};
    changes[4] = {record("another four"), make_file()};
    changes[9] = {};
    changes[2] = {record("two"), make_file()};
    cr_assert(!life.apply(std::move(changes)));
    cr_assert(life.keeping->has(1) && life.keeping->has(4) && !life.keeping->has(9));
    pump(life.loop);
    cr_assert_eq(life.settled, 0);
    // However long it takes: what waits here is not done anywhere else.
    life.loop.advance(2 * OuterStore::k_patience);
    cr_assert(life.settled == 0 && !life.keeping->is_settled());
    for (int i = 0; i < 10 && !life.keeping->is_settled(); ++i) {
        manager.take();
        pump(life.loop);
    }
    manager.take();
    cr_assert(life.settled == 1 && life.keeping->is_settled());
    cr_assert((manager.history == std::vector<std::string>{"+9", "+4", "-4", "-9", "+1", "+2", "+4"}));
    auto opened = Journal::open(scratch / "journal", boot());
    cr_assert(opened.has_value());
    cr_assert_eq(opened->entries.size(), 3);
}

Test(keeping, goes_on_when_the_manager_comes_back) {
    const Scratch scratch;
    Manager manager(scratch);
    Life life(scratch / "journal", {});
    manager.go_away();
    cr_assert(!life.keep(1, make_file(), "one"));
    life.loop.advance(OuterStore::k_retry);
    cr_assert_eq(life.settled, 0);
    manager.come_back();
    life.loop.advance(OuterStore::k_retry);
    cr_assert_eq(life.settled, 1);
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
    cr_assert(!life.keep(1, make_file(), "one"));
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
            cr_assert(life.keep(slot, make_file(), "record of " + std::to_string(slot)));
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
    cr_assert(next.keeping->has(1) && !next.keeping->has(2) && next.keeping->has(3) &&
              !next.keeping->has(4) && !next.keeping->has(5));
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
        cr_assert(before.keep(2, make_file(), "old") && before.keep(3, make_file(), "gone"));
    }
    Life next(scratch / "journal", std::move(found));
    cr_assert_eq(next.recovery.kept, 2);
    auto opened = Journal::open(scratch / "journal", boot());
    cr_assert(opened.has_value());
    cr_assert_eq(opened->entries.size(), 2);
    for (const auto& entry : opened->entries)
        cr_assert(entry.record == record("of exec " + std::to_string(entry.slot)));
}
