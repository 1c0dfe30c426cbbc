// SPDX-License-Identifier: LGPL-2.1-or-later
// daemon - one of our daemons, asked by an administrator: one call after the other, each waits for its answer.
#include "ctl/admin/daemon.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "libshared/base/path_fault.h"
#include "libshared/rpc/error.h"

namespace virtgate::ctl::admin {

namespace control = proto::control;
namespace sessions = proto::sessions;

namespace {

// A daemon that never comes to an end with its list is not believed for ever.
constexpr std::size_t k_rows_max = 500'000;

}  // namespace

Result<Daemon> Daemon::open(const std::string& path, int type, const std::string& name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return system_fault(ENAMETOOLONG, fmt::format("no socket can be called {}", path));
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd socket{::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)};
    if (!socket) return system_fault(errno, "cannot make a socket");
    const timeval patience{.tv_sec = k_patience, .tv_usec = 0};
    for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO})
        static_cast<void>(setsockopt(socket.get(), SOL_SOCKET, option, &patience, sizeof patience));
    if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
        const int error = errno;
        if (error == ENOENT || error == ECONNREFUSED)
            return system_fault(
                ECONNREFUSED,
                fmt::format("{} does not run, or not with that socket (nobody listens at {})", name, path));
        return path_fault(error, fmt::format("cannot reach {} at", name), path);
    }
    return Daemon(std::move(socket), path, name);
}

rpc::Header Daemon::header_of(control::Procedure procedure) noexcept {
    return rpc::make_call(control::k_program, control::k_version, procedure, ++serial_);
}

rpc::Header Daemon::header_of(sessions::Procedure procedure) noexcept {
    return rpc::make_call(sessions::k_program, sessions::k_version, procedure, ++serial_);
}

// One frame. There is never more: nobody says anything that was not asked.
Result<ByteVector> Daemon::receive() {
    constexpr std::size_t k_piece = 65'536;
    ByteVector frame;
    for (std::size_t size = rpc::k_frame_min; frame.size() < size;) {
        const std::size_t had = frame.size();
        frame.resize(had + k_piece);
        const ssize_t n = recv(socket_.get(), frame.data() + had, k_piece, 0);
        const int error = errno;
        frame.resize(had + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
        if (n < 0 && error == EINTR) continue;
        if (n < 0 && error == EAGAIN)
            return system_fault(0, fmt::format("{} at {} does not answer", name_, path_));
        if (n < 0 && error != ECONNRESET)
            return system_fault(error, fmt::format("cannot read from {} at {}", name_, path_));
        if (n <= 0)
            return system_fault(0,
                                fmt::format("{} at {} closed the connection: only root and the daemon's own "
                                            "user may administer",
                                            name_, path_));
        if (frame.size() >= rpc::k_frame_min) size = load_be32(frame.data());
        if (size < rpc::k_frame_min || size > k_answer_max)
            return system_fault(0, fmt::format("what answers at {} is not {}", path_, name_));
    }
    return frame;
}

Result<ByteVector> Daemon::exchange(const rpc::Header& header, ByteView payload) {
    const ByteVector frame = rpc::make_frame(header, payload);
    for (std::size_t sent = 0; sent < frame.size();) {
        const ssize_t n = send(socket_.get(), frame.data() + sent, frame.size() - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;  // whoever is not wanted was closed: receive() says so
        sent += static_cast<std::size_t>(n);
    }
    auto answer = receive();
    if (!answer) return answer;
    const rpc::Header reply = rpc::read_header(answer->data());
    if (reply.program != header.program || reply.serial != header.serial || reply.type != rpc::Type::reply)
        return system_fault(0, fmt::format("what answers at {} is not {}", path_, name_));
    answer->erase(answer->begin(), answer->begin() + rpc::k_frame_min);
    if (reply.status == rpc::Status::ok) return answer;
    const std::string text = escape(rpc::read_error_text(*answer), 4096);
    if (rpc::read_error_code(*answer) == rpc::k_code_rpc)
        return system_fault(0, fmt::format("what answers at {} cannot be administered: {}", path_, text));
    return peer_fault(text);
}

Result<std::vector<control::Connection>> list_connections(Daemon& steward) {
    std::vector<control::Connection> all;
    for (std::uint64_t after = 0; all.size() < k_rows_max;) {
        auto page = steward.ask<control::ConnectionsRet>(control::Procedure::connections,
                                                         control::ConnectionsArgs{.after = after});
        if (!page) return tl::unexpected(std::move(page.error()));
        std::move(page->connections.begin(), page->connections.end(), std::back_inserter(all));
        if (page->next <= after) break;
        after = page->next;
    }
    return all;
}

Result<std::vector<sessions::ListedSession>> list_sessions(Daemon& broker) {
    std::vector<sessions::ListedSession> all;
    for (std::uint64_t after = 0; all.size() < k_rows_max; after = all.back().session) {
        auto page = broker.ask<sessions::SessionsRet>(sessions::Procedure::list,
                                                      sessions::SessionsArgs{.after = after});
        if (!page) return tl::unexpected(std::move(page.error()));
        const bool is_last = page->last || page->sessions.empty();
        std::move(page->sessions.begin(), page->sessions.end(), std::back_inserter(all));
        if (is_last) break;
    }
    return all;
}

Result<std::vector<sessions::ListedWorker>> list_workers(Daemon& broker) {
    std::vector<sessions::ListedWorker> all;
    for (std::string after; all.size() < k_rows_max; after = all.back().identity) {
        auto page = broker.ask<sessions::WorkersRet>(sessions::Procedure::workers,
                                                     sessions::WorkersArgs{.after = after});
        if (!page) return tl::unexpected(std::move(page.error()));
        const bool is_last = page->last || page->workers.empty();
        std::move(page->workers.begin(), page->workers.end(), std::back_inserter(all));
        if (is_last) break;
    }
    return all;
}

}  // namespace virtgate::ctl::admin
