// SPDX-License-Identifier: LGPL-2.1-or-later
// journal - the socket of systemd's journal.
#include "workerd/auditor/journal.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "workerd/auditor/journal_entry.h"

namespace virtgate::workerd::auditor {

Journal::Journal(std::string path) : path_(std::move(path)), name_("the journal at " + path_) {}

Done Journal::put(const Record& record) { return send_entry(to_journal_entry(record)); }

Done Journal::reopen() {
    socket_.reset();
    return {};
}

Done Journal::open() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path_.size() >= sizeof address.sun_path)
        return system_fault(ENAMETOOLONG, "no socket has such a name");
    std::memcpy(address.sun_path, path_.data(), path_.size());
    UniqueFd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!socket) return system_fault(errno, "cannot make a socket");
    if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return system_fault(errno, "there is no journal");
    socket_ = std::move(socket);
    return {};
}

// The result is an errno. With a `file` nothing else is in the datagram.
int Journal::send_bytes(std::string_view entry, int file) noexcept {
    // sendmsg() does not write through this pointer.
    iovec part{const_cast<char*>(entry.data()), entry.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    if (file < 0) {
        message.msg_iov = &part;
        message.msg_iovlen = 1;
    } else {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof file);
        std::memcpy(CMSG_DATA(head), &file, sizeof file);
    }
    while (sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        if (errno != EINTR) return errno;
    return 0;
}

Done Journal::send_entry(std::string_view entry) {
    // A journal that was started again has another socket: the second turn finds it.
    for (int turn = 0;; ++turn) {
        if (!socket_)
            if (Done done = open(); !done) return done;
        int number = send_bytes(entry, -1);
        if (number == EMSGSIZE || number == ENOBUFS) {
            const auto file = make_sealed_memfd("virtgate-record", entry.data(), entry.size());
            if (!file) return tl::unexpected(file.error());
            number = send_bytes({}, file->get());
        }
        if (number == 0) return {};
        if (number == EAGAIN) return system_fault(number, "the journal does not keep up");
        socket_.reset();
        if (turn == 1) return system_fault(number, "the journal is gone");
    }
}

}  // namespace virtgate::workerd::auditor
