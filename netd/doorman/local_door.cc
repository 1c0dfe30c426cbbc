// SPDX-License-Identifier: LGPL-2.1-or-later
// local_door - accept clients of the UNIX sockets, and read from the kernel who they are.
#include "netd/doorman/local_door.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "libshared/base/path_fault.h"
#include "libshared/base/process.h"

// Since Linux 6.5; the C library of some distributions does not know it.
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace virtgate::netd::doorman {

using loop::Want;

namespace {

constexpr int k_accepts_per_turn = 16;
constexpr Milliseconds k_pause{100};

// The start time of the peer's process, if it is certain that the number still means that process.
std::uint64_t start_time_of_peer(int socket, pid_t pid) noexcept {
    int process = -1;
    socklen_t size = sizeof process;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &process, &size) != 0) return 0;
    const UniqueFd pidfd{process};
    const std::uint64_t ticks = read_start_time(pid);
    pollfd ended{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
    return poll(&ended, 1, 0) == 0 ? ticks : 0;
}

}  // namespace

Result<proto::who::LocalFacts> read_peer(int socket) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return system_fault(errno, "the kernel does not say who connected");
    proto::who::LocalFacts facts{.uid = peer.uid,
                                 .gid = peer.gid,
                                 .groups = {},
                                 .pid = static_cast<std::uint32_t>(peer.pid),
                                 .start_time = 0};
    std::array<gid_t, proto::who::k_local_groups_max> groups;
    size = sizeof groups;
    // Who is in more groups than that has none here: a part of them would be a guess.
    if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) == 0)
        facts.groups.assign(groups.data(), groups.data() + size / sizeof(gid_t));
    facts.start_time = start_time_of_peer(socket, peer.pid);
    return facts;
}

LocalDoor::LocalDoor(loop::Loop& loop, UniqueFd listener, UniqueFd read_only_listener, OnClient on_client)
    : listener_(std::move(listener)),
      read_only_listener_(std::move(read_only_listener)),
      on_client_(on_client),
      again_(loop.timer(loop::to<&LocalDoor::on_again>(*this))) {
    if (listener_)
        watch_ = loop.watch(listener_.get(), Want::nothing, loop::to<&LocalDoor::on_listener>(*this));
    if (read_only_listener_)
        read_only_watch_ = loop.watch(read_only_listener_.get(), Want::nothing,
                                      loop::to<&LocalDoor::on_read_only_listener>(*this));
}

void LocalDoor::watch(Want want) noexcept {
    if (watch_) watch_->set(want);
    if (read_only_watch_) read_only_watch_->set(want);
}

void LocalDoor::close() noexcept {
    watch_.reset();
    read_only_watch_.reset();
    listener_.reset();
    read_only_listener_.reset();
}

void LocalDoor::on_again() noexcept { open(); }

void LocalDoor::accept_from(int listener, bool read_only) noexcept {
    for (int i = 0; i < k_accepts_per_turn; ++i) {
        UniqueFd connection{accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
        if (!connection) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                if (const int number = errno; starved_.next())
                    log_.error("cannot accept local clients, {} times so far: {}{}", starved_.count(),
                               std::strerror(number), advice_for(number));
                watch(Want::nothing);
                again_->start(k_pause);
            }
            return;
        }
        auto facts = read_peer(connection.get());
        if (!facts) {
            log_.error("{}", facts.error().text);
            continue;
        }
        LocalClient client;
        client.name = fmt::format("uid {} pid {}", facts->uid, facts->pid);
        client.who.local = std::move(*facts);
        client.who.listener = read_only ? "unix-ro" : "unix";
        client.who.read_only = read_only;
        client.connection = std::move(connection);
        on_client_(client);
    }
}

}  // namespace virtgate::netd::doorman
