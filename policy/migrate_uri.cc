// SPDX-License-Identifier: LGPL-2.1-or-later
// migrate_uri - where a domain may be migrated to, as a pattern.
#include "policy/migrate_uri.h"

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>

#include "policy/glob.h"
#include "policy/network.h"

namespace virtgate::policy {

namespace {

constexpr std::string_view k_glob = "glob:";

struct Ports {
    std::uint32_t first = 0;
    std::uint32_t last = 0;
};

struct Place {
    std::string_view scheme{};
    std::string_view host{};    // without brackets
    std::string_view prefix{};  // of a range; empty: none
    std::optional<Ports> ports{};
    bool is_glob = false;
};

std::optional<std::uint32_t> parse_number(std::string_view digits) noexcept {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc{} || end != digits.data() + digits.size() || number > 65535) return std::nullopt;
    return number;
}

std::optional<Ports> parse_ports(std::string_view text) noexcept {
    const auto dash = text.find('-');
    const auto first = parse_number(text.substr(0, dash));
    const auto last = dash == text.npos ? first : parse_number(text.substr(dash + 1));
    if (!first || !last || *first > *last) return std::nullopt;
    return Ports{*first, *last};
}

// The scheme and what follows "://", or nothing.
std::optional<std::pair<std::string_view, std::string_view>> split(std::string_view text) noexcept {
    const auto colon = text.find("://");
    if (colon == text.npos || colon == 0) return std::nullopt;
    return std::pair{text.substr(0, colon), text.substr(colon + 3)};
}

// HOST, [HOST], each with /PREFIX if `ranges`, and :PORTS.
std::optional<Place> parse_place(std::string_view scheme, std::string_view rest, bool ranges) noexcept {
    Place place{.scheme = scheme};
    if (ranges && rest.starts_with(k_glob)) {
        place.is_glob = true;
        rest.remove_prefix(k_glob.size());
    }
    if (rest.starts_with('[')) {
        const auto end = rest.find(']');
        if (end == rest.npos) return std::nullopt;
        place.host = rest.substr(1, end - 1);
        rest.remove_prefix(end + 1);
    } else {
        const auto end = std::min(rest.find_first_of(ranges ? "/:" : ":"), rest.size());
        place.host = rest.substr(0, end);
        rest.remove_prefix(end);
    }
    if (ranges && rest.starts_with('/')) {
        const auto end = std::min(rest.find(':'), rest.size());
        place.prefix = rest.substr(1, end - 1);
        rest.remove_prefix(end);
    }
    if (rest.starts_with(':')) {
        place.ports = parse_ports(rest.substr(1));
        if (!place.ports) return std::nullopt;
    } else if (!rest.empty()) {
        return std::nullopt;
    }
    if (place.host.empty()) return std::nullopt;
    return place;
}

std::optional<Place> parse_pattern(std::string_view pattern) noexcept {
    const auto parts = split(pattern);
    return parts ? parse_place(parts->first, parts->second, true) : std::nullopt;
}

std::optional<Place> parse_uri(std::string_view uri) noexcept {
    const auto parts = split(uri);
    if (!parts) return std::nullopt;
    std::string_view authority = parts->second.substr(0, parts->second.find_first_of("/?#"));
    // libvirt takes what stands before the last @ as the user.
    if (const auto at = authority.rfind('@'); at != authority.npos) authority.remove_prefix(at + 1);
    return parse_place(parts->first, authority, false);
}

Result<proto::policy::Network> range_of(const Place& place) {
    std::string text{place.host};
    if (!place.prefix.empty()) text.append("/").append(place.prefix);
    return parse_network(text);
}

bool is_address(std::string_view host) { return !canonical_address(host).empty(); }

}  // namespace

bool matches_migrate_uri(std::string_view pattern, std::string_view uri) noexcept {
    if (pattern == "*") return true;
    const auto wanted = parse_pattern(pattern);
    const auto place = parse_uri(uri);
    if (!wanted || !place || wanted->scheme != place->scheme) return false;
    if (wanted->ports && (!place->ports || place->ports->first < wanted->ports->first ||
                          place->ports->last > wanted->ports->last))
        return false;
    if (wanted->is_glob) return matches_glob(wanted->host, place->host);
    if (!is_address(wanted->host)) return wanted->host == place->host;
    const auto range = range_of(*wanted);
    return range && lies_in_one(place->host, {*range});
}

std::string_view flaw_of_migrate_uri(std::string_view pattern) noexcept {
    const auto place = parse_pattern(pattern);
    if (!place)
        return "write SCHEME://HOST, SCHEME://ADDRESS/PREFIX or SCHEME://glob:PATTERN, with :PORT or "
               ":PORT-PORT";
    if (place->is_glob) return flaw_of_glob(place->host);
    if ((!place->prefix.empty() || is_address(place->host)) && !range_of(*place))
        return "the range of addresses cannot be";
    return {};
}

}  // namespace virtgate::policy
