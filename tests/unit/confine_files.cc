// SPDX-License-Identifier: LGPL-2.1-or-later
// confine_files - Landlock: what can be named, and who can be reached, from the inside.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "libshared/base/fd.h"
#include "libshared/confine/landlock.h"
#include "libshared/confine/privileges.h"
#include "tests/unit/confine_rig.h"

using namespace virtgate;
using namespace virtgate::confine;
using namespace virtgate::confine_test;

namespace {

// A directory with inside/file, inside/other/ and outside/file; gone at the end.
class Tree {
public:
    Tree() {
        char name[] = "/tmp/confine-XXXXXX";
        cr_assert_neq(mkdtemp(name), nullptr);
        top_ = name;
        for (const char* one : {"/inside", "/inside/other", "/outside"})
            cr_assert_eq(mkdir((top_ + one).c_str(), 0755), 0);
        for (const char* one : {"/inside/file", "/outside/file"}) {
            const UniqueFd file{open((top_ + one).c_str(), O_CREAT | O_RDWR, 0644)};
            cr_assert_eq(write(file.get(), "text", 4), 4);
        }
    }
    Tree(const Tree&) = delete;
    Tree& operator=(const Tree&) = delete;
    ~Tree() {
        std::error_code ignored;
        std::filesystem::remove_all(top_, ignored);
    }
    [[nodiscard]] std::string at(const char* name) const { return top_ + name; }

private:
    std::string top_;
};

int kernel_abi() {
    const auto abi = find_landlock_abi();
    cr_assert(abi.has_value(), "%s", abi ? "" : abi.error().text.c_str());
    return *abi;
}

// Runs `body` with and without Landlock.
Ending attempt(bool with, const LandlockRules& rules, const std::function<int()>& body) {
    return in_child([&] {
        auto report = modest();
        if (with) {
            must(forbid_new_privileges(report));
            must(restrict_paths(rules, report));
            if (!report.complete(Layer::files) && kernel_abi() >= 3) return k_wrong;
        }
        return body();
    });
}

int try_open(const std::string& path, int flags) {
    const UniqueFd file{open(path.c_str(), flags | O_CLOEXEC, 0644)};
    return file ? 0 : errno;
}

int try_connect(int family, const void* address, socklen_t size) {
    const UniqueFd socket_fd{socket(family, SOCK_STREAM, 0)};
    if (!socket_fd) return k_wrong;
    return errno_of(connect(socket_fd.get(), static_cast<const sockaddr*>(address), size));
}

sockaddr_un unix_address(const std::string& name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    return address;
}

void* idle(void*) {
    pause();
    return nullptr;
}

}  // namespace

#define need_abi(abi)                                                                    \
    do {                                                                                 \
        if (kernel_abi() < (abi))                                                        \
            cr_skip_test("takes Landlock ABI %d, the kernel has %d", abi, kernel_abi()); \
    } while (0)

Test(landlock, asks_for_what_each_abi_knows) {
    const LandlockRules none;
    cr_assert(mask_for(0, none) == LandlockMask{});
    constexpr std::uint64_t k_one = (1U << 13U) - 1;
    const LandlockMask wanted[] = {
        {k_one, 0, 0},           {(1U << 14U) - 1, 0, 0}, {(1U << 15U) - 1, 0, 0}, {(1U << 15U) - 1, 3, 0},
        {(1U << 16U) - 1, 3, 0}, {(1U << 16U) - 1, 3, 3}, {(1U << 16U) - 1, 3, 3},
    };
    for (int abi = 1; abi <= 7; ++abi) cr_assert(mask_for(abi, none) == wanted[abi - 1], "ABI %d", abi);
    LandlockRules some;
    some.tcp = some.signals = true;
    cr_assert(mask_for(7, some) == (LandlockMask{(1U << 16U) - 1, 0, 1}));
    some.abstract_sockets = true;
    cr_assert(mask_for(7, some) == (LandlockMask{(1U << 16U) - 1, 0, 0}));
}

Test(landlock, without_rules_nothing_can_be_named) {
    need_abi(1);
    const Tree tree;
    const std::pair<std::string, int> rows[] = {
        {tree.at("/inside/file"), O_RDONLY},
        {tree.at("/inside"), O_RDONLY | O_DIRECTORY},
        {tree.at("/new"), O_CREAT | O_WRONLY},
        {"/proc/self/mem", O_RDWR},
        {"/dev/null", O_RDWR},
    };
    for (const auto& row : rows) {
        const auto look = [&] { return try_open(row.first, row.second); };
        expect_ending(attempt(false, {}, look), 0);
        unlink(tree.at("/new").c_str());
        expect_ending(attempt(true, {}, look), EACCES);
    }
    const auto execute = [] {
        execl("/bin/true", "true", nullptr);
        return errno;
    };
    expect_ending(attempt(false, {}, execute), 0);
    expect_ending(attempt(true, {}, execute), EACCES);
}

Test(landlock, open_descriptors_keep_their_rights) {
    need_abi(1);
    const Tree tree;
    const UniqueFd file{open(tree.at("/inside/file").c_str(), O_RDONLY)};
    expect_ending(attempt(true, {},
                          [&] {
                              char byte = 0;
                              return errno_of(read(file.get(), &byte, 1));
                          }),
                  0);
}

Test(landlock, paths_to_read_are_read_and_no_more) {
    need_abi(1);
    const Tree tree;
    LandlockRules rules;
    rules.paths = {{tree.at("/inside"), PathAccess::read}};
    const auto open_with = [&](bool with, const char* name, int flags) {
        return attempt(with, rules, [&, name, flags] { return try_open(tree.at(name), flags); });
    };
    expect_ending(open_with(true, "/inside/file", O_RDONLY), 0);
    expect_ending(open_with(true, "/inside/other", O_RDONLY | O_DIRECTORY), 0);
    for (const auto& [name, flags] :
         std::vector<std::pair<const char*, int>>{{"/outside/file", O_RDONLY},
                                                  {"/inside/file", O_WRONLY},
                                                  {"/inside/../outside/file", O_RDONLY},
                                                  {"/inside/new", O_CREAT | O_WRONLY}}) {
        expect_ending(open_with(false, name, flags), 0);
        unlink(tree.at("/inside/new").c_str());
        expect_ending(open_with(true, name, flags), EACCES);
    }
    // A rule about one file says nothing of its neighbours.
    rules.paths = {{tree.at("/inside/file"), PathAccess::read}};
    expect_ending(open_with(true, "/inside/file", O_RDONLY), 0);
    expect_ending(open_with(true, "/outside/file", O_RDONLY), EACCES);
    expect_ending(open_with(true, "/inside", O_RDONLY | O_DIRECTORY), EACCES);
}

Test(landlock, paths_to_create_in_take_regular_files_only) {
    need_abi(1);
    const Tree tree;
    LandlockRules rules;
    rules.paths = {{tree.at("/inside"), PathAccess::create}};
    const std::string fresh = tree.at("/inside/new");
    const auto go = [&](bool with, const std::function<int()>& body) {
        const auto ending = attempt(with, rules, body);
        std::error_code ignored;
        std::filesystem::remove_all(fresh, ignored);
        return ending;
    };
    expect_ending(go(true, [&] { return try_open(fresh, O_CREAT | O_RDWR | O_TRUNC); }), 0);
    expect_ending(
        go(true, [&] { return try_open(fresh, O_CREAT | O_RDWR) + errno_of(unlink(fresh.c_str())); }), 0);
    const std::function<int()> refused[] = {
        [&] { return try_open(tree.at("/outside/new"), O_CREAT | O_WRONLY); },
        [&] { return errno_of(mkdir(fresh.c_str(), 0755)); },
        [&] { return errno_of(symlink("/etc/passwd", fresh.c_str())); },
        [&] { return errno_of(mkfifo(fresh.c_str(), 0644)); },
    };
    for (const auto& body : refused) {
        expect_ending(go(false, body), 0);
        unlink(tree.at("/outside/new").c_str());
        expect_ending(go(true, body), EACCES);
    }
    // What is there is written, and nothing new is made.
    rules.paths = {{tree.at("/inside"), PathAccess::write}};
    expect_ending(go(true, [&] { return try_open(tree.at("/inside/file"), O_RDWR); }), 0);
    expect_ending(go(true, [&] { return try_open(fresh, O_CREAT | O_RDWR); }), EACCES);
}

Test(landlock, execution_is_a_right_of_its_own) {
    need_abi(1);
    LandlockRules rules;
    const auto execute = [] {
        execl("/bin/true", "true", nullptr);
        return errno;
    };
    rules.paths = {{"/", PathAccess::read}};
    expect_ending(attempt(true, rules, execute), EACCES);
    rules.paths = {{"/", PathAccess::execute}};
    expect_ending(attempt(true, rules, execute), 0);
}

Test(landlock, truncating_is_writing) {
    need_abi(3);
    const Tree tree;
    LandlockRules rules;
    rules.paths = {{tree.at("/inside"), PathAccess::read}};
    const auto cut = [&] { return errno_of(truncate(tree.at("/inside/file").c_str(), 0)); };
    expect_ending(attempt(false, rules, cut), 0);
    expect_ending(attempt(true, rules, cut), EACCES);
}

Test(landlock, tcp_is_refused_unless_left) {
    need_abi(4);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const UniqueFd listener{socket(AF_INET, SOCK_STREAM, 0)};
    cr_assert_eq(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    cr_assert_eq(listen(listener.get(), 8), 0);
    socklen_t size = sizeof address;
    cr_assert_eq(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    const auto reach = [&] { return try_connect(AF_INET, &address, sizeof address); };
    const auto offer = [&] {
        sockaddr_in any{};
        any.sin_family = AF_INET;
        const UniqueFd socket_fd{socket(AF_INET, SOCK_STREAM, 0)};
        return errno_of(bind(socket_fd.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any));
    };
    LandlockRules rules;
    rules.tcp = true;
    for (const std::function<int()>& body : {std::function<int()>(reach), std::function<int()>(offer)}) {
        expect_ending(attempt(false, {}, body), 0);
        expect_ending(attempt(true, {}, body), EACCES);
        expect_ending(attempt(true, rules, body), 0);
    }
}

Test(landlock, signals_and_abstract_sockets_end_at_the_border) {
    need_abi(6);
    const std::string name = std::string(1, '\0') + "confine-" + std::to_string(getpid());
    const auto address = unix_address(name);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    const UniqueFd listener{socket(AF_UNIX, SOCK_STREAM, 0)};
    cr_assert_eq(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    cr_assert_eq(listen(listener.get(), 8), 0);
    const auto signal_parent = [] { return errno_of(kill(getppid(), 0)); };
    const auto reach = [&] { return try_connect(AF_UNIX, &address, size); };
    LandlockRules rules;
    rules.signals = rules.abstract_sockets = true;
    for (const std::function<int()>& body :
         {std::function<int()>(signal_parent), std::function<int()>(reach)}) {
        expect_ending(attempt(false, {}, body), 0);
        expect_ending(attempt(true, {}, body), EPERM);
        expect_ending(attempt(true, rules, body), 0);
    }
}

// This is what Landlock does not do, up to ABI 7. When this fails, the kernel has learned it: landlock.h says
// so, and who relies on not having socket(2) may gain a second layer.
Test(landlock, sockets_with_a_path_are_not_covered) {
    need_abi(1);
    if (kernel_abi() > 7) cr_skip_test("only measured up to ABI 7");
    const Tree tree;
    const auto address = unix_address(tree.at("/outside/socket"));
    const UniqueFd listener{socket(AF_UNIX, SOCK_STREAM, 0)};
    cr_assert_eq(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    cr_assert_eq(listen(listener.get(), 8), 0);
    expect_ending(attempt(true, {}, [&] { return try_connect(AF_UNIX, &address, sizeof address); }), 0);
}

Test(landlock, fails_closed) {
    need_abi(1);
    const auto restrict_with = [](const LandlockRules& rules, bool privileges, bool thread) {
        return in_child([&] {
            become_nobody();
            auto report = modest();
            if (privileges) must(forbid_new_privileges(report));
            pthread_t other{};
            if (thread && pthread_create(&other, nullptr, idle, nullptr) != 0) return k_wrong;
            return restrict_paths(rules, report) ? 0 : 1;
        });
    };
    LandlockRules missing;
    missing.paths = {{"/nowhere/at/all", PathAccess::read}};
    expect_ending(restrict_with({}, true, false), 0);
    expect_ending(restrict_with(missing, true, false), 1);
    expect_ending(restrict_with({}, false, false), 1);  // without no_new_privs
    expect_ending(restrict_with({}, true, true), 1);
}
