// SPDX-License-Identifier: LGPL-2.1-or-later
// network - address ranges.
#include "policy/network.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "libshared/base/bytes.h"

namespace virtgate::policy {

using proto::policy::Network;

namespace {

constexpr std::size_t k_v4_size = 4;
constexpr std::size_t k_v6_size = 16;

struct Address {
    std::array<std::byte, k_v6_size> bytes{};
    std::size_t size = 0;  // 0: it is no address
};

Address parse_address(std::string_view text) noexcept {
    Address address;
    std::array<char, INET6_ADDRSTRLEN> terminated{};
    if (text.size() >= terminated.size() || text.find('\0') != text.npos) return address;
    std::copy(text.begin(), text.end(), terminated.begin());
    if (inet_pton(AF_INET, terminated.data(), address.bytes.data()) == 1)
        address.size = k_v4_size;
    else if (inet_pton(AF_INET6, terminated.data(), address.bytes.data()) == 1)
        address.size = k_v6_size;
    return address;
}

std::string to_text(const Address& address) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    static_cast<void>(inet_ntop(address.size == k_v4_size ? AF_INET : AF_INET6, address.bytes.data(),
                                text.data(), text.size()));
    return text.data();
}

bool is_mapped(const Address& address) noexcept {
    in6_addr in6;
    std::memcpy(&in6, address.bytes.data(), sizeof in6);
    return address.size == k_v6_size && IN6_IS_ADDR_V4MAPPED(&in6);
}

// The byte number `i` of the mask with `prefix` bits.
std::byte mask_at(std::size_t i, std::uint32_t prefix) noexcept {
    const std::size_t before = 8 * i;
    if (prefix >= before + 8) return std::byte{0xff};
    if (prefix <= before) return std::byte{0};
    return static_cast<std::byte>(0xff << (before + 8 - prefix));
}

bool lies_in(const Address& address, const Network& network) noexcept {
    if (network.address.size() != address.size || network.prefix > 8 * address.size) return false;
    for (std::size_t i = 0; i < address.size; ++i)
        if (((address.bytes[i] ^ network.address[i]) & mask_at(i, network.prefix)) != std::byte{0})
            return false;
    return true;
}

}  // namespace

Result<Network> parse_network(std::string_view text) {
    const std::size_t slash = text.find('/');
    Address address = parse_address(text.substr(0, slash));
    if (address.size == 0)
        return peer_fault(fmt::format(
            "\"{}\" is no address, and no range such as 192.0.2.0/24 or 2001:db8::/32", escape(text)));
    if (is_mapped(address)) return peer_fault("write an IPv4 address as such, without \"::ffff:\"");
    const auto bits = static_cast<std::uint32_t>(8 * address.size);
    std::uint32_t prefix = bits;
    if (slash != text.npos) {
        const std::string_view digits = text.substr(slash + 1);
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
        if (error != std::errc{} || end != digits.data() + digits.size() || prefix > bits)
            return peer_fault(fmt::format("the number behind the \"/\" has to be 0 to {}", bits));
    }
    const Address written = address;
    for (std::size_t i = 0; i < address.size; ++i) address.bytes[i] &= mask_at(i, prefix);
    if (address.bytes != written.bytes)
        return peer_fault(
            fmt::format("the address has bits behind its prefix: did you mean \"{}/{}\" or \"{}\"?",
                        to_text(address), prefix, to_text(written)));
    return Network{.address = ByteVector(address.bytes.begin(),
                                         address.bytes.begin() + static_cast<std::ptrdiff_t>(address.size)),
                   .prefix = prefix};
}

std::string canonical_address(std::string_view text) {
    const Address address = parse_address(text);
    return address.size == 0 ? std::string{} : to_text(address);
}

bool lies_in_one(std::string_view address, const std::vector<Network>& networks) noexcept {
    const Address parsed = parse_address(address);
    return parsed.size != 0 && std::any_of(networks.begin(), networks.end(),
                                           [&](const Network& network) { return lies_in(parsed, network); });
}

}  // namespace virtgate::policy
