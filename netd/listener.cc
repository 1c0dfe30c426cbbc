// SPDX-License-Identifier: LGPL-2.1-or-later
// listener - the TCP socket that all gates accept from.
#include "netd/listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "netd/port_holder.h"

namespace virtgate::netd {

namespace {

constexpr int k_backlog = 1024;
constexpr std::string_view k_localhost = "localhost";

// Either address family.
struct Address {
    sockaddr_storage storage{};
    socklen_t size = 0;
    [[nodiscard]] int family() const noexcept { return storage.ss_family; }
    [[nodiscard]] sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
    [[nodiscard]] bool is_loopback() const noexcept {
        if (family() == AF_INET6)
            return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr) != 0;
        const in_addr_t number = ntohl(reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr.s_addr);
        return number >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
    }
    [[nodiscard]] std::uint16_t port() const noexcept {
        return ntohs(family() == AF_INET ? reinterpret_cast<const sockaddr_in*>(&storage)->sin_port
                                         : reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
    }
};

bool parse(const std::string& text, std::uint16_t port, Address& address) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    if (inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        address.size = sizeof *v4;
        return true;
    }
    if (inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) != 1) return false;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    address.size = sizeof *v6;
    return true;
}

// A listening socket at `address`; bound to the loopback interface if `only_local`. Empty and errno if it
// fails.
UniqueFd listen_at(Address address, bool only_local) noexcept {
    constexpr int k_on = 1, k_off = 0;
    UniqueFd socket{::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!socket || setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &k_on, sizeof k_on) < 0) return {};
    if (address.family() == AF_INET6 &&
        setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &k_off, sizeof k_off) < 0)
        return {};
    // No address means both 127.0.0.1 and ::1, the interface does. It has to be set before others can
    // connect.
    if (only_local && setsockopt(socket.get(), SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) < 0) return {};
    if (bind(socket.get(), address.get(), address.size) < 0 || listen(socket.get(), k_backlog) < 0) return {};
    return socket;
}

std::string say_address(std::string_view text, std::uint16_t port) {
    const bool brackets = text.find(':') != text.npos;
    return fmt::format("{}{}{}:{}", brackets ? "[" : "", text, brackets ? "]" : "", port);
}

}  // namespace

bool is_listen_address(std::string_view address) {
    Address parsed;
    return address == k_localhost || parse(std::string(address), 0, parsed);
}

bool is_loopback_address(std::string_view address) {
    Address parsed;
    return address == k_localhost || (parse(std::string(address), 0, parsed) && parsed.is_loopback());
}

Result<Listener> open_listener(const std::string& text, std::uint16_t port) {
    const bool only_local = text == k_localhost;
    Address address;
    require(parse(only_local ? "::" : text, port, address), "an unchecked address");
    UniqueFd socket = listen_at(address, only_local);
    if (!socket && errno == EAFNOSUPPORT && (only_local || text == "::")) {
        require(parse(only_local ? "127.0.0.1" : "0.0.0.0", port, address), "a constant address");
        socket = listen_at(address, only_local);
    }
    if (!socket) {
        const int number = errno;
        const std::string holder = number == EADDRINUSE ? find_port_holder(port) : std::string();
        return system_fault(number, fmt::format("cannot listen on {} port {}{}{}", text, port,
                                                holder.empty() ? "" : ", which is taken by ", holder));
    }
    auto listener = adopt_listener(std::move(socket));
    if (listener) {
        listener->name = say_address(text, listener->port);
        listener->local = listener->local || only_local;
    }
    return listener;
}

Result<Listener> adopt_listener(UniqueFd socket) {
    Address address;
    address.size = sizeof address.storage;
    if (getsockname(socket.get(), address.get(), &address.size) < 0)
        return system_fault(errno, "cannot find out the address of a socket");
    std::array<char, INET6_ADDRSTRLEN> text{};
    const void* number =
        address.family() == AF_INET
            ? static_cast<const void*>(&reinterpret_cast<sockaddr_in*>(&address.storage)->sin_addr)
            : &reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_addr;
    if (inet_ntop(address.family(), number, text.data(), text.size()) == nullptr)
        return system_fault(errno, "a socket is no internet socket");
    Listener listener{
        .socket = std::move(socket), .name = {}, .port = address.port(), .local = address.is_loopback()};
    listener.name = say_address(text.data(), listener.port);
    return listener;
}

}  // namespace virtgate::netd
