// SPDX-License-Identifier: LGPL-2.1-or-later
// up_fd_store - "virtgate up" in systemd's place: what it keeps for a daemon, and what it believes of a notice.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "ctl/up/fd_store.h"
#include "ctl/up/notify.h"
#include "libshared/spawn/notify.h"

using namespace virtgate;
using namespace virtgate::ctl::up;

namespace {

UniqueFd make_file() { return UniqueFd{memfd_create("kept", MFD_CLOEXEC)}; }
UniqueFd copy_of(const UniqueFd& fd) { return UniqueFd{fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)}; }

struct Socket {
    Socket() {
        cr_assert_not_null(mkdtemp(directory));
        const std::string path = std::string(directory) + "/notify";
        auto made = NotifySocket::make(path);
        cr_assert(made.has_value());
        notices = std::make_unique<NotifySocket>(std::move(*made));
        setenv("NOTIFY_SOCKET", path.c_str(), 1);
        auto socket = spawn::connect_notify();
        cr_assert(socket.has_value());
        daemon = std::move(*socket);
    }
    ~Socket() {
        notices.reset();
        rmdir(directory);
    }
    char directory[32] = "/tmp/virtgate-up-XXXXXX";
    std::unique_ptr<NotifySocket> notices;
    UniqueFd daemon;  // a daemon's end
};

}  // namespace

Test(fd_store, keeps_by_name) {
    FdStore store;
    const UniqueFd one = make_file();
    cr_assert(store.keep("A", copy_of(one)));
    cr_assert(store.keep("A", copy_of(one)), "what is there already is no failure");
    cr_assert_eq(store.count(), 1);
    cr_assert(store.keep("B", copy_of(one)));
    cr_assert(store.keep("A", make_file()));
    cr_assert_eq(store.count(), 3);
    const auto list = store.list();
    cr_assert_eq(list.size(), 3);
    cr_assert(list[0].name == "A" && list[1].name == "A" && list[2].name == "B");
    for (const auto& each : list) cr_assert_geq(fcntl(each.fd, F_GETFD), 0);
    store.remove("A");
    store.remove("never was");
    cr_assert_eq(store.count(), 1);
    cr_assert_lt(fcntl(list[0].fd, F_GETFD), 0, "it is still open");
    store.clear();
    cr_assert_eq(store.count(), 0);
}

// A colon would make two names of one in LISTEN_FDNAMES, a newline another variable's worth of trouble.
Test(fd_store, refuses_what_is_no_name) {
    FdStore store;
    for (const std::string& name : {std::string(), std::string("A:B"), std::string("A B"),
                                    std::string("A\nB"), std::string("\x7f"), std::string(256, 'A')})
        cr_assert(!store.keep(name, make_file()), "%s", name.c_str());
    cr_assert(store.keep(std::string(255, 'A'), make_file()));
}

Test(fd_store, is_bounded) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    FdStore store;
    std::size_t count = 0;
    // One name for each: the same file under one name is kept once.
    const UniqueFd file = make_file();
    for (;; ++count) {
        UniqueFd fd = copy_of(file);
        if (!fd) return cr_skip_test("this system does not allow as many descriptors");
        if (!store.keep(std::to_string(count), std::move(fd))) break;
    }
    cr_assert_eq(count, FdStore::k_fds_max);
}

Test(notices, say_what_to_keep) {
    const Notice stores = parse_notice("FDSTORE=1\nFDNAME=3F\nFDPOLL=0");
    cr_assert(stores.stores && !stores.removes && !stores.ready && stores.name == "3F");
    const Notice removes = parse_notice("FDSTOREREMOVE=1\nFDNAME=3F");
    cr_assert(removes.removes && !removes.stores);
    cr_assert_eq(parse_notice("FDSTORE=1").name, "stored");
    cr_assert(!parse_notice("FDSTORE=0\nFDSTOREREMOVE=yes").stores);
}

Test(notices, bring_their_descriptor) {
    Socket socket;
    const UniqueFd file = make_file();
    cr_assert(*spawn::send_notice(socket.daemon.get(), "FDSTORE=1\nFDNAME=A", file.get()));
    const auto notice = socket.notices->receive();
    cr_assert(notice && notice->stores && notice->name == "A" && notice->pid == getpid() && notice->fd);
    // A barrier is answered as soon as its notice has been looked at.
    const auto barrier = spawn::ask_barrier(socket.daemon.get());
    cr_assert(barrier.has_value() && *barrier);
    char byte = 0;
    cr_assert_lt(read(barrier->get(), &byte, 1), 0);
    static_cast<void>(socket.notices->receive());
    cr_assert_eq(read(barrier->get(), &byte, 1), 0);
}

Test(notices, with_two_descriptors_are_dropped_and_both_closed) {
    Socket socket;
    int ends[2];
    cr_assert_eq(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    const int sent[2] = {ends[1], ends[1]};
    char text[] = "FDSTORE=1\nFDNAME=A";
    iovec part{text, sizeof text - 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof sent)];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof sent);
    std::memcpy(CMSG_DATA(head), sent, sizeof sent);
    cr_assert_gt(sendmsg(socket.daemon.get(), &message, 0), 0);
    close(ends[1]);
    cr_assert(!socket.notices->receive());
    char byte = 0;
    cr_assert_eq(read(ends[0], &byte, 1), 0, "a descriptor is left over");
    close(ends[0]);
}
