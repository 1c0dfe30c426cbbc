// SPDX-License-Identifier: LGPL-2.1-or-later
// url - the address of one of etcd's servers, taken apart.
#include "lockd/etcd/url.h"

#include <arpa/inet.h>

#include <charconv>

namespace virtgate::lockd::etcd {

namespace {

bool is_address(const std::string& host) noexcept {
    in6_addr address{};
    return inet_pton(AF_INET, host.c_str(), &address) == 1 ||
           inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

}  // namespace

std::optional<Url> parse_url(std::string_view url) {
    for (const std::string_view scheme : {"http://", "https://"}) {
        if (!url.starts_with(scheme)) continue;
        std::string_view rest = url.substr(scheme.size());
        const std::size_t colon = rest.rfind(':');
        if (colon == std::string_view::npos) return std::nullopt;
        Url parsed;
        const std::string_view digits = rest.substr(colon + 1);
        const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), parsed.port);
        if (failed != std::errc{} || end != digits.data() + digits.size() || parsed.port == 0)
            return std::nullopt;
        std::string_view host = rest.substr(0, colon);
        const bool has_brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
        if (has_brackets) host = host.substr(1, host.size() - 2);
        parsed.host = host;
        parsed.is_numeric = is_address(parsed.host);
        constexpr std::string_view k_of_names =
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
        const bool is_name = !host.empty() && host.find_first_not_of(k_of_names) == std::string_view::npos;
        if (has_brackets ? !parsed.is_numeric : !is_name) return std::nullopt;
        return parsed;
    }
    return std::nullopt;
}

}  // namespace virtgate::lockd::etcd
