// SPDX-License-Identifier: LGPL-2.1-or-later
// holder_intake - what a locker may say by its queue, what becomes of it, and what is found of it after the holder was
// killed at any step.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>

#include "libshared/channel/packet.h"
#include "libshared/rpc/header.h"
#include "lockd/holder/intake.h"
#include "proto/codec.h"
#include "tests/unit/holder_rig.h"
#include "tests/unit/pump.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::lockd::holder;
using proto::holder::Procedure;

namespace {

// --- deaths ---

// How many of the calls that change anything this process may still make: journal, service manager, queue.
int g_until_death = -1;
constexpr int k_died = 99;

void count_step() noexcept {
    if (g_until_death == 0) _exit(k_died);
    if (g_until_death > 0) --g_until_death;
}

// A disk that has room, or not.
bool g_is_full = false;
int g_failing_writes = 0;

constexpr FileCalls k_calls{
    [](int fd, const void* bytes, std::size_t size, off_t offset) -> ssize_t {
        count_step();
        if (g_failing_writes > 0) {
            --g_failing_writes;
            errno = EIO;
            return -1;
        }
        return pwrite(fd, bytes, size, offset);
    },
    [](int fd, off_t size) {
        count_step();
        return ftruncate(fd, size);
    },
    [](const char* from, const char* to) {
        count_step();
        return std::rename(from, to);
    },
    [](int fd, int mode, off_t from, off_t size) {
        if (!g_is_full) return fallocate(fd, mode, from, size);
        errno = ENOSPC;
        return -1;
    },
};

}  // namespace

// In the place of the C library's, so that each of them can be the last one.
extern "C" ssize_t sendmsg(int socket, const msghdr* message, int flags) {
    count_step();
    return syscall(SYS_sendmsg, socket, message, flags);
}
// What takes out does so one at a time: a process may be killed between two.
extern "C" int recvmmsg(int socket, mmsghdr* messages, unsigned count, int flags, timespec*) {
    const bool looks = (flags & MSG_PEEK) != 0;
    if (!looks) count_step();
    return static_cast<int>(syscall(SYS_recvmmsg, socket, messages, looks ? count : 1, flags, nullptr));
}

namespace {

// A locker, which the test plays.
class Locker {
public:
    void send(const rpc::Header& header, ByteView payload, const std::vector<int>& fds = {}) {
        const ByteVector frame = rpc::make_frame(header, payload);
        cr_assert(channel::send_packet(writing.get(), frame, fds) == channel::Outcome::done);
    }
    template <class Args>
    void say(Procedure procedure, const Args& args, const std::vector<int>& fds = {}) {
        send(rpc::make_message(proto::holder::k_program, proto::holder::k_version, procedure, ++serial),
             *proto::encode(args), fds);
    }
    // Returns the inode.
    ino_t keep(Slot slot, ByteVector bytes) {
        const UniqueFd file = make_file();
        say(Procedure::keep, proto::holder::KeepArgs{.slot = slot, .record = std::move(bytes)}, {file.get()});
        return inode_of(file.get());
    }
    ino_t keep(Slot slot, std::string_view text) { return keep(slot, record(text)); }
    void renew(Slot slot, std::string_view text) {
        say(Procedure::keep, proto::holder::KeepArgs{.slot = slot, .record = record(text)});
    }
    void drop(std::vector<Slot> slots) {
        say(Procedure::drop, proto::holder::DropArgs{.slots = {slots.begin(), slots.end()}});
    }
    UniqueFd writing{};
    std::uint32_t serial = 0;
};

// A holder's part that takes in.
struct House final : Intake::Owner {
    House() {
        auto opened = Journal::open(scratch / "journal", boot(), k_calls);
        cr_assert(opened.has_value());
        keeping =
            std::make_unique<Keeping>(loop, std::move(opened->journal), loop::to<&House::on_settled>(*this));
        cr_assert(keeping->recover({}, {}).has_value());
    }
    // A new locker.
    void come(std::size_t things_max = 1000) {
        intake.reset();
        auto queue = Queue::make();
        cr_assert(queue.has_value());
        locker.writing = std::move(queue->writing);
        locker.serial = 0;
        intake = std::make_unique<Intake>(loop, *keeping, std::move(queue->reading), things_max, *this);
        broken.clear();
    }
    void on_broken(std::string_view why) noexcept override { broken += why; }
    void on_granted() noexcept override { grants.push_back(intake->grant()); }
    void on_drained() noexcept override { drained = true; }
    void on_settled() noexcept {
        if (intake) intake->on_settled();
    }
    void turn() {
        pump(loop);
        loop.advance(Intake::k_linger);
        pump(loop);
    }
    // How many messages nobody has taken out.
    [[nodiscard]] std::size_t waiting() const {
        Queue same(UniqueFd{fcntl(intake->queue(), F_DUPFD_CLOEXEC, 0)});
        const auto look = same.look();
        cr_assert(look.has_value());
        return look->packets.size();
    }
    void expect_broken(std::string_view part) {
        turn();
        cr_assert(broken.find(part) != broken.npos, "\"%s\" is not \"%s\"", broken.c_str(),
                  std::string(part).c_str());
    }

    const Scratch scratch;
    loop::FakeLoop loop;
    std::unique_ptr<Keeping> keeping;
    std::unique_ptr<Intake> intake;
    Locker locker;
    std::vector<proto::holder::GrantArgs> grants;
    std::string broken;
    bool drained = false;
};

void be_alone() { unsetenv("NOTIFY_SOCKET"); }

}  // namespace

Test(intake, keeps_renews_and_drops, .init = be_alone) {
    House house;
    house.come();
    const ino_t three = house.locker.keep(3, "three");
    house.locker.keep(0, "");
    house.turn();
    house.locker.renew(3, "three again");
    house.turn();
    cr_assert_eq(house.keeping->things().size(), 2);
    cr_assert_eq(inode_of(house.keeping->things().at(3).fd.get()), three);
    cr_assert(house.keeping->things().at(3).record == record("three again"));
    house.locker.drop({3, 0});
    const ino_t another = house.locker.keep(3, "free again");
    house.turn();
    cr_assert_eq(house.keeping->things().size(), 1);
    cr_assert_eq(inode_of(house.keeping->things().at(3).fd.get()), another);
    cr_assert(house.waiting() == 0 && house.broken.empty(), "%s", house.broken.c_str());
}

Test(intake, what_came_and_went_leaves_no_trace) {
    const Scratch scratch;
    Manager manager(scratch);
    House house;
    house.come();
    const std::string journal = slurp(house.scratch / "journal");
    for (int i = 0; i < 80; ++i) {
        house.locker.keep(5, "for a moment");
        house.locker.renew(5, "and another one");
        house.locker.drop({5});
    }
    pump(house.loop);
    cr_assert_eq(house.waiting(), 240, "it is let grow");
    house.turn();
    cr_assert_eq(house.waiting(), 0);
    manager.take();
    cr_assert(house.keeping->things().empty() && manager.history.empty() && house.broken.empty());
    cr_assert(slurp(house.scratch / "journal") == journal);
}

Test(intake, nothing_is_taken_out_before_the_manager_has_it) {
    const Scratch scratch;
    Manager manager(scratch);
    House house;
    house.come();
    house.locker.keep(1, "one");
    fill_queue();
    house.turn();
    house.locker.drop({1});
    house.locker.keep(1, "one again");
    house.turn();
    cr_assert_eq(house.waiting(), 3);
    house.loop.advance(2 * OuterStore::k_patience);
    cr_assert_eq(house.waiting(), 3);
    for (int i = 0; i < 20 && house.waiting() != 0; ++i) {
        manager.take();
        house.turn();
    }
    manager.take();
    cr_assert_eq(house.waiting(), 0);
    cr_assert((manager.history == std::vector<std::string>{"+1", "-1", "+1"}));
    cr_assert(house.broken.empty(), "%s", house.broken.c_str());
}

Test(intake, what_the_journal_does_not_take_stays_and_is_tried_again, .init = be_alone) {
    House house;
    house.come();
    g_failing_writes = 5;
    house.locker.keep(1, "one");
    house.locker.keep(2, "two");
    house.turn();
    cr_assert(house.waiting() == 2 && house.keeping->things().empty());
    for (int i = 0; i < 6; ++i) house.loop.advance(Intake::k_retry);
    cr_assert_eq(house.waiting(), 0);
    cr_assert_eq(house.keeping->things().size(), 2);
}

Test(intake, grants_what_there_is_room_for, .init = be_alone) {
    House house;
    g_is_full = false;
    house.come();
    cr_assert(house.intake->grant().more && house.intake->grant().bytes == Intake::k_room);
    std::uint64_t used = 0;
    const auto keep_much = [&](Slot slot) {
        house.locker.keep(slot, record(32'000, 'x'));
        used += 32'000 + proto::holder::k_keep_cost;
        house.turn();
    };
    Slot slot = 0;
    while (house.grants.empty()) keep_much(slot++);
    cr_assert_geq(used, Intake::k_room / 2);
    cr_assert(house.grants.back().more && house.grants.back().bytes == used + Intake::k_room);
    const std::uint64_t granted = house.grants.back().bytes;
    g_is_full = true;
    while (house.grants.size() < 2) keep_much(slot++);
    cr_assert(!house.grants.back().more && house.grants.back().bytes == granted, "what is granted stays so");
    while (used + 32'016 <= granted) keep_much(slot++);
    cr_assert(house.broken.empty() && house.keeping->things().size() == slot, "%s", house.broken.c_str());
    cr_assert_eq(house.grants.size(), 2, "it is said once");
    house.locker.drop({0, 1, 2});
    house.turn();
    cr_assert_eq(house.keeping->things().size(), slot - 3, "what is over needs no room");
    g_is_full = false;
    house.loop.advance(Intake::k_retry);
    house.turn();
    cr_assert(house.grants.size() == 3 && house.grants.back().more);
    keep_much(0);
    cr_assert(house.broken.empty());
}

Test(intake, does_not_listen_to_who_takes_more_than_was_granted, .init = be_alone) {
    g_is_full = true;
    House house;
    house.come();
    cr_assert(!house.intake->grant().more && house.intake->grant().bytes == 0);
    house.locker.keep(1, "x");
    house.expect_broken("it keeps more than it was granted");
    g_is_full = false;
    house.come(2);
    house.locker.keep(1, "a");
    house.locker.keep(2, "b");
    house.locker.renew(2, "takes no room");
    house.locker.drop({1});
    house.locker.keep(3, "c");
    house.turn();
    cr_assert(house.broken.empty());
    house.locker.keep(1, "one too many");
    house.expect_broken("it keeps more things than it may");
    cr_assert_eq(house.keeping->things().size(), 2);
}

Test(intake, does_not_listen_to_who_breaks_the_rules, .init = be_alone) {
    g_is_full = false;
    const UniqueFd file = make_file();
    const auto message = [](Procedure procedure) {
        return rpc::make_message(proto::holder::k_program, proto::holder::k_version, procedure, 3);
    };
    const auto keep = *proto::encode(proto::holder::KeepArgs{.slot = 5, .record = record("x")});
    const auto keep_taken = *proto::encode(proto::holder::KeepArgs{.slot = 1, .record = record("x")});
    ByteVector trailing = keep, too_high = keep;
    trailing.resize(trailing.size() + 4);
    store_be32(too_high.data(), proto::holder::k_slots_max);
    const auto drop = [](std::vector<Slot> slots) {
        return *proto::encode(proto::holder::DropArgs{.slots = {slots.begin(), slots.end()}});
    };
    rpc::Header version = message(Procedure::keep), call = version, status = version, unknown = version,
                serial = version;
    version.version = 1;
    call.type = rpc::Type::call;
    status.status = rpc::Status::error;
    unknown.procedure = 9;
    serial.serial = 2;
    const std::string_view no_place = "it sent a message that has no place";
    const struct {
        rpc::Header header;
        ByteVector payload;
        int fds;
        std::string_view why;
    } breaches[] = {
        {message(Procedure::keep), keep, 0, "it sent nothing to keep"},
        {message(Procedure::keep), keep, 2, "it sent more than one descriptor"},
        {message(Procedure::keep), keep, 30, "it sent more than one descriptor"},
        {message(Procedure::keep), keep_taken, 1, "it sent a descriptor for a slot that is taken"},
        {message(Procedure::keep), {}, 1, "does not decode"},
        {message(Procedure::keep), trailing, 1, "does not decode"},
        {message(Procedure::keep), too_high, 1, "does not decode"},
        {message(Procedure::drop), drop({}), 0, "it drops nothing"},
        {message(Procedure::drop), drop({1}), 1, "does not decode"},
        {message(Procedure::drop), drop({5}), 0, "it drops what is not kept"},
        {message(Procedure::drop), drop({1, 1}), 0, "it drops what is not kept"},
        {message(Procedure::drop), drop({1, 5}), 0, "it drops what is not kept"},
        {message(Procedure::restore), {}, 0, no_place},
        {message(Procedure::hand_over), {}, 0, no_place},
        {version, keep, 1, no_place},
        {call, keep, 1, no_place},
        {status, keep, 1, no_place},
        {unknown, {}, 0, no_place},
        {serial, keep, 1, "it does not number what it sends"},
    };
    for (const auto& breach : breaches) {
        House house;
        house.come();
        house.locker.keep(1, "one");
        house.locker.keep(2, "two");
        house.locker.send(breach.header, breach.payload,
                          std::vector<int>(static_cast<std::size_t>(breach.fds), file.get()));
        house.locker.serial = 3;
        house.locker.drop({1});
        house.expect_broken(breach.why);
        // What came before counts, and nothing that comes later.
        const std::string why = std::exchange(house.broken, {});
        house.locker.drop({2});
        house.turn();
        cr_assert(
            house.keeping->has(1) && house.keeping->has(2) && !house.keeping->has(5) && house.broken.empty(),
            "%s", why.c_str());
        house.intake->finish();
        house.turn();
        cr_assert(house.drained && house.keeping->things().size() == 2);
    }
}

Test(intake, does_not_listen_to_packets_that_are_none, .init = be_alone) {
    const auto break_with = [](std::size_t size, std::string_view why) {
        House house;
        house.come();
        house.locker.keep(1, "one");
        const std::vector<char> bytes(size, 'x');
        cr_assert_eq(send(house.locker.writing.get(), bytes.data(), size, MSG_NOSIGNAL),
                     static_cast<ssize_t>(size));
        house.locker.drop({1});
        if (!why.empty())
            house.expect_broken(why);
        else
            house.turn();
        cr_assert(house.keeping->has(1), "size %zu", size);
        house.intake->finish();
        house.turn();
        house.turn();
        cr_assert(house.drained);
    };
    break_with(1, "not one frame");
    break_with(27, "not one frame");
    break_with(28, "not one frame");
    break_with(65'536, "not one frame");
    break_with(65'537, "too long");
    break_with(150'000, "too long");
    // It cannot be told from the end, so nothing comes behind it.
    break_with(0, "");
}

Test(intake, takes_packets_of_all_sizes, .init = be_alone) {
    House house;
    house.come();
    std::map<Slot, std::pair<ino_t, std::size_t>> expected;
    Slot slot = 0;
    for (const std::size_t size : {0, 1, 900, 988, 989, 990, 3'000, 10, 32'768, 32'767, 20, 1'024, 1'025}) {
        expected[slot] = {house.locker.keep(slot, record(size, 'x')), size};
        ++slot;
        house.locker.renew(0, std::string(size % 2'000, 'y'));
    }
    house.turn();
    house.turn();
    cr_assert(house.broken.empty() && house.waiting() == 0, "%s", house.broken.c_str());
    expected[0].second = 1'025;
    for (const auto& [which, fact] : expected) {
        const Keeping::Thing& thing = house.keeping->things().at(which);
        cr_assert(inode_of(thing.fd.get()) == fact.first && thing.record.size() == fact.second, "slot %u",
                  which);
    }
}

Test(intake, drains_what_a_dead_locker_said, .init = be_alone) {
    House house;
    house.come();
    for (Slot slot = 0; slot < 300; ++slot) {
        house.locker.keep(slot, "x");
        if (slot % 100 == 99) house.turn();
    }
    for (Slot slot = 300; slot < 400; ++slot) house.locker.keep(slot, "x");
    house.intake->finish();
    const auto frame = rpc::make_frame(rpc::Header{}, {});
    cr_assert(channel::send_packet(house.locker.writing.get(), frame) == channel::Outcome::closed,
              "nobody writes any more");
    for (int i = 0; i < 10 && !house.drained; ++i) house.loop.advance(Milliseconds{0});
    cr_assert(house.drained && house.broken.empty());
    cr_assert_eq(house.keeping->things().size(), 400);
}

// --- killed at every step ---

namespace {

struct Fact {
    ino_t inode = 0;
    ByteVector record{};
    bool operator==(const Fact&) const = default;
};
using Facts = std::map<Slot, Fact>;

// What the manager and the journal say: what a next holder recovers, when nothing is in the queue any more.
Facts read_facts(Manager& manager, const std::string& journal) {
    auto opened = Journal::open(journal, boot());
    cr_assert(opened.has_value());
    Facts facts;
    for (const auto& entry : opened->entries) {
        const std::string name = name_of(entry.slot);
        cr_assert_eq(manager.store.count(name), 1, "slot %u has %zu descriptors", entry.slot,
                     manager.store.count(name));
        facts[entry.slot] = {inode_of(manager.store.find(name)->second.get()), entry.record};
    }
    cr_assert_eq(manager.store.size(), facts.size(), "descriptors that nobody knows");
    return facts;
}

// One life of a holder: recovers, does what is in the queue, and ends; or dies after so many steps.
[[noreturn]] void live(const Scratch& scratch, const Manager& manager, UniqueFd queue, int until_death) {
    struct Owner final : Intake::Owner {
        void on_broken(std::string_view) noexcept override { _exit(1); }
        void on_granted() noexcept override {}
        void on_drained() noexcept override { is_drained = true; }
        void on_settled() noexcept {
            if (intake) intake->on_settled();
        }
        std::unique_ptr<Intake> intake;
        bool is_drained = false;
    } owner;
    g_until_death = until_death;
    std::vector<Keeping::Found> found;
    for (const auto& [name, fd] : manager.store)
        found.push_back(
            {.slot = slot_of(name).value_or(0), .fd = UniqueFd{fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)}});
    loop::FakeLoop loop;
    auto opened = Journal::open(scratch / "journal", boot(), k_calls);
    if (!opened) _exit(2);
    Keeping keeping(loop, std::move(opened->journal), loop::to<&Owner::on_settled>(owner));
    if (!keeping.recover(std::move(opened->entries), std::move(found))) _exit(3);
    owner.intake = std::make_unique<Intake>(loop, keeping, Queue(std::move(queue)), owner);
    owner.intake->finish();
    for (int i = 0; i < 5'000 && !owner.is_drained; ++i) {
        pump(loop);
        loop.advance(Milliseconds{1});
        rest_a_moment();
    }
    _exit(owner.is_drained ? 0 : 4);
}

// True if it came to its end.
bool run_life(const Scratch& scratch, Manager& manager, int queue, int until_death) {
    const pid_t pid = fork();
    if (pid == 0) live(scratch, manager, UniqueFd{queue}, until_death);
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) manager.take();
    manager.take();
    cr_assert(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == k_died), "status %d",
              status);
    return WEXITSTATUS(status) == 0;
}

// Things from before, in the journal and with the manager.
Facts begin(const Scratch& scratch, Manager& manager) {
    auto opened = Journal::open(scratch / "journal", boot());
    cr_assert(opened.has_value());
    Facts facts;
    for (const Slot slot : {0U, 1U, 2U, 3U, 4U}) {
        UniqueFd file = make_file();
        facts[slot] = {inode_of(file.get()), record("before")};
        cr_assert(opened->journal.put(slot, record("before")).has_value());
        manager.store.emplace(name_of(slot), std::move(file));
    }
    return facts;
}

// Says something of each kind, and what it comes to.
void say_everything(Locker& locker, Facts& facts, std::mt19937& chance, int count) {
    for (int i = 0; i < count; ++i) {
        const Slot slot = static_cast<Slot>(chance() % 8);
        const std::string text = fmt::format("{} of {}", i, slot);
        if (!facts.contains(slot)) {
            facts[slot] = {locker.keep(slot, text), record(text)};
        } else if (chance() % 3 == 0) {
            locker.renew(slot, text);
            facts[slot].record = record(text);
        } else {
            locker.drop({slot});
            facts.erase(slot);
        }
    }
}

}  // namespace

Test(intake, a_holder_that_is_killed_at_any_step_leaves_it_to_the_next_one, .timeout = 300) {
    std::mt19937 chance(6);
    int deaths = 0;
    for (int first = 0;; ++first) {
        const Scratch scratch;
        Manager manager(scratch);
        Facts facts = begin(scratch, manager);
        auto queue = Queue::make();
        cr_assert(queue.has_value());
        Locker locker;
        locker.writing = std::move(queue->writing);
        say_everything(locker, facts, chance, 30);
        locker.writing.reset();
        // The first one dies at each of its steps; those after it at some step of theirs, and one lives.
        bool is_done = run_life(scratch, manager, queue->reading.get(), first);
        const bool died = !is_done;
        for (int life = 0; !is_done; ++life) {
            ++deaths;
            is_done = run_life(scratch, manager, queue->reading.get(),
                               life < 2 ? static_cast<int>(chance() % 60) : -1);
        }
        cr_assert(read_facts(manager, scratch / "journal") == facts, "killed at step %d", first);
        if (!died) break;
    }
    cr_assert_gt(deaths, 60, "hardly anybody died");
}
