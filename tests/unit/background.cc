// SPDX-License-Identifier: LGPL-2.1-or-later
// background - a pid file belongs to one process, whatever was left of others; a daemon's start ends with its status.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "libshared/base/process.h"
#include "libshared/spawn/background.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/notify.h"
#include "libshared/spawn/self.h"

using namespace virtgate;
using spawn::Background;
using spawn::PidFile;

namespace {

struct Directory {
    Directory() {
        std::string name = std::filesystem::temp_directory_path() / "virtgate-background-XXXXXX";
        cr_assert_neq(mkdtemp(name.data()), nullptr);
        path = name;
    }
    ~Directory() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

long number_in(const std::string& path) {
    long number = -1;
    std::ifstream(path) >> number;
    return number;
}

// A process that has the file until it is killed.
class Holder {
public:
    explicit Holder(const std::string& path) {
        std::array<int, 2> ends{};
        cr_assert_eq(pipe(ends.data()), 0);
        pid_ = fork();
        if (pid_ == 0) {
            const auto file = PidFile::claim(path);
            const char byte = file ? 'y' : 'n';
            static_cast<void>(!write(ends[1], &byte, 1));
            for (;;) pause();
        }
        char byte = 0;
        cr_assert_eq(read(ends[0], &byte, 1), 1);
        cr_assert_eq(byte, 'y');
        close(ends[0]);
        close(ends[1]);
    }
    ~Holder() { kill(); }
    void kill() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        waitpid(std::exchange(pid_, -1), nullptr, 0);
    }
    [[nodiscard]] pid_t pid() const { return pid_; }

private:
    pid_t pid_ = -1;
};

}  // namespace

Test(pid_file, is_there_while_its_process_is) {
    const Directory directory;
    const std::string path = directory.path / "pid";
    {
        const auto file = PidFile::claim(path);
        cr_assert(file.has_value());
        cr_assert_eq(number_in(path), getpid());
    }
    cr_assert(!std::filesystem::exists(path));
}

Test(pid_file, of_another_process_names_that) {
    const Directory directory;
    const std::string path = directory.path / "pid";
    Holder other(path);
    const auto file = PidFile::claim(path);
    cr_assert(!file && file.error().text.find(name_process(other.pid())) != std::string::npos, "%s",
              file ? "" : file.error().text.c_str());
    cr_assert_eq(number_in(path), other.pid(), "nothing was changed");
    other.kill();
    cr_assert(std::filesystem::exists(path), "it was killed");
    const auto now = PidFile::claim(path);
    cr_assert(now.has_value());
    cr_assert_eq(number_in(path), getpid());
}

Test(pid_file, with_anything_in_it_is_taken_over) {
    const Directory directory;
    const std::string path = directory.path / "pid";
    for (const char* text : {"", "1\n", "99999999999999999999\n", "not a number", "4194304\n"}) {
        std::ofstream(path) << text;
        const auto file = PidFile::claim(path);
        cr_assert(file.has_value(), "%s", text);
        cr_assert_eq(number_in(path), getpid());
    }
}

Test(pid_file, that_was_replaced_stays) {
    const Directory directory;
    const std::string path = directory.path / "pid";
    {
        const auto file = PidFile::claim(path);
        std::filesystem::remove(path);
        std::ofstream(path) << "another one's\n";
    }
    cr_assert(std::filesystem::exists(path));
}

Test(pid_file, says_what_is_in_its_way) {
    const Directory directory;
    const auto complaint = [](const std::string& path) { return PidFile::claim(path).error().text; };
    cr_assert(complaint(directory.path / "none" / "pid").find("cannot open the pid file") !=
              std::string::npos);
    std::filesystem::create_symlink("/etc/passwd", directory.path / "link");
    cr_assert(complaint(directory.path / "link").find("cannot open") != std::string::npos);
    cr_assert_eq(mkfifo((directory.path / "fifo").c_str(), 0600), 0);
    cr_assert(complaint(directory.path / "fifo").find("is no file") != std::string::npos);
    std::filesystem::create_directory(directory.path / "directory");
    cr_assert(!PidFile::claim(directory.path / "directory").has_value());
}

// Many processes want it at once, and those who have it end at once: there is never a second one.
Test(pid_file, has_one_owner_at_any_moment, .timeout = 60) {
    constexpr int k_processes = 8, k_turns = 200;
    const Directory directory;
    const std::string path = directory.path / "pid", witness = directory.path / "witness";
    std::ofstream{witness};
    std::array<pid_t, k_processes> children{};
    for (pid_t& child : children) {
        child = fork();
        if (child != 0) continue;
        int owned = 0;
        for (int turn = 0; turn < k_turns; ++turn) {
            const auto file = PidFile::claim(path);
            if (!file) continue;
            ++owned;
            const UniqueFd alone{open(witness.c_str(), O_RDONLY)};
            if (flock(alone.get(), LOCK_EX | LOCK_NB) < 0) _exit(1);
            if (turn % 3 == 0) usleep(50);
        }
        _exit(owned > 0 ? 0 : 2);
    }
    int owners = 0;
    for (const pid_t child : children) {
        int status = 0;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) != 1, "two had it");
        owners += WEXITSTATUS(status) == 0 ? 1 : 0;
    }
    cr_assert_gt(owners, 0);
}

namespace {

// Starts a daemon in a process of its own; how that ended.
template <class Daemon>
int start(Daemon daemon) {
    const pid_t child = fork();
    if (child == 0) _exit(daemon());
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

Test(background, the_command_ends_when_the_daemon_serves) {
    const Directory directory;
    const std::string path = directory.path / "pid";
    const int status = start([&] {
        auto background = Background::begin({.daemon = true, .pid_file = {}}, path);
        if (!background) return 1;
        cr_assert(spawn::notify("READY=1\nSTATUS=x").has_value());
        for (;;) pause();
    });
    cr_assert_eq(status, 0);
    const auto pid = static_cast<pid_t>(number_in(path));
    cr_assert_gt(pid, 0);
    cr_assert_eq(getsid(pid) == getsid(0), 0, "a session of its own");
    cr_assert_neq(getsid(pid), pid, "and no leader of it");
    for (const char* fd : {"0", "1", "2"})
        cr_assert_eq(std::filesystem::read_symlink(fmt::format("/proc/{}/fd/{}", pid, fd)), "/dev/null");
    // A second one says who is there, and has its status.
    cr_assert_eq(start([&] {
                     auto background = Background::begin({.daemon = true, .pid_file = path}, "");
                     return background ? 0 : spawn::complain(background.error(), spawn::k_exit_system);
                 }),
                 spawn::k_exit_unavailable);
    cr_assert_eq(kill(pid, SIGKILL), 0);
}

Test(background, a_daemon_that_does_not_serve_says_why) {
    const Directory directory;
    for (const int wanted : {78, 71, 0}) {
        const int status = start([&] {
            auto background = Background::begin({.daemon = true, .pid_file = directory.path / "pid"}, "");
            return background ? background->end(wanted) : 1;
        });
        cr_assert_eq(status, wanted == 0 ? spawn::k_exit_system : wanted);
    }
    cr_assert_eq(start([&]() -> int {
                     auto background = Background::begin({.daemon = true, .pid_file = {}}, "");
                     static_cast<void>(background);
                     abort();
                 }),
                 spawn::k_exit_system, "nor one that dies");
}
