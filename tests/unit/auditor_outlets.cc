// SPDX-License-Identifier: LGPL-2.1-or-later
// auditor_outlets - the file and the journal: what they get, and what happens when they do not take it.
#include "workerd/auditor/outlets.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "libshared/base/log.h"
#include "tests/unit/auditor_support.h"
#include "workerd/auditor/journal.h"
#include "workerd/auditor/journal_entry.h"
#include "workerd/auditor/record_file.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::workerd::auditor;

namespace {

using Words = std::vector<std::string>;

std::string g_log;

void catch_log() {
    g_log.clear();
    set_log_sink([](Level, std::string_view line) noexcept { g_log.append(line).append("\n"); });
}

std::size_t count(std::string_view text, std::string_view part) {
    std::size_t found = 0;
    for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1))
        ++found;
    return found;
}

Record record(std::uint32_t number) {
    return make_policy(test_time(), {.generation = number, .identities = 1, .accepted = true});
}

// The generations of the records in the file, and of those that tell of a gap "dropped N".
Words numbers(const std::string& path) {
    Words found;
    for (const Json& json : read_records(path))
        found.push_back(json.contains("dropped") ? "dropped " + json.at("dropped").dump()
                                                 : json.at("generation").dump());
    return found;
}

// An outlet that works when the test says so.
class Switch final : public Outlet {
public:
    Done put(const Record& one) override {
        if (!works) return system_fault(ENOSPC, "cannot write");
        collector.write(one);
        return {};
    }
    [[nodiscard]] const std::string& name() const noexcept override { return name_; }
    Done reopen() override {
        ++reopened;
        if (!opens) return system_fault(EACCES, "cannot open it");
        return {};
    }

    bool works = true, opens = true;
    int reopened = 0;
    Collector collector;

private:
    std::string name_ = "a switch";
};

// Outlets with one switch.
struct Panel {
    Panel() {
        auto owned = std::make_unique<Switch>();
        one = owned.get();
        outlets.add(std::move(owned));
        catch_log();
    }
    Outlets outlets{test_time};
    Switch* one;
};

}  // namespace

Test(auditor_outlets, a_gap_is_told_where_it_is_and_logged_once) {
    Panel panel;
    panel.outlets.write(record(1));
    panel.one->works = false;
    for (std::uint32_t i = 2; i <= 5; ++i) panel.outlets.write(record(i));
    cr_assert(panel.outlets.has_failed());
    cr_assert_eq(panel.outlets.dropped(), 4);
    cr_assert_eq(count(g_log, "a switch takes no records"), 1, "%s", g_log.c_str());
    panel.one->works = true;
    panel.outlets.write(record(6));
    cr_assert(!panel.outlets.has_failed());
    cr_assert(panel.one->collector.values("policy", "generation") == (Words{"1", "6"}));
    cr_assert(panel.one->collector.values("dropped", "dropped") == Words{"4"});
    cr_assert_eq(panel.one->collector.records[1].json.at("record"), "dropped");
    cr_assert_eq(count(g_log, "takes records again; 4 are missing"), 1, "%s", g_log.c_str());
}

Test(auditor_outlets, a_gap_is_told_even_if_nothing_follows) {
    Panel panel;
    panel.one->works = false;
    panel.outlets.write(record(1));
    panel.outlets.retry();
    cr_assert(panel.outlets.has_failed());
    panel.one->works = true;
    panel.outlets.retry();
    cr_assert(!panel.outlets.has_failed());
    cr_assert(panel.one->collector.values("dropped", "dropped") == Words{"1"});
    panel.outlets.retry();
    cr_assert_eq(panel.one->collector.records.size(), 1);
}

Test(auditor_outlets, one_that_fails_does_not_keep_the_other_from_working) {
    Panel panel;
    auto owned = std::make_unique<Switch>();
    Switch* const other = owned.get();
    panel.outlets.add(std::move(owned));
    panel.one->works = false;
    panel.outlets.write(record(1));
    panel.outlets.write(record(2));
    cr_assert(other->collector.values("policy", "generation") == (Words{"1", "2"}));
    cr_assert(other->collector.values("dropped", "dropped").empty());
}

Test(auditor_outlets, one_that_cannot_be_opened_is_tried_again) {
    Panel panel;
    panel.one->opens = false;
    panel.outlets.reopen();
    cr_assert(panel.outlets.has_failed());
    panel.outlets.retry();
    cr_assert_eq(panel.one->reopened, 2);
    cr_assert_eq(count(g_log, "cannot be opened"), 1, "%s", g_log.c_str());
    panel.one->opens = true;
    panel.outlets.retry();
    cr_assert(!panel.outlets.has_failed());
    panel.outlets.retry();
    cr_assert_eq(panel.one->reopened, 3);
}

Test(auditor_outlets, one_that_flutters_does_not_fill_the_log) {
    Panel panel;
    for (std::uint32_t i = 0; i < 1'000; ++i) {
        panel.one->works = i % 2 == 0;
        panel.outlets.write(record(i));
    }
    cr_assert_lt(count(g_log, "\n"), 60);
}

Test(auditor_file, records_are_lines) {
    const Scratch scratch;
    RecordFile file(scratch.path("audit.jsonl"));
    cr_assert(file.put(record(1)));
    cr_assert(file.put(record(2)));
    cr_assert(file.reopen());
    cr_assert(file.put(record(3)));
    cr_assert(numbers(scratch.path("audit.jsonl")) == (Words{"1", "2", "3"}));
    struct stat status {};
    stat(scratch.path("audit.jsonl").c_str(), &status);
    cr_assert_eq(status.st_mode & 07137, 0, "others may read it, or somebody may execute it");
}

Test(auditor_file, a_file_that_was_renamed_is_opened_anew) {
    const Scratch scratch;
    const std::string path = scratch.path("audit.jsonl");
    RecordFile file(path);
    cr_assert(file.put(record(1)));
    cr_assert_eq(rename(path.c_str(), (path + ".1").c_str()), 0);
    cr_assert(file.put(record(2)), "until it is told, it writes on");
    cr_assert(file.reopen());
    cr_assert(file.put(record(3)));
    cr_assert(numbers(path + ".1") == (Words{"1", "2"}));
    cr_assert(numbers(path) == Words{"3"});
}

Test(auditor_file, what_cannot_be_opened_anew_stays_in_use) {
    const Scratch scratch;
    const std::string path = scratch.path("audit.jsonl");
    RecordFile file(path);
    cr_assert(file.put(record(1)));
    cr_assert_eq(rename(path.c_str(), (path + ".1").c_str()), 0);
    cr_assert_eq(mkdir(path.c_str(), 0700), 0);
    cr_assert(!file.reopen());
    cr_assert(file.put(record(2)));
    cr_assert(numbers(path + ".1") == (Words{"1", "2"}));
}

Test(auditor_file, a_link_and_a_pipe_are_refused) {
    const Scratch scratch;
    cr_assert_eq(symlink("target", scratch.path("link").c_str()), 0);
    RecordFile link(scratch.path("link"));
    cr_assert(!link.put(record(1)));
    cr_assert(!std::filesystem::exists(scratch.path("target")));
    cr_assert_eq(mkfifo(scratch.path("pipe").c_str(), 0600), 0);
    RecordFile pipe(scratch.path("pipe"));
    cr_assert(!pipe.put(record(1)));
}

Test(auditor_file, a_full_disk_costs_records_and_nothing_else) {
    catch_log();
    RecordFile full("/dev/full");
    const Done done = full.put(record(1));
    cr_assert(!done);
    cr_assert_eq(done.error().number, ENOSPC);
    Outlets outlets(test_time);
    outlets.add(std::make_unique<RecordFile>("/dev/full"));
    for (std::uint32_t i = 0; i < 10; ++i) outlets.write(record(i));
    outlets.retry();
    cr_assert_eq(outlets.dropped(), 10);
    cr_assert_eq(count(g_log, "/dev/full takes no records"), 1, "%s", g_log.c_str());
}

// The limit of the file's size stops a write in the middle, as a disk that gets full does.
Test(auditor_file, a_line_that_was_cut_breaks_no_other) {
    signal(SIGXFSZ, SIG_IGN);
    const Scratch scratch;
    const std::string path = scratch.path("audit.jsonl");
    Outlets outlets(test_time);
    outlets.add(std::make_unique<RecordFile>(path));
    catch_log();
    outlets.write(record(1));
    const std::size_t size = read_text(path).size();
    rlimit limit{};
    getrlimit(RLIMIT_FSIZE, &limit);
    const rlim_t before = limit.rlim_cur;
    limit.rlim_cur = size + 20;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    outlets.write(record(2));
    outlets.write(record(3));
    limit.rlim_cur = before;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    outlets.write(record(4));
    const std::string text = read_text(path);
    const std::string piece = text.substr(size, text.find('\n', size) - size);
    cr_assert_eq(piece.size(), 20, "%s", piece.c_str());
    std::ofstream(scratch.path("rest")) << text.substr(0, size) << text.substr(size + piece.size() + 1);
    cr_assert(numbers(scratch.path("rest")) == (Words{"1", "dropped 2", "4"}), "%s", text.c_str());
}

Test(auditor_file, a_line_that_a_dead_process_left_breaks_no_other) {
    const Scratch scratch;
    const std::string path = scratch.path("audit.jsonl");
    std::ofstream(path) << "{\"time\":\"2024";
    RecordFile file(path);
    cr_assert(file.put(record(1)));
    cr_assert(file.put(record(2)));
    const std::string text = read_text(path);
    cr_assert_eq(text, "{\"time\":\"2024\n" + to_line(record(1)) + to_line(record(2)), "%s", text.c_str());
}

Test(auditor_journal, an_entry_arrives_as_it_was_sent) {
    const Scratch scratch;
    FakeJournal fake(scratch.path("socket"));
    Journal journal(scratch.path("socket"));
    cr_assert(journal.put(record(7)));
    const Fields fields = read_entry(fake.next());
    cr_assert(!fake.last_was_file());
    cr_assert_eq(field(fields, "VIRTGATE_RECORD"), "policy");
    cr_assert_eq(field(fields, "VIRTGATE_GENERATION"), "7");
    cr_assert_eq(field(fields, "MESSAGE"), "policy 7 is in force, with 1 identities");
    cr_assert(fake.next().empty());
}

Test(auditor_journal, an_entry_that_is_too_large_comes_in_a_memory_file) {
    const Scratch scratch;
    FakeJournal fake(scratch.path("socket"));
    Journal journal(scratch.path("socket"));
    std::string entry;
    add_field(entry, "MESSAGE", "large");
    add_field(entry, "VIRTGATE_DETAIL", std::string(4U << 20, 'x') + "\n");
    cr_assert(journal.send_entry(entry));
    cr_assert_eq(fake.next(), entry);
    cr_assert(fake.last_was_file());
}

Test(auditor_journal, a_journal_that_is_not_there_is_found_when_it_comes) {
    const Scratch scratch;
    catch_log();
    Outlets outlets(test_time);
    outlets.add(std::make_unique<Journal>(scratch.path("socket")));
    for (std::uint32_t i = 0; i < 3; ++i) outlets.write(record(i));
    cr_assert_eq(count(g_log, "takes no records: there is no journal"), 1, "%s", g_log.c_str());
    FakeJournal fake(scratch.path("socket"));
    outlets.retry();
    cr_assert_eq(field(read_entry(fake.next()), "VIRTGATE_DROPPED"), "3");
    outlets.write(record(9));
    cr_assert_eq(field(read_entry(fake.next()), "VIRTGATE_GENERATION"), "9");
}

Test(auditor_journal, a_journal_that_starts_again_is_found) {
    const Scratch scratch;
    const std::string path = scratch.path("socket");
    Journal journal(path);
    {
        FakeJournal fake(path);
        cr_assert(journal.put(record(1)));
    }
    {
        // The old socket is dead, and nothing has told so.
        FakeJournal fake(path);
        cr_assert(journal.put(record(2)));
        cr_assert_eq(field(read_entry(fake.next()), "VIRTGATE_GENERATION"), "2");
    }
    cr_assert(!journal.put(record(3)));
    FakeJournal fake(path);
    cr_assert(journal.put(record(4)));
    cr_assert_eq(field(read_entry(fake.next()), "VIRTGATE_GENERATION"), "4");
    // Somebody else has the name now; the old one still reads.
    std::filesystem::remove(path);
    FakeJournal next(path);
    cr_assert(journal.reopen());
    cr_assert(journal.put(record(5)));
    cr_assert_eq(field(read_entry(next.next()), "VIRTGATE_GENERATION"), "5");
}

Test(auditor_journal, a_journal_that_does_not_read_is_not_waited_for, .timeout = 20) {
    const Scratch scratch;
    catch_log();
    FakeJournal fake(scratch.path("socket"));
    Outlets outlets(test_time);
    outlets.add(std::make_unique<Journal>(scratch.path("socket")));
    constexpr std::uint32_t k_records = 5'000;
    for (std::uint32_t i = 1; i <= k_records; ++i) outlets.write(record(i));
    cr_assert_gt(outlets.dropped(), 0);
    std::uint64_t came = 0;
    while (!fake.next().empty()) ++came;
    cr_assert_eq(came + outlets.dropped(), k_records);
    outlets.retry();
    cr_assert_eq(field(read_entry(fake.next()), "VIRTGATE_DROPPED"), std::to_string(outlets.dropped()));
    cr_assert_eq(count(g_log, "does not keep up"), 1, "%s", g_log.c_str());
}
