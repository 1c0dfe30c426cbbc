// SPDX-License-Identifier: LGPL-2.1-or-later
// link - the lock daemon, asked by an administrator.
#include "ctl/locks/link.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "libshared/base/path_fault.h"
#include "libshared/rpc/error.h"

namespace virtgate::ctl::locks {

namespace wire = proto::locks;

namespace {

tl::unexpected<Error> unreachable(int number, const std::string& path) {
    auto error = path_fault(number, "cannot reach the lock daemon at", path);
    // A socket that is not there is a daemon that does not run.
    if (number == ENOENT) error.value().number = ECONNREFUSED;
    return error;
}

}  // namespace

Result<Link> Link::open(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return system_fault(ENAMETOOLONG, fmt::format("no socket can be called {}", path));
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket) return system_fault(errno, "cannot make a socket");
    const timeval patience{.tv_sec = k_patience, .tv_usec = 0};
    for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO})
        static_cast<void>(setsockopt(socket.get(), SOL_SOCKET, option, &patience, sizeof patience));
    if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return unreachable(errno, path);
    return Link(std::move(socket), path);
}

Done Link::receive(MutableBytes bytes) {
    for (std::size_t size = 0; size < bytes.size();) {
        const ssize_t n = recv(socket_.get(), bytes.data() + size, bytes.size() - size, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN)
            return system_fault(0, fmt::format("the lock daemon at {} does not answer", path_));
        if (n < 0 && errno != ECONNRESET)
            return system_fault(errno, fmt::format("cannot read from the lock daemon at {}", path_));
        if (n <= 0)
            return system_fault(
                0, fmt::format("the lock daemon at {} closed the connection: only the users that "
                               "lockd.toml names may connect",
                               path_));
        size += static_cast<std::size_t>(n);
    }
    return {};
}

// The payload of the reply.
Result<ByteVector> Link::exchange(const rpc::Header& header, ByteView payload) {
    const ByteVector frame = rpc::make_frame(header, payload);
    for (std::size_t sent = 0; sent < frame.size();) {
        const ssize_t n = send(socket_.get(), frame.data() + sent, frame.size() - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        // Whoever is not wanted is closed at once; the reason is the same as if nothing can be read.
        if (n < 0) break;
        sent += static_cast<std::size_t>(n);
    }
    std::array<std::byte, rpc::k_frame_min> head{};
    if (Done done = receive(head); !done) return tl::unexpected(std::move(done.error()));
    const std::size_t size = load_be32(head.data());
    const rpc::Header reply = rpc::read_header(head.data());
    if (size < rpc::k_frame_min || size > k_answer_max || reply.program != header.program ||
        reply.serial != header.serial || reply.type != rpc::Type::reply)
        return system_fault(0, fmt::format("what answers at {} is no lock daemon of virtgate", path_));
    ByteVector answer(size - rpc::k_frame_min);
    if (Done done = receive(answer); !done) return tl::unexpected(std::move(done.error()));
    if (reply.status == rpc::Status::ok) return answer;
    if (rpc::read_error_code(answer) == rpc::k_code_rpc)
        return system_fault(0, fmt::format("what answers at {} cannot list locks: {}", path_,
                                           escape(rpc::read_error_text(answer))));
    return peer_fault(escape(rpc::read_error_text(answer), 4096));
}

template <class Ret, class Arguments>
Result<Ret> Link::ask(wire::Procedure procedure, const Arguments& arguments) {
    const auto payload = proto::encode(arguments);
    if (!payload) return peer_fault("a name is too long for the lock daemon");
    const auto answer =
        exchange(rpc::make_call(wire::k_program, wire::k_version, procedure, serial_++), *payload);
    if (!answer) return tl::unexpected(answer.error());
    auto ret = proto::decode<Ret>(*answer);
    if (!ret) return system_fault(0, fmt::format("the lock daemon at {} answers nonsense", path_));
    return std::move(*ret);
}

Result<std::vector<wire::ListedHold>> Link::list(const std::string* space) {
    wire::ListArgs arguments;
    if (space != nullptr) {
        const ByteView bytes = as_bytes(*space);
        arguments.space.emplace(bytes.begin(), bytes.end());
    }
    std::vector<wire::ListedHold> all;
    for (;;) {
        auto part = ask<wire::ListRet>(wire::Procedure::list, arguments);
        if (!part) return tl::unexpected(part.error());
        for (auto& hold : part->holds) all.push_back(std::move(hold));
        if (part->last || part->holds.empty()) return all;
        arguments.after = {.space = all.back().space, .name = all.back().name, .hold = all.back().hold};
    }
}

Result<std::vector<wire::ListedSpace>> Link::list_spaces() {
    wire::SpacesArgs arguments;
    std::vector<wire::ListedSpace> all;
    for (;;) {
        auto part = ask<wire::SpacesRet>(wire::Procedure::spaces, arguments);
        if (!part) return tl::unexpected(part.error());
        for (auto& space : part->spaces) all.push_back(std::move(space));
        if (part->last || part->spaces.empty()) return all;
        arguments.after = all.back().path;
    }
}

Result<wire::BreakRet> Link::break_lock(const wire::BreakArgs& arguments) {
    return ask<wire::BreakRet>(wire::Procedure::break_, arguments);
}

}  // namespace virtgate::ctl::locks
