// SPDX-License-Identifier: LGPL-2.1-or-later
// confine - limits, privileges, memory, descriptors and the self-check, each attacked from the inside.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <vector>

#include "libshared/base/fd.h"
#include "libshared/confine/check.h"
#include "libshared/confine/descriptors.h"
#include "libshared/confine/limits.h"
#include "libshared/confine/memory.h"
#include "libshared/confine/privileges.h"
#include "tests/unit/confine_rig.h"

using namespace virtgate;
using namespace virtgate::confine;
using namespace virtgate::confine_test;

namespace {

std::vector<std::string> g_lines;

void* idle(void*) {
    pause();
    return nullptr;
}

// As many as `with` says: the same attempt with and without a layer.
int fork_once() {
    const pid_t pid = fork();
    if (pid == 0) _exit(0);
    return errno_of(pid);
}

// Opens what nobody may read but who has CAP_DAC_OVERRIDE.
int try_closed_file(const char* name) {
    const UniqueFd file{open(name, O_RDONLY | O_CLOEXEC)};
    return file ? 0 : errno;
}

bool has_line(const std::string& part) {
    for (const auto& line : g_lines)
        if (line.find(part) != line.npos) return true;
    return false;
}

Status good_status() {
    Status status;
    status.uids = {5, 5, 5, 5};
    status.threads = 1;
    status.no_new_privileges = 1;
    status.seccomp_mode = 2;
    status.filters = 1;
    return status;
}

}  // namespace

Test(report, says_all_lacks_once) {
    set_log_sink([](Level, std::string_view line) noexcept { g_lines.emplace_back(line); });
    Report report{Demand::best_effort};
    report.say_lacks(Log{});
    cr_assert_eq(g_lines.size(), 0U);
    Report second{Demand::best_effort};
    second.note_in_force(Layer::files, "ABI 1");
    cr_assert(second.complete(Layer::files));
    cr_assert(!second.complete(Layer::tcp));
    cr_assert(second.note_lack(Layer::files, "no truncate").has_value());
    cr_assert(!second.complete(Layer::files));
    cr_assert(second.note_lack(Layer::sealed_memory, "no mseal").has_value());
    second.say_lacks(Log{});
    second.say_lacks(Log{});
    cr_assert_eq(g_lines.size(), 1U);
    cr_assert(has_line("files: no truncate; sealed memory: no mseal"), "%s", g_lines[0].c_str());
}

Test(report, strict_refuses_what_is_lacking) {
    Report report{Demand::strict};
    const auto done = report.note_lack(Layer::tcp, "the kernel has none");
    cr_assert(!done.has_value());
    cr_assert(done.error().text.find("TCP") != std::string::npos);
}

Test(limits, each_bites) {
    const auto attempt = [](bool with, Limits limits, const std::function<int()>& body) {
        return in_child([&] {
            become_nobody();  // root passes over RLIMIT_NPROC
            auto report = modest();
            if (with) must(set_limits(limits, report));
            return body();
        });
    };
    const auto duplicate = [] { return errno_of(dup(0)); };
    Limits none;
    none.descriptors = 0;
    expect_ending(attempt(false, none, duplicate), 0);
    expect_ending(attempt(true, none, duplicate), EMFILE);
    expect_ending(attempt(false, {}, fork_once), 0);
    expect_ending(attempt(true, {}, fork_once), EAGAIN);
    const auto write_file = [] {
        const int fd = memfd_create("file", 0);
        return fd < 0 ? k_wrong : errno_of(write(fd, "x", 1));
    };
    expect_ending(attempt(false, {}, write_file), 0);
    cr_assert_eq(attempt(true, {}, write_file).signal, SIGXFSZ);
    Limits small;
    small.address_space = 1U << 20U;
    const auto map = [] {
        return mmap(nullptr, 1U << 24U, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno
                                                                                                     : 0;
    };
    expect_ending(attempt(false, small, map), 0);
    expect_ending(attempt(true, small, map), ENOMEM);
}

Test(limits, cannot_be_raised_again_and_keep_lower_ones) {
    expect_ending(in_child([] {
                      become_nobody();
                      const rlimit lower{20, 20};
                      if (setrlimit(RLIMIT_NOFILE, &lower) < 0) return k_wrong;
                      auto report = modest();
                      Limits limits;
                      limits.descriptors = 30;
                      must(set_limits(limits, report));
                      rlimit now{};
                      if (getrlimit(RLIMIT_NOFILE, &now) < 0 || now.rlim_cur != 20) return k_wrong;
                      const rlimit core{1, 1};
                      return errno_of(setrlimit(RLIMIT_CORE, &core));
                  }),
                  EPERM);
}

Test(limits, refuse_to_log_to_a_file) {
    const auto attempt = [](bool file) {
        return in_child([&] {
            auto report = modest();
            const int log = memfd_create("log", 0);
            if (log < 0) return k_wrong;
            if (file && dup2(log, STDERR_FILENO) < 0) return k_wrong;
            return set_limits({}, report) ? 0 : 1;
        });
    };
    expect_ending(attempt(false), 0);
    expect_ending(attempt(true), 1);
}

Test(privileges, are_forbidden_and_memory_is_closed) {
    const auto facts = [](bool with) {
        return in_child([&] {
            auto report = modest();
            if (with) {
                must(forbid_new_privileges(report));
                must(close_memory(report));
                if (!report.complete(Layer::no_new_privileges) || !report.complete(Layer::dumpable))
                    return k_wrong;
            }
            return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) * 2 + prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
        });
    };
    expect_ending(facts(false), 1);
    expect_ending(facts(true), 2);
}

Test(privileges, a_closed_process_cannot_be_read_by_its_user) {
    if (!is_root()) cr_skip_test("takes root, to become a user without capabilities");
    const auto attempt = [](bool with) {
        return in_child([&] {
            become_nobody();
            if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) return k_wrong;
            auto report = modest();
            if (with) must(close_memory(report));
            const pid_t parent = getpid();
            int ends[2];
            if (pipe(ends) < 0) return k_wrong;
            const pid_t child = fork();
            if (child == 0) {
                prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
                const std::string path = "/proc/" + std::to_string(parent) + "/mem";
                const int failed = errno_of(open(path.c_str(), O_RDONLY));
                static_cast<void>(!write(ends[1], &failed, sizeof failed));
                _exit(0);
            }
            int failed = k_wrong;
            return read(ends[0], &failed, sizeof failed) == sizeof failed ? failed : k_wrong;
        });
    };
    expect_ending(attempt(false), 0);
    expect_ending(attempt(true), EACCES);
}

Test(privileges, no_capability_is_left_in_any_set) {
    if (!is_root()) cr_skip_test("takes root: others have no capabilities to drop");
    const auto facts = [](bool with) {
        return in_child([&] {
            auto report = modest();
            if (with) {
                must(drop_capabilities({}, report));
                if (!report.complete(Layer::capabilities) || !report.complete(Layer::bounding_set))
                    return k_wrong;
            }
            auto self = open_self();
            char text[8192];
            const ssize_t size = read(self->get(), text, sizeof text);
            const auto status = parse_status({text, static_cast<std::size_t>(size)});
            if (!status) return k_wrong;
            return (status->permitted != 0 ? 1 : 0) + (status->effective != 0 ? 2 : 0) +
                   (status->bounding != 0 ? 4 : 0) + (status->inheritable != 0 ? 8 : 0) +
                   (status->ambient != 0 ? 16 : 0);
        });
    };
    expect_ending(facts(false), 7);
    expect_ending(facts(true), 0);
}

Test(privileges, root_without_capabilities_is_nobody_special) {
    if (!is_root()) cr_skip_test("takes root");
    char file[] = "/tmp/confine-XXXXXX";
    const UniqueFd made{mkstemp(file)};
    cr_assert(fchown(made.get(), 1, 1) == 0 && fchmod(made.get(), 0) == 0);
    const auto attempt = [&file](bool with) {
        return in_child([&file, with] {
            auto report = modest();
            const std::vector<unsigned> keep = {CAP_DAC_OVERRIDE};
            if (with) must(drop_capabilities(keep, report));
            // What was kept works, twice over; what was not does not, and the secure bits cannot be undone.
            if (with) must(drop_capabilities(keep, report));
            if (try_closed_file(file) != 0) return k_wrong;
            if (setresgid(1, 1, 1) == 0) return 0;
            if (errno != EPERM) return k_wrong;
            return errno_of(prctl(PR_SET_SECUREBITS, 0, 0, 0, 0));
        });
    };
    expect_ending(attempt(false), 0);
    expect_ending(attempt(true), EPERM);
    expect_ending(in_child([&file] {
                      auto report = modest();
                      must(drop_capabilities({}, report));
                      return try_closed_file(file);
                  }),
                  EACCES);
    unlink(file);
}

// As a supervisor that passes two of three on, executes itself, and starts a child.
Test(privileges, what_is_passed_on_outlives_an_exec) {
    if (!is_root()) cr_skip_test("takes root");
    const auto attempt = [](const std::vector<unsigned>& pass_on) {
        return in_child([&] {
            auto report = modest();
            const std::vector<unsigned> keep = {CAP_KILL, CAP_DAC_OVERRIDE, CAP_SETUID};
            must(drop_capabilities(keep, report, pass_on));
            must(forbid_new_privileges(report));
            must(drop_capabilities(keep, report, pass_on));
            execl("/bin/grep", "grep", "Cap", "/proc/self/status", nullptr);
            return k_wrong;
        });
    };
    const auto has = [](const auto& ending, const std::string& set, std::string_view bits) {
        return ending.output.find(fmt::format("{}:\t00000000000000{}", set, bits)) != std::string::npos;
    };
    const auto with = attempt({CAP_KILL, CAP_DAC_OVERRIDE});
    for (const char* set : {"CapPrm", "CapEff", "CapAmb", "CapInh"})
        cr_assert(has(with, set, "22"), "%s", with.output.c_str());
    cr_assert(has(with, "CapBnd", "00"), "%s", with.output.c_str());
    const auto without = attempt({});
    for (const char* set : {"CapPrm", "CapEff", "CapAmb", "CapInh", "CapBnd"})
        cr_assert(has(without, set, "00"), "%s", without.output.c_str());
}

Test(privileges, without_setpcap_the_bounding_set_is_lacking) {
    if (!is_root()) cr_skip_test("takes root, to become another user");
    expect_ending(in_child([] {
                      become_nobody();
                      auto report = modest();
                      must(drop_capabilities({}, report));
                      if (!report.complete(Layer::capabilities) || report.complete(Layer::bounding_set))
                          return 1;
                      Report strict{Demand::strict};
                      return drop_capabilities({}, strict) ? 2 : 0;
                  }),
                  0);
}

Test(privileges, refuse_a_second_thread) {
    const auto attempt = [](bool second) {
        return in_child([&] {
            pthread_t thread{};
            if (second && pthread_create(&thread, nullptr, idle, nullptr) != 0) return k_wrong;
            auto report = modest();
            return drop_capabilities({}, report) ? 0 : 1;
        });
    };
    expect_ending(attempt(false), 0);
    expect_ending(attempt(true), 1);
}

Test(memory, what_is_written_does_not_become_code) {
    if (prctl(66, 0, 0, 0, 0) < 0) cr_skip_test("the kernel has no PR_SET_MDWE");
    const auto attempt = [](bool with, bool at_once) {
        return in_child([&] {
            auto report = modest();
            if (with) {
                must(forbid_writable_code(report));
                must(forbid_writable_code(report));  // as if systemd had done it
                if (!report.complete(Layer::writable_code)) return k_wrong;
            }
            const int before = PROT_READ | PROT_WRITE | (at_once ? PROT_EXEC : 0);
            void* page = mmap(nullptr, 4096, before, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (page == MAP_FAILED) return errno;
            return errno_of(mprotect(page, 4096, PROT_READ | PROT_EXEC));
        });
    };
    for (const bool at_once : {false, true}) {
        expect_ending(attempt(false, at_once), 0);
        expect_ending(attempt(true, at_once), EACCES);
    }
}

Test(descriptors, kinds_are_told_apart) {
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    auto channel = make_channel_pair();
    const UniqueFd stream{socket(AF_UNIX, SOCK_STREAM, 0)};
    const UniqueFd listener{socket(AF_UNIX, SOCK_STREAM, 0)};
    cr_assert_eq(bind(listener.get(), nullptr, 0), -1);
    const sockaddr unnamed{AF_UNIX, {}};  // the kernel gives it an abstract name
    cr_assert_eq(bind(listener.get(), &unnamed, sizeof(sa_family_t)), 0);
    cr_assert_eq(listen(listener.get(), 1), 0);
    const struct {
        UniqueFd fd;
        FdKind kind;
    } rows[] = {
        {UniqueFd{open("/dev/null", O_RDONLY)}, FdKind::null},
        {UniqueFd{open("/dev/zero", O_RDONLY)}, FdKind::other},
        {UniqueFd{ends[0]}, FdKind::pipe},
        {UniqueFd{ends[1]}, FdKind::pipe},
        {std::move(channel->first), FdKind::channel},
        {UniqueFd{dup(stream.get())}, FdKind::stream},
        {UniqueFd{dup(listener.get())}, FdKind::listener},
        {UniqueFd{socket(AF_UNIX, SOCK_DGRAM, 0)}, FdKind::datagrams},
        {UniqueFd{socket(AF_INET, SOCK_DGRAM, 0)}, FdKind::other},
        {UniqueFd{memfd_create("m", 0)}, FdKind::file},
        {UniqueFd{open("/", O_RDONLY)}, FdKind::directory},
        {UniqueFd{epoll_create1(0)}, FdKind::loop},
    };
    for (const auto& row : rows) {
        const auto kind = find_kind(row.fd.get());
        cr_assert(kind.has_value());
        cr_assert_eq(*kind, row.kind, "%s, not %s", to_text(*kind).data(), to_text(row.kind).data());
    }
    cr_assert(!find_kind(-1).has_value());
}

Test(descriptors, differences_are_named) {
    const auto attempt = [](const std::vector<MeantFd>& meant) {
        return in_child([&] {
            const int null = open("/dev/null", O_RDWR);
            if (dup2(null, 0) < 0) return k_wrong;
            if (close_range(3, UINT_MAX, 0) != 0) return k_wrong;
            must(check_descriptors(meant));
            return 0;
        });
    };
    const MeantFd null{0, {FdKind::null}};
    const MeantFd out{1, {FdKind::channel, FdKind::pipe}};
    const MeantFd error{2, {}};
    expect_ending(attempt({null, out, error}), 0);
    const auto extra = attempt({null, out});
    expect_ending(extra, k_not_set_up);
    cr_assert(extra.output.find("2 (a pipe) is open") != std::string::npos, "%s", extra.output.c_str());
    const auto missing = attempt({null, out, error, {3, {}}});
    cr_assert(missing.output.find("3 is not open") != std::string::npos, "%s", missing.output.c_str());
    const auto other = attempt({{0, {FdKind::pipe}}, out, error});
    cr_assert(other.output.find("0 is /dev/null, not a pipe") != std::string::npos, "%s",
              other.output.c_str());
}

Test(check, reads_what_the_kernel_says) {
    const auto status = parse_status(
        "Name:\tUid:\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t "
        "\nThreads:\t9\nCapInh:\t000000000000000a\n"
        "CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000001\nCapBnd:\t0000000000000002\nCapAmb:"
        "\t0000000000000003\n"
        "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n");
    cr_assert(status.has_value(), "%s", status ? "" : status.error().text.c_str());
    cr_assert_eq(status->uids[3], 4U);
    cr_assert_eq(status->gids[0], 5U);
    cr_assert_eq(status->threads, 9U);
    cr_assert_eq(status->inheritable, 10U);
    cr_assert_eq(status->permitted, 0x1ffffffffffU);
    cr_assert_eq(status->ambient, 3U);
    cr_assert_eq(status->seccomp_mode, 2U);
    cr_assert_eq(status->filters, 3U);
    cr_assert(!parse_status("").has_value());
    cr_assert(!parse_status("Uid:\t1\t2\t3\n").has_value());
}

Test(check, each_difference_is_found) {
    const Meant meant{.uid = 5, .capabilities = 0, .bounding_empty = true, .filters_min = 1};
    cr_assert(compare(good_status(), meant).has_value());
    const std::function<void(Status&)> changes[] = {
        [](Status& s) { s.uids[2] = 0; },           [](Status& s) { s.permitted = 1; },
        [](Status& s) { s.effective = 1; },         [](Status& s) { s.inheritable = 1; },
        [](Status& s) { s.ambient = 1; },           [](Status& s) { s.bounding = 1; },
        [](Status& s) { s.no_new_privileges = 0; }, [](Status& s) { s.seccomp_mode = 0; },
    };
    for (const auto& change : changes) {
        auto status = good_status();
        change(status);
        cr_assert(!compare(status, meant).has_value());
    }
    Meant two = meant;
    two.filters_min = 2;
    cr_assert(!compare(good_status(), two).has_value());
}
