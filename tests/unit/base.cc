// SPDX-License-Identifier: LGPL-2.1-or-later
// base - tests of escaping, descriptors, logging and the fake clock.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "libshared/base/bytes.h"
#include "libshared/base/clock.h"
#include "libshared/base/fd.h"
#include "libshared/base/log.h"
#include "libshared/base/path_fault.h"
#include "libshared/base/process.h"
#include "libshared/base/wall_clock.h"

using namespace virtgate;
using namespace std::string_literals;

Test(escape, leaves_plain_text_and_utf8_alone) {
    cr_assert_eq(escape("CN=Zoë,O=Acme & Söhne"), "CN=Zoë,O=Acme & Söhne");
}

Test(escape, makes_control_bytes_quotes_and_broken_utf8_visible) {
    cr_assert_eq(escape("a\nb\x1b[31m\"\\\x7f"), "a\\x0ab\\x1b[31m\\x22\\x5c\\x7f");
    cr_assert_eq(escape("\xff\xc0\x80"), "\\xff\\xc0\\x80");
    cr_assert_eq(escape("\xc2\x9b"
                        "31m"),
                 "\\xc2\\x9b31m");                            // a C1 control character
    cr_assert_eq(escape("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
    cr_assert_eq(escape("\xe2\x82"), "\\xe2\\x82");           // cut off
    cr_assert_eq(escape("nul\0here"s), "nul\\x00here");
}

Test(escape, cuts_long_text) { cr_assert_eq(escape(std::string(1000, 'x'), 10), "xxxxxxxxxx..."); }

Test(unique_fd, closes_once_and_moves) {
    int raw = -1;
    {
        UniqueFd fd{dup(0)};
        raw = fd.get();
        UniqueFd other = std::move(fd);
        cr_assert(!fd);  // NOLINT(bugprone-use-after-move)
        cr_assert_eq(other.get(), raw);
        cr_assert_geq(fcntl(raw, F_GETFD), 0);
    }
    cr_assert_eq(fcntl(raw, F_GETFD), -1);
}

Test(memfd, cannot_be_changed) {
    const auto fd = make_sealed_memfd("test", "abc", 3);
    cr_assert(fd.has_value());
    char text[4] = {};
    cr_assert_eq(read(fd->get(), text, 3), 3);
    cr_assert_str_eq(text, "abc");
    cr_assert_eq(write(fd->get(), "x", 1), -1);
    cr_assert_eq(ftruncate(fd->get(), 0), -1);
    cr_assert_eq(mmap(nullptr, 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd->get(), 0), MAP_FAILED);
}

namespace {
std::string g_line;
Level g_level;
}  // namespace

Test(log, is_one_line_with_its_subject_whatever_it_says) {
    set_log_sink([](Level level, std::string_view line) noexcept {
        g_level = level;
        g_line = line;
    });
    Log{"session 3"}.info("hello {}", "a\nb");
    cr_assert_eq(g_line, "session 3: hello a?b");
    cr_assert(g_level == Level::info);
    g_line.clear();
    Log{}.debug("not told by default");
    cr_assert(g_line.empty());
    Log{}.error("{}", std::string(10000, 'x'));
    cr_assert_leq(g_line.size(), 2100);
}

Test(result, says_whose_fault_it_was) {
    const Done system = system_fault(ENOENT, "cannot open it");
    cr_assert(system.error().fault == Fault::system);
    cr_assert_eq(system.error().text, "cannot open it: No such file or directory");
    const Done peer = wrap(Error{Fault::peer, 0, "too long"}, "reading");
    cr_assert(peer.error().fault == Fault::peer);
    cr_assert_eq(peer.error().text, "reading: too long");
}

Test(panic, ends_the_process, .signal = SIGABRT) { require(false, "this test's bug"); }

Test(clock, fake_time_only_moves_when_told) {
    FakeClock clock;
    const Instant before = clock.now();
    clock.advance(Milliseconds{1500});
    cr_assert_eq((clock.now() - before) / Milliseconds{1}, 1500);
}

Test(process, start_time_is_that_of_the_process) {
    const std::uint64_t ours = read_start_time(getpid());
    cr_assert_neq(ours, 0);
    cr_assert_eq(read_start_time(getpid()), ours);
    cr_assert_eq(read_start_time(0x7fffffff), 0);
}

Test(sparse, tells_the_first_and_then_powers_of_two) {
    Sparse sparse;
    std::vector<std::uint64_t> told;
    for (int i = 0; i < 1000; ++i)
        if (sparse.next()) told.push_back(sparse.count());
    cr_assert_eq(told.size(), 16 + 5);
    cr_assert_eq(told[15], 16);
    cr_assert_eq(told[16], 32);
    cr_assert_eq(told.back(), 512);
}

Test(letters, change_their_case_and_nothing_else_does) {
    cr_assert_eq(to_lower("ABZ-az_09\xc4"), "abz-az_09\xc4");
    cr_assert_eq(to_upper("abz-AZ_09\xe4"), "ABZ-AZ_09\xe4");
}

namespace {

struct stat facts_of(mode_t mode, uid_t uid) {
    struct stat facts {};
    facts.st_mode = mode;
    facts.st_uid = uid;
    return facts;
}

}  // namespace

Test(path_fault, who_may_have_a_file) {
    const uid_t other = geteuid() + 4321;
    const struct {
        mode_t mode;
        uid_t uid;
        Secrecy secrecy;
        bool good;
    } rows[] = {
        {S_IFREG | 0644, 0, Secrecy::readable, true},
        {S_IFREG | 0644, geteuid(), Secrecy::readable, true},
        {S_IFREG | 0644, other, Secrecy::readable, false},
        {S_IFREG | 0664, 0, Secrecy::readable, false},
        {S_IFREG | 0646, 0, Secrecy::readable, false},
        {S_IFREG | 01666, 0, Secrecy::readable, false},
        {S_IFDIR | 01777, 0, Secrecy::readable, true},
        {S_IFDIR | 0777, 0, Secrecy::readable, false},
        {S_IFREG | 0640, 0, Secrecy::shared, true},
        {S_IFREG | 0644, 0, Secrecy::shared, false},
        {S_IFREG | 0600, 0, Secrecy::secret, true},
        {S_IFREG | 0640, 0, Secrecy::secret, false},
        {S_IFREG | 0400, geteuid(), Secrecy::secret, true},
        {S_IFREG | 0601, 0, Secrecy::secret, false},
    };
    for (const auto& row : rows) {
        const auto done = check_owner(facts_of(row.mode, row.uid), "/some/file", row.secrecy);
        cr_assert_eq(done.has_value(), row.good, "mode %o owner %u", row.mode, row.uid);
        if (!done)
            cr_assert(done.error().text.find("/some/file is not used: ") == 0, "%s",
                      done.error().text.c_str());
    }
}

Test(path_fault, says_what_is_missing) {
    const auto text = [](int number, const std::string& path) {
        return path_fault(number, "cannot open", path).value().text;
    };
    cr_assert_eq(
        text(ENOENT, "/proc/no/such/file"),
        "cannot open /proc/no/such/file: No such file or directory (there is no directory /proc/no: make it, "
        "or name another one)");
    cr_assert_eq(text(ENOENT, "/proc/none"),
                 "cannot open /proc/none: No such file or directory (make it, or name another one)");
    cr_assert(text(EISDIR, "/proc").ends_with("(name a file in it)"));
    cr_assert(text(EMFILE, "/proc").find("ulimit -n") != std::string::npos);
    cr_assert_eq(path_fault(EACCES, "cannot open", "/proc").value().number, EACCES);
    cr_assert_eq(text(EIO, "a\nb"), "cannot open a\\x0ab: Input/output error");
}

Test(wall_clock, a_date_before_the_release_is_wrong) {
    cr_assert_eq(to_date(0), "1970-01-01 00:00 UTC");
    cr_assert(judge_clock(200).starts_with(
        "the clock of this machine says 1970-01-01 00:03 UTC, which is wrong: "));
    cr_assert(judge_clock(k_released - 1).find("which is wrong") != std::string::npos);
    cr_assert(judge_clock(k_released).find("if that is wrong, set it") != std::string::npos);
}
