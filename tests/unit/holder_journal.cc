// SPDX-License-Identifier: LGPL-2.1-or-later
// holder_journal - what is found in the journal after its process was killed, or its disk failed, at any moment.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <set>

#include "lockd/holder/crc32c.h"
#include "lockd/holder/journal.h"
#include "tests/unit/holder_rig.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::lockd::holder;

namespace {

using Model = std::map<Slot, ByteVector>;

Journal::Opened open_good(const std::string& path, const FileCalls& calls = system_file_calls()) {
    auto opened = Journal::open(path, boot(), calls);
    cr_assert(opened.has_value(), "%s", opened ? "" : opened.error().text.c_str());
    return std::move(*opened);
}

Model model_of(const std::vector<Journal::Entry>& entries) {
    Model model;
    for (const auto& entry : entries)
        cr_assert(model.emplace(entry.slot, entry.record).second, "a slot twice");
    return model;
}

Model read_anew(const std::string& path) { return model_of(open_good(path).entries); }

void expect_error(const std::string& path, std::string_view part) {
    const auto opened = Journal::open(path, boot());
    cr_assert(!opened.has_value());
    cr_assert(opened.error().text.find(part) != std::string::npos, "%s", opened.error().text.c_str());
}

// --- a disk that fails ---

int g_calls = 0;          // that change the file, so far
int g_fail_at = 0;        // the first one that fails
bool g_for_good = false;  // and all after it
bool g_half = false;      // a failing write writes half of it first

bool fails_now() {
    ++g_calls;
    return g_for_good ? g_calls >= g_fail_at : g_calls == g_fail_at;
}

constexpr FileCalls k_failing{
    [](int fd, const void* bytes, std::size_t size, off_t offset) -> ssize_t {
        if (!fails_now()) return pwrite(fd, bytes, size, offset);
        if (g_half && size > 1)
            return pwrite(fd, bytes, size / 2, offset);  // and the rest of it is the next call
        errno = ENOSPC;
        return -1;
    },
    [](int fd, off_t size) {
        if (!fails_now()) return ftruncate(fd, size);
        errno = EIO;
        return -1;
    },
    [](const char* from, const char* to) {
        if (!fails_now()) return std::rename(from, to);
        errno = EIO;
        return -1;
    },
    [](int fd, int mode, off_t from, off_t size) {
        if (!fails_now()) return fallocate(fd, mode, from, size);
        errno = ENOSPC;
        return -1;
    },
};

// Enough for every path: new, replaced, erased in twos, and more dead than alive above the size that is compacted.
struct Step {
    std::vector<Slot> erased;  // none: put
    Slot slot = 0;
    ByteVector bytes;
};
std::vector<Step> make_steps() {
    std::vector<Step> steps;
    for (const Slot slot : {0U, 1U, 7U, 32767U})
        steps.push_back({{}, slot, record("first of " + std::to_string(slot))});
    steps.push_back({{}, 1, record("second")});
    steps.push_back({{0, 7}, 0, {}});
    for (int i = 0; i < 7; ++i) steps.push_back({{}, 3, record(200'000, static_cast<char>('a' + i))});
    steps.push_back({{}, 0, record("again")});
    steps.push_back({{1, 3, 32767}, 0, {}});
    return steps;
}

// Plays all steps with a disk that fails at the `fail_at`th change. Returns whether it ever did.
bool play(const std::string& path, int fail_at) {
    unlink(path.c_str());
    g_calls = 0;
    g_fail_at = fail_at;
    auto opened = Journal::open(path, boot(), k_failing);
    if (!opened) return true;
    Journal journal = std::move(opened->journal);
    Model model;
    static_cast<void>(journal.reserve(300'000));  // if it fails, nothing is promised
    for (const Step& step : make_steps()) {
        Model after = model;
        for (const Slot slot : step.erased) after.erase(slot);
        if (step.erased.empty()) after[step.slot] = step.bytes;
        bool has_all = true;
        for (const Slot slot : step.erased) has_all = has_all && model.contains(slot);
        if (!has_all) continue;  // what was to be erased had not been put
        const Done done =
            step.erased.empty() ? journal.put(step.slot, step.bytes) : journal.erase(step.erased);
        // What the file says at this moment, if the process were killed now. Reading may mend it: a copy.
        spill(path + ".copy", slurp(path));
        const Model found = read_anew(path + ".copy");
        if (done) {
            model = after;
            cr_assert(found == model, "failing at %d, after something was done", fail_at);
        } else {
            if (found == model) continue;
            // With a disk that fails for good it may not even be possible to take a change back. Of each slot there is
            // still what was or what was to be.
            cr_assert(g_for_good, "failing at %d, after an error", fail_at);
            for (const auto& [slot, bytes] : found)
                cr_assert((model.contains(slot) && model[slot] == bytes) ||
                          (after.contains(slot) && after[slot] == bytes));
            for (const auto& [slot, bytes] : model) cr_assert(found.contains(slot) || !after.contains(slot));
            return true;
        }
    }
    cr_assert_eq(journal.count(), model.size());
    return g_calls >= fail_at;
}

void play_all(const std::string& path) {
    int at = 1;
    while (play(path, at)) ++at;
    cr_assert_gt(at, 30, "hardly anything was tried");
}

}  // namespace

Test(crc32c, is_castagnolis) {
    cr_assert_eq(crc32c(as_bytes("123456789")), 0xe3069283U);
    cr_assert_eq(crc32c(ByteVector(32)), 0x8a9136aaU);  // RFC 3720, B.4
    cr_assert_eq(crc32c(as_bytes("6789"), crc32c(as_bytes("12345"))), 0xe3069283U);
}

Test(journal, is_a_map_that_outlives_its_process) {
    const Scratch scratch;
    const std::string path = scratch / "journal";
    {
        auto [journal, entries, cut] = open_good(path);
        cr_assert(entries.empty());
        cr_assert(journal.put(5, record("five")).has_value());
        cr_assert(journal.put(0, record("")).has_value());
        cr_assert(journal.put(5, record("five, but longer")).has_value());
        cr_assert(journal.put(32767, record(32768, 'x')).has_value());
        cr_assert(journal.put(9, record("nine")).has_value());
        cr_assert(journal.erase({9}).has_value());
    }
    const Model expected{{0, record("")}, {5, record("five, but longer")}, {32767, record(32768, 'x')}};
    cr_assert(read_anew(path) == expected);
    cr_assert(read_anew(path) == expected, "reading changed it");
    struct stat about {};
    cr_assert_eq(stat(path.c_str(), &about), 0);
    cr_assert_eq(about.st_mode & 0777, 0600);
}

Test(journal, that_is_cut_at_any_byte_has_what_was_whole) {
    const Scratch scratch;
    const std::string path = scratch / "journal";
    std::vector<std::size_t> ends;
    std::vector<Model> models{{}};
    {
        auto opened = open_good(path);
        ends.push_back(opened.journal.size());
        for (const auto& [slot, text] :
             {std::pair{1U, "one"}, {2U, "two, longer"}, {1U, "one again"}, {3U, ""}}) {
            cr_assert(opened.journal.put(slot, record(text)).has_value());
            ends.push_back(opened.journal.size());
            models.push_back(models.back());
            models.back()[slot] = record(text);
        }
    }
    const std::string whole = slurp(path);
    for (std::size_t size = 0; size <= whole.size(); ++size) {
        spill(path, whole.substr(0, size));
        std::size_t count = 0;  // of entries that are whole
        while (count + 1 < ends.size() && ends[count + 1] <= size) ++count;
        Model expected = models[count];
        // The first entry of slot 1 was marked dead when the second one was whole: before, it is simply not there.
        if (count < 3) expected.erase(1);
        auto opened = open_good(path);
        cr_assert(model_of(opened.entries) == expected, "cut at %zu", size);
        cr_assert_eq(opened.cut, size < ends[0] ? 0 : size - ends[count], "cut at %zu", size);
        cr_assert(opened.journal.put(4, record("goes on")).has_value());
        expected[4] = record("goes on");
        cr_assert(read_anew(path) == expected, "cut at %zu and gone on", size);
    }
}

Test(journal, with_a_spoilt_byte_invents_nothing) {
    const Scratch scratch;
    const std::string path = scratch / "journal";
    Model model;
    std::size_t begin = 0;
    {
        auto opened = open_good(path);
        begin = opened.journal.size();
        for (const Slot slot : {1U, 2U, 3U}) {
            model[slot] = record("record of " + std::to_string(slot));
            cr_assert(opened.journal.put(slot, model[slot]).has_value());
        }
    }
    const std::string whole = slurp(path);
    for (std::size_t at = begin; at < whole.size(); ++at) {
        for (const int flip : {1, 8, 0x80, 0xff}) {
            std::string spoilt = whole;
            spoilt[at] = static_cast<char>(spoilt[at] ^ flip);
            spill(path, spoilt);
            for (const auto& [slot, bytes] : read_anew(path))
                cr_assert(model.contains(slot) && model[slot] == bytes, "byte %zu", at);
        }
    }
}

// What is left of a record that was not written to its end could be made to look like an entry.
Test(journal, does_not_take_the_rest_of_a_record_for_an_entry) {
    const Scratch scratch;
    const std::string path = scratch / "journal", other = scratch / "other";
    {
        auto opened = open_good(other);
        cr_assert(opened.journal.put(666, record("forged")).has_value());
    }
    const std::string forged = slurp(other).substr(32);
    auto opened = open_good(path, k_failing);
    // The second entry would end exactly where the forged one begins in what is left of the first.
    const std::string bait = std::string(20, '.') + forged + std::string(400, '.');
    for (const bool half : {false, true}) {
        g_half = half;
        g_for_good = true;
        g_calls = 0;
        g_fail_at = half ? 1 : 2;  // the write, or what takes it back
        if (!half) {
            g_fail_at = 1;
            g_for_good = false;
        }
        const Done failed = opened.journal.put(1, record(bait));
        g_fail_at = 1 << 30;
        g_for_good = false;
        if (!failed) cr_assert(opened.journal.put(1, record(std::string(20, 'x'))).has_value());
        cr_assert(!read_anew(path).contains(666));
    }
}

Test(journal, keeps_its_word_whatever_write_fails) {
    const Scratch scratch;
    for (const bool for_good : {false, true})
        for (const bool half : {false, true}) {
            g_for_good = for_good;
            g_half = half;
            play_all(scratch / "journal");
        }
}

Test(journal, lets_go_on_a_full_disk) {
    const Scratch scratch;
    const std::string path = scratch / "journal";
    auto opened = open_good(path);
    cr_assert(opened.journal.put(1, record("one")).has_value());
    cr_assert(opened.journal.put(2, record("two")).has_value());
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit full{opened.journal.size() + 5, opened.journal.size() + 5};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &full), 0);
    cr_assert(!opened.journal.put(3, record("three")).has_value());
    cr_assert(!opened.journal.put(1, record("another")).has_value());
    cr_assert(read_anew(path) == (Model{{1, record("one")}, {2, record("two")}}));
    cr_assert(opened.journal.erase({1}).has_value());
    cr_assert(read_anew(path) == (Model{{2, record("two")}}));
}

// Two live entries of a slot: the process was killed between writing the new one and marking the old one.
Test(journal, does_not_raise_the_dead) {
    const Scratch scratch;
    const std::string path = scratch / "journal";
    std::string before;
    std::size_t size = 0;
    {
        auto opened = open_good(path);
        cr_assert(opened.journal.put(1, record("old")).has_value());
        before = slurp(path);
        size = opened.journal.size();
        cr_assert(opened.journal.put(1, record("new")).has_value());
    }
    const std::string after = slurp(path);
    spill(path, before + after.substr(size));
    {
        auto opened = open_good(path);
        cr_assert(model_of(opened.entries) == (Model{{1, record("new")}}));
        cr_assert(opened.journal.erase({1}).has_value());
    }
    cr_assert(read_anew(path).empty());
}

Test(journal, does_not_grow_without_end) {
    const Scratch scratch;
    const std::string path = scratch / "journal";
    auto opened = open_good(path);
    cr_assert(opened.journal.put(2, record("stays")).has_value());
    for (int i = 0; i < 2'000; ++i) {
        cr_assert(opened.journal.put(1, record(10'000, static_cast<char>('a' + i % 26))).has_value());
        cr_assert_leq(opened.journal.size(), Journal::k_compact_min + 20'000);
    }
    cr_assert(read_anew(path) ==
              (Model{{1, record(10'000, static_cast<char>('a' + 1'999 % 26))}, {2, record("stays")}}));
    cr_assert_neq(access((path + ".new").c_str(), F_OK), 0);
}

Test(journal, is_bounded) {
    const Scratch scratch;
    auto opened = open_good(scratch / "journal");
    Slot slot = 0;
    while (opened.journal.put(slot, record(1'000'000, 'x')).has_value()) cr_assert_lt(++slot, 100U);
    cr_assert_eq(slot, Journal::k_bytes_max / 1'000'016);
    cr_assert(opened.journal.put(slot, record("a small one")).has_value());
    cr_assert(opened.journal.put(0, record(1'000'000, 'y')).has_value(), "what is replaced counts once");
}

Test(journal, of_another_boot_is_empty) {
    const Scratch scratch;
    const std::string path = scratch / "journal";
    {
        auto opened = open_good(path);
        cr_assert(opened.journal.put(1, record("of yesterday")).has_value());
    }
    const auto today = Journal::open(path, boot(2));
    cr_assert(today.has_value() && today->entries.empty());
    cr_assert(read_anew(path).empty(), "yesterday came back");
}

Test(journal, refuses_what_is_none) {
    const Scratch scratch;
    const std::string path = scratch / "journal";
    static_cast<void>(open_good(path));
    const std::string good = slurp(path);
    std::string other = good;
    other[11] = 2;
    spill(path, other);
    expect_error(path, "it has version 2, this program knows version 1");
    other = good;
    other[20] ^= 1;
    spill(path, other);
    expect_error(path, "its header is spoilt");
    spill(path, "a letter from somebody, of more than thirty-two bytes");
    expect_error(path, "it is not a journal of the lock daemon");
    cr_assert(slurp(path).starts_with("a letter"), "it was written over");
    const std::string link = scratch / "link";
    cr_assert_eq(symlink(path.c_str(), link.c_str()), 0);
    expect_error(link, "cannot open the journal");
    const std::string fifo = scratch / "fifo";
    cr_assert_eq(mkfifo(fifo.c_str(), 0600), 0);
    expect_error(fifo, "is not a file");
}

Test(journal, knows_this_boot) {
    // /proc stands for a directory that is not in memory.
    const auto one = find_boot_id("/proc"), two = find_boot_id("/proc");
    cr_assert(one.has_value() && two.has_value() && *one == *two && *one != BootId{});
}

Test(journal, needs_no_boot_id_in_memory) {
    const auto found = find_boot_id("/dev/shm");
    cr_assert(found.has_value() && *found == BootId{});
    cr_assert(!find_boot_id("/nonexistent").has_value());
}

// Blocks beyond the end are the file's: a disk that fills up later does not matter.
Test(journal, has_the_room_that_was_reserved) {
    const Scratch scratch;
    const std::string path = scratch / "journal";
    const auto has_room = [&](const Journal& journal, std::size_t bytes) {
        struct stat about {};
        cr_assert_eq(stat(path.c_str(), &about), 0);
        cr_assert_eq(static_cast<std::size_t>(about.st_size), journal.size());
        constexpr std::size_t k_block = 512;
        return static_cast<std::size_t>(about.st_blocks) * k_block >= journal.size() + bytes;
    };
    Journal journal = std::move(open_good(path).journal);
    cr_assert(!has_room(journal, 500'000));
    cr_assert(journal.reserve(500'000).has_value());
    cr_assert(has_room(journal, 500'000));
    cr_assert(journal.put(1, record(30'000, 'x')).has_value());
    cr_assert(has_room(journal, 470'000 - 16));
    // A new file instead of one that is mostly dead has the same room.
    for (int i = 0; i < 50; ++i) cr_assert(journal.put(1, record(30'000, 'x')).has_value());
    cr_assert_lt(journal.size(), Journal::k_compact_min);
    cr_assert(journal.reserve(500'000).has_value() && has_room(journal, 500'000));
    cr_assert(!journal.reserve(Journal::k_bytes_max).has_value(), "more than there may be");
    cr_assert(journal.put(2, record("y")).has_value());
    cr_assert((read_anew(path) == Model{{1, record(30'000, 'x')}, {2, record("y")}}));
}
