// SPDX-License-Identifier: LGPL-2.1-or-later
// inheritance - what a holder gets from the one before it, and leaves to the next.
#include "lockd/holder/inheritance.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <set>

#include "libshared/spawn/listen_fds.h"
#include "libshared/spawn/self.h"
#include "proto/codec.h"
#include "proto/reexec.h"

namespace virtgate::lockd::holder {

namespace {

// The number of the memory file's descriptor.
constexpr const char* k_variable = "VIRTGATE_LOCKD_STATE";
// All records, and for each thing and listener what is around it.
constexpr std::size_t k_state_max = Journal::k_bytes_max + (std::size_t{4} << 20);
constexpr int k_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

// A UNIX stream socket that listens, or not.
bool is_listener(int fd) noexcept {
    int listens = 0, type = 0, domain = 0;
    socklen_t size = sizeof(int);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && listens != 0 &&
           type == SOCK_STREAM && domain == AF_UNIX;
}

// One end of a pair of UNIX sockets for packets, or not.
bool is_queue(int fd) noexcept {
    int type = 0, domain = 0;
    socklen_t size = sizeof(int);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && type == SOCK_SEQPACKET &&
           domain == AF_UNIX;
}

// The name in the file system that the socket `fd` was bound to; empty if it has none.
std::string path_of(int fd) {
    sockaddr_un address{};
    socklen_t size = sizeof address;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) < 0 ||
        size <= sizeof address.sun_family)
        return {};
    return {address.sun_path, strnlen(address.sun_path, size - sizeof address.sun_family)};
}

// Takes the listener `fd` as `name`. Error: system's fault, if it is none, or not the first of that name.
Done add_listener(Inheritance& inheritance, std::string name, UniqueFd fd, std::string path) {
    if (!is_listener(fd.get()))
        return system_fault(0, fmt::format("the socket \"{}\" is no UNIX socket that listens", name));
    for (const auto& other : inheritance.sockets)
        if (other.name == name) return system_fault(0, fmt::format("there are two sockets \"{}\"", name));
    if (auto done = set_nonblocking(fd.get(), true); !done) return done;
    inheritance.sockets.push_back({std::move(name), std::move(fd), std::move(path)});
    return {};
}

Result<Inheritance> take_from_manager() {
    auto passed = spawn::take_listen_fds();
    if (!passed) return tl::unexpected(std::move(passed.error()));
    Inheritance inheritance;
    for (auto& [name, fd] : *passed) {
        const bool kept = name.starts_with(k_kept_prefix);
        const std::string_view socket = std::string_view(name).substr(kept ? k_kept_prefix.size() : 0);
        if (socket == k_own || socket == k_libvirt) {
            // A unit's socket comes before one that was left, and of those one is enough.
            const auto is_same = [&](const auto& other) { return other.name == socket; };
            if (kept && std::any_of(inheritance.sockets.begin(), inheritance.sockets.end(), is_same))
                continue;
            std::string path = kept ? path_of(fd.get()) : std::string{};
            if (auto done = add_listener(inheritance, std::string(socket), std::move(fd), std::move(path));
                !done)
                return tl::unexpected(std::move(done.error()));
        } else if (name == k_queue && is_queue(fd.get())) {
            inheritance.queues.push_back(std::move(fd));
        } else if (const auto slot = slot_of(name)) {
            inheritance.things.push_back({.slot = *slot, .fd = std::move(fd)});
        } else {
            inheritance.strangers.push_back(std::move(name));
        }
    }
    return inheritance;
}

// The descriptor that `digits` name, if it is a memory file that nobody can have changed.
Result<UniqueFd> open_state(std::string_view digits) {
    int number = -1;
    const auto [rest, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (failure != std::errc{} || rest != digits.data() + digits.size() || number <= STDERR_FILENO)
        return system_fault(0, fmt::format("{} is not the number of a descriptor", k_variable));
    const int seals = fcntl(number, F_GET_SEALS);
    if (seals < 0 || (seals & k_seals) != k_seals)
        return system_fault(0, fmt::format("{} is not a sealed memory file", k_variable));
    return UniqueFd{number};
}

Result<Inheritance> take_from_exec(std::string_view digits) {
    const auto file = open_state(digits);
    if (!file) return tl::unexpected<Error>(file.error());
    const auto bytes = spawn::read_file(file->get(), k_state_max);
    if (!bytes) return wrap(bytes.error(), "what the holder left");
    if (bytes->size() < sizeof(std::uint32_t) || load_be32(bytes->data()) != proto::reexec::k_reexec_version)
        return system_fault(0, "the holder before this one was of a version that this one does not know");
    auto state = proto::decode<proto::reexec::ReexecState>(*bytes);
    if (!state) return system_fault(0, "what the holder left does not decode");
    Inheritance inheritance{.is_reexec = true, .confined = state->confined, .reach = {}};
    for (auto& path : state->reach) inheritance.reach.emplace_back(std::move(path));
    // Each number once: two owners of one descriptor would close it twice.
    std::set<int> owned{file->get()};
    const auto own = [&](std::uint32_t number) -> Result<UniqueFd> {
        const int fd = static_cast<int>(number);
        if (!owned.insert(fd).second) return system_fault(0, "the holder left a descriptor twice");
        if (auto done = set_close_on_exec(fd, true); !done)
            return wrap(std::move(done.error()), "what the holder left");
        return UniqueFd{fd};
    };
    for (auto& socket : state->listeners) {
        auto fd = own(socket.fd);
        Done done =
            fd ? add_listener(inheritance, std::string(socket.name), std::move(*fd), std::string(socket.path))
               : tl::unexpected(std::move(fd.error()));
        if (!done) return tl::unexpected(std::move(done.error()));
    }
    for (const std::uint32_t queue : state->queues) {
        auto fd = own(queue);
        if (!fd) return tl::unexpected(std::move(fd.error()));
        if (!is_queue(fd->get())) return system_fault(0, "the holder left a queue that is none");
        inheritance.queues.push_back(std::move(*fd));
    }
    for (auto& thing : state->things) {
        auto fd = own(thing.fd);
        if (!fd) return tl::unexpected(std::move(fd.error()));
        inheritance.things.push_back({thing.slot, std::move(*fd), std::move(thing.record)});
    }
    return inheritance;
}

Result<UniqueFd> write_state(const Legacy& legacy) {
    proto::reexec::ReexecState state;
    state.version = proto::reexec::k_reexec_version;
    state.confined = legacy.confined;
    for (const std::string& path : legacy.reach) state.reach.push_back(path);
    for (const auto& socket : legacy.sockets)
        state.listeners.push_back({.name = std::string(socket.name),
                                   .path = socket.path,
                                   .fd = static_cast<std::uint32_t>(socket.fd)});
    for (const auto& [slot, thing] : legacy.things)
        state.things.push_back(
            {.slot = slot, .fd = static_cast<std::uint32_t>(thing.fd.get()), .record = thing.record});
    for (const int queue : legacy.queues) state.queues.push_back(static_cast<std::uint32_t>(queue));
    const auto bytes = proto::encode(state, k_state_max);
    if (!bytes) return system_fault(0, "what is kept does not encode");
    return make_sealed_memfd("virtgate-lockd-state", bytes->data(), bytes->size());
}

// Of all that is left. Best effort: what fails here fails in the exec'd program, or in nothing.
void set_inheritable(const Legacy& legacy, int state, bool on) {
    static_cast<void>(set_close_on_exec(state, !on));
    for (const auto& socket : legacy.sockets) static_cast<void>(set_close_on_exec(socket.fd, !on));
    for (const int queue : legacy.queues) static_cast<void>(set_close_on_exec(queue, !on));
    for (const auto& [slot, thing] : legacy.things)
        if (thing.fd) static_cast<void>(set_close_on_exec(thing.fd.get(), !on));
}

}  // namespace

Result<Inheritance> take_inheritance() {
    const char* left = std::getenv(k_variable);
    if (left == nullptr) return take_from_manager();
    const std::string digits = left;
    unsetenv(k_variable);
    return take_from_exec(digits);
}

Error leave_to_next(const Legacy& legacy, const std::string& program, char* const* argv) {
    const auto state = write_state(legacy);
    if (!state) return state.error();
    set_inheritable(legacy, state->get(), true);
    setenv(k_variable, std::to_string(state->get()).c_str(), 1);
    execv(program.c_str(), argv);
    Error error = system_fault(errno, fmt::format("cannot execute {}", program)).value();
    unsetenv(k_variable);
    set_inheritable(legacy, state->get(), false);
    return error;
}

}  // namespace virtgate::lockd::holder
