// SPDX-License-Identifier: LGPL-2.1-or-later
// passwd - the commands of "virtgate passwd", on a file in a directory of the test's own.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pty.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "ctl/passwd/command.h"
#include "ctl/passwd/listing.h"
#include "ctl/passwd/prompt.h"
#include "ctl/passwd/store.h"

using namespace virtgate;
using namespace virtgate::ctl::passwd;

namespace {

struct Outcome {
    int status = -1;
    std::string out, errors;
};

// A directory, and what can be done with a file of users in it.
struct Stage {
    Stage() {
        std::string name = "/tmp/virtgate-test-passwd-XXXXXX";
        cr_assert_not_null(mkdtemp(name.data()));
        directory = name;
        file = directory + "/users";
    }
    ~Stage() { std::filesystem::remove_all(directory); }

    // Runs the command in a process of its own, with `input` as standard input.
    [[nodiscard]] Outcome run(std::vector<std::string> words, const std::string& input = "") const {
        words.insert(words.begin(), "passwd");
        words.insert(words.end(), {"--file", file});
        write(directory + "/in", input);
        const pid_t pid = fork();
        if (pid == 0) {
            redirect("/in", O_RDONLY, STDIN_FILENO);
            redirect("/out", O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
            redirect("/errors", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
            _exit(call(words));
        }
        int status = 0;
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        return {WEXITSTATUS(status), read(directory + "/out"), read(directory + "/errors")};
    }
    static int call(std::vector<std::string> words) {
        CLI::App app{"test", "virtgate"};
        const auto command = add_command(app);
        std::reverse(words.begin(), words.end());
        try {
            app.parse(words);
        } catch (const CLI::ParseError&) {
            return 64;
        }
        const int status = command->parsed() ? command->run() : 99;
        std::fflush(stdout);
        return status;
    }
    void redirect(const char* name, int flags, int to) const {
        const int fd = open((directory + name).c_str(), flags, 0600);
        if (fd < 0 || dup2(fd, to) < 0) _exit(98);
    }
    static void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
    static std::string read(const std::string& path) {
        std::ifstream in(path);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    [[nodiscard]] userdb::Users users() const {
        auto parsed = userdb::Users::parse(read(file));
        cr_assert(parsed.has_value(), "%s", read(file).c_str());
        return *parsed;
    }
    [[nodiscard]] bool is_password(const std::string& name, const std::string& password) const {
        const userdb::Users all = users();
        const userdb::User* user = all.find(name);
        return user != nullptr && *userdb::fits(user->verifiers.front(), password);
    }
    [[nodiscard]] struct stat status() const {
        struct stat found {};
        cr_assert_eq(stat(file.c_str(), &found), 0);
        return found;
    }

    std::string directory, file;
};

void expect(const Outcome& outcome, int status, const char* errors = "") {
    cr_expect_eq(outcome.status, status, "status %d: %s", outcome.status, outcome.errors.c_str());
    cr_expect(outcome.errors.find(errors) != std::string::npos, "\"%s\" without \"%s\"",
              outcome.errors.c_str(), errors);
}

}  // namespace

Test(passwd, sets_checks_lists_and_deletes) {
    const Stage stage;
    expect(stage.run({"set", "alice"}, "correct horse battery\n"), 0);
    expect(stage.run({"set", "bob", "--stdin"}, "staple without end"), 0);
    cr_expect(stage.is_password("alice", "correct horse battery"));
    cr_expect(stage.is_password("bob", "staple without end"));
    cr_expect_eq(stage.users().find("alice")->verifiers.size(), 2U);
    cr_expect_not(stage.users().find("alice")->digest.has_value());
    expect(stage.run({"check", "alice"}, "correct horse battery\n"), 0);
    expect(stage.run({"check", "alice"}, "correct horse battery \n"), 1);
    expect(stage.run({"check", "alcie"}, "x\n"), 1, "did you mean \"alice\"?");
    const Outcome list = stage.run({"list"});
    expect(list, 0);
    cr_expect(list.out.find("alice  2") != std::string::npos &&
              list.out.find("SCRAM-SHA-512") != std::string::npos);
    expect(stage.run({"delete", "alice"}), 0);
    expect(stage.run({"delete", "alice"}), 1, "there is no user \"alice\"");
    cr_expect_eq(stage.users().all().size(), 1U);
    // Nothing is left of the way there.
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(stage.directory))
        names.insert(entry.path().filename());
    const std::set<std::string> expected{"errors", "in", "out", "users"};
    cr_expect(names == expected);
}

Test(passwd, another_password_replaces_the_old_one) {
    const Stage stage;
    expect(
        stage.run({"set", "alice", "--digest-md5", "host.example.org", "--scram-sha-1"}, "first password\n"),
        0);
    const userdb::Users before = stage.users();
    cr_assert(before.find("alice")->digest.has_value());
    cr_expect_not_null(before.find("alice")->find(userdb::Hash::sha1));
    const Outcome second = stage.run({"set", "alice"}, "second password\n");
    expect(second, 0, "\"--digest-md5 host.example.org\" keeps that");
    expect(second, 0, "\"--scram-sha-1\" keeps that");
    const userdb::Users after = stage.users();
    cr_expect_not(after.find("alice")->digest.has_value(), "the old password still works with DIGEST-MD5");
    cr_expect_null(after.find("alice")->find(userdb::Hash::sha1));
    cr_expect(stage.is_password("alice", "second password"));
    cr_expect(before.preamble().key == after.preamble().key, "strangers' salts change");
}

Test(passwd, generates) {
    const Stage stage;
    const Outcome made = stage.run({"set", "alice", "--generate"});
    expect(made, 0);
    cr_assert_eq(made.out.size(), 25U);
    cr_expect(stage.is_password("alice", made.out.substr(0, 24)));
    std::set<std::string> all;
    for (int i = 0; i < 100; ++i) all.insert(generate());
    cr_expect_eq(all.size(), 100U);
    for (const std::string& one : all) {
        cr_expect_eq(one.size(), 24U);
        cr_expect(one[4] == '-' && one[19] == '-' && one.find_first_of("il1oO ") == std::string::npos);
    }
    expect(stage.run({"set", "alice", "--generate", "--stdin"}), 64);
}

Test(passwd, refuses_what_cannot_be) {
    const Stage stage;
    for (const char* name : {"", "a b", "-", "a:b", "\xc3\xa4"})
        expect(stage.run({"set", "--", name}, "x\n"), 64);
    expect(stage.run({"set", "alice"}, "\n"), 64, "cannot be empty");
    expect(stage.run({"set", "alice"}, ""), 71, "there is no password");
    expect(stage.run({"set", "alice"}, "bell\a\n"), 64, "control characters");
    expect(stage.run({"set", "alice"}, std::string(2000, 'x') + "\n"), 71, "at most 1024 bytes");
    expect(stage.run({"set", "alice", "--digest-md5", "two words"}, "password\n"), 64, "realm");
    cr_expect_not(std::filesystem::exists(stage.file), "something was made");
    expect(stage.run({"list"}), 66, "cannot read");
    expect(stage.run({"set", "alice"}, "short\n"), 0, "this password is short");
    expect(stage.run({"nonsense"}), 64);
    Stage::write(stage.file, "not ours\n");
    expect(stage.run({"set", "alice"}, "password\n"), 71, "line 1: this is no file of virtgate users");
    cr_expect(Stage::read(stage.file) == "not ours\n", "somebody else's file was changed");
}

Test(passwd, keeps_owner_group_and_mode) {
    const Stage stage;
    expect(stage.run({"set", "alice"}, "correct horse battery\n"), 0);
    cr_expect_eq(stage.status().st_mode & 0007U, 0U, "everybody may read a new file");
    cr_assert_eq(chmod(stage.file.c_str(), 0460), 0);
    const bool root = geteuid() == 0;
    if (root) cr_assert_eq(chown(stage.file.c_str(), 12345, 54321), 0);
    const struct stat before = stage.status();
    expect(stage.run({"set", "alice"}, "correct horse battery\n"), 0);
    const struct stat after = stage.status();
    cr_expect_neq(before.st_ino, after.st_ino, "changed in place");
    cr_expect_eq(after.st_mode & 07777U, 0460U);
    cr_expect_eq(after.st_uid, before.st_uid);
    cr_expect_eq(after.st_gid, before.st_gid);
}

Test(passwd, follows_a_link) {
    Stage stage;
    const std::string real = stage.directory + "/real";
    expect(stage.run({"set", "bob"}, "correct horse battery\n"), 0);
    std::filesystem::rename(stage.file, real);
    std::filesystem::create_symlink(real, stage.file);
    expect(stage.run({"set", "alice"}, "correct horse battery\n"), 0);
    cr_expect(std::filesystem::is_symlink(stage.file));
    cr_expect(std::filesystem::is_regular_file(real));
    cr_expect(stage.is_password("alice", "correct horse battery"));
}

Test(passwd, waits_for_whoever_changes_the_file) {
    const Stage stage;
    expect(stage.run({"set", "alice"}, "correct horse battery\n"), 0);
    const UniqueFd directory{open(stage.directory.c_str(), O_RDONLY | O_DIRECTORY)};
    cr_assert_eq(flock(directory.get(), LOCK_EX), 0);
    std::thread other([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        flock(directory.get(), LOCK_UN);
    });
    const auto start = std::chrono::steady_clock::now();
    expect(stage.run({"delete", "alice"}), 0);
    cr_expect(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(250), "it did not wait");
    other.join();
}

Test(passwd, twenty_at_a_time_lose_nothing) {
    const Stage stage;
    std::vector<pid_t> pids;
    for (int i = 0; i < 20; ++i) {
        const pid_t pid = fork();
        if (pid == 0) {
            stage.redirect("/out", O_WRONLY | O_CREAT, STDOUT_FILENO);
            stage.redirect("/out", O_WRONLY | O_CREAT, STDERR_FILENO);
            _exit(
                Stage::call({"passwd", "set", fmt::format("user{}", i), "--generate", "--file", stage.file}));
        }
        pids.push_back(pid);
    }
    for (const pid_t pid : pids) {
        int status = -1;
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_expect_eq(status, 0);
    }
    cr_expect_eq(stage.users().all().size(), 20U);
}

Test(passwd, json) {
    const Stage stage;
    expect(stage.run({"set", "alice", "--digest-md5", "R"}, "correct horse battery\n"), 0);
    const Outcome list = stage.run({"list", "--json"});
    const auto json = nlohmann::json::parse(list.out);
    const auto& alice = json.at("users").at(0);
    cr_expect(alice.at("name") == "alice");
    cr_expect(alice.at("realm") == "R");
    cr_expect(alice.at("iterations") == userdb::k_iterations_default);
    const auto names = alice.at("mechanisms").get<std::vector<std::string>>();
    const std::vector<std::string> expected{"SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "DIGEST-MD5"};
    cr_expect(names == expected);
    cr_expect(list.out.find('$') == std::string::npos, "a verifier is shown");
}

namespace {

// A terminal with the command at the other side.
struct Terminal {
    Terminal(const Stage& stage, std::vector<std::string> words) {
        words.insert(words.begin(), "passwd");
        words.insert(words.end(), {"--file", stage.file});
        pid = forkpty(&fd, nullptr, nullptr, nullptr);
        if (pid == 0) _exit(Stage::call(words));
        cr_assert_gt(pid, 0);
    }
    // Waits until the screen shows `text`.
    void expect_text(const std::string& text) {
        char part[256];
        for (ssize_t n; screen.find(text) == std::string::npos && (n = read(fd, part, sizeof part)) > 0;)
            screen.append(part, static_cast<std::size_t>(n));
        cr_expect(screen.find(text) != std::string::npos, "\"%s\" without \"%s\"", screen.c_str(),
                  text.c_str());
    }
    void type(const std::string& text) const {
        cr_assert_eq(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    }
    [[nodiscard]] bool shows_typing() const {
        termios settings{};
        cr_assert_eq(tcgetattr(fd, &settings), 0);
        return (settings.c_lflag & ECHO) != 0;
    }
    int end() {
        char part[256];
        for (ssize_t n; (n = read(fd, part, sizeof part)) > 0;)
            screen.append(part, static_cast<std::size_t>(n));
        int status = -1;
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        close(fd);
        return status;
    }
    int fd = -1;
    pid_t pid = -1;
    std::string screen;
};

}  // namespace

Test(passwd, terminal_asks_twice_and_hides, .timeout = 20) {
    const Stage stage;
    Terminal good(stage, {"set", "alice"});
    good.expect_text("New password of alice: ");
    cr_expect_not(good.shows_typing());
    good.type("correct horse\n");
    good.expect_text("The same again: ");
    good.type("correct horse\n");
    cr_expect_eq(good.end(), 0);
    cr_expect(good.screen.find("correct") == std::string::npos, "the password is on the screen");
    cr_expect(good.screen.find("added alice") != std::string::npos);
    cr_expect(stage.is_password("alice", "correct horse"));

    Terminal differing(stage, {"set", "alice"});
    differing.expect_text("New password");
    differing.type("one password\n");
    differing.expect_text("The same again: ");
    differing.type("another password\n");
    cr_expect_eq(WEXITSTATUS(differing.end()), 64);
    cr_expect(stage.is_password("alice", "correct horse"), "the file was changed");
}

Test(passwd, terminal_is_as_before_after_a_signal, .timeout = 20) {
    const Stage stage;
    Terminal terminal(stage, {"set", "alice"});
    terminal.expect_text("New password");
    terminal.type("half a pass");
    cr_assert_eq(kill(terminal.pid, SIGTERM), 0);
    int status = -1;
    cr_assert_eq(waitpid(terminal.pid, &status, 0), terminal.pid);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    cr_expect(terminal.shows_typing(), "the terminal still hides what is typed");
    close(terminal.fd);
    cr_expect_not(std::filesystem::exists(stage.file));
}
