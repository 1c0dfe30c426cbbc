// SPDX-License-Identifier: LGPL-2.1-or-later
// loop - what the loop on libevent leaves behind in the kernel.
#include "libshared/loop/loop.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "libshared/base/fd.h"

using namespace virtgate;

namespace {

// How many descriptors the kernel watches for the epoll descriptors of this process.
int count_watched() {
    int watched = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        if (std::filesystem::read_symlink(entry.path(), gone) != "anon_inode:[eventpoll]") continue;
        std::ifstream info("/proc/self/fdinfo/" + entry.path().filename().string());
        for (std::string line; std::getline(info, line);) watched += line.starts_with("tfd:") ? 1 : 0;
    }
    return watched;
}

// Gives a watched socket up as soon as something arrives, while somebody else still has it.
struct Reader {
    loop::Loop& loop;
    UniqueFd socket;
    std::unique_ptr<loop::Watch> watch;

    void take(loop::Want) noexcept {
        watch.reset();
        socket = UniqueFd{};
        loop.stop();
    }
};

}  // namespace

Test(loop, forgets_a_socket_that_others_still_have) {
    const auto loop = loop::make_event_loop();
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    const UniqueFd peer{ends[1]}, others{dup(ends[0])};
    Reader reader{*loop, UniqueFd{ends[0]}, nullptr};
    const int before = count_watched();
    reader.watch = loop->watch(reader.socket.get(), loop::Want::read, loop::to<&Reader::take>(reader));
    cr_assert_eq(write(peer.get(), "x", 1), 1);
    loop->run();
    // Once more around, so that whatever was put off is done.
    const auto timer = loop->timer(loop::to<&loop::Loop::stop>(*loop));
    timer->start(Milliseconds{1});
    loop->run();
    cr_assert_eq(count_watched(), before, "the kernel still watches what was given up");
}

// A captured process may pass on what it likes.
Test(loop, never_hears_of_a_file) {
    const auto loop = loop::make_event_loop();
    Reader reader{*loop, UniqueFd{open("/dev/null", O_RDWR | O_CLOEXEC)}, nullptr};
    cr_assert(static_cast<bool>(reader.socket));
    reader.watch = loop->watch(reader.socket.get(), loop::Want::both, loop::to<&Reader::take>(reader));
    const auto timer = loop->timer(loop::to<&loop::Loop::stop>(*loop));
    timer->start(Milliseconds{1});
    loop->run();
    cr_assert(static_cast<bool>(reader.socket), "it was never ready");
    reader.watch.reset();
}
