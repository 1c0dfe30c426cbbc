// SPDX-License-Identifier: LGPL-2.1-or-later
// uri - from a local libvirt URI to the one that leads through virtgate.
#include "ctl/up/uri.h"

#include <fmt/format.h>

namespace virtgate::ctl::up {

namespace {

// RFC 3986's unreserved characters, and "/", which a query may contain as it is.
constexpr bool stays(char c) noexcept {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '.' || c == '_' || c == '~' || c == '/';
}

std::string escape_path(std::string_view path) {
    std::string escaped;
    for (const char c : path) {
        if (stays(c))
            escaped += c;
        else
            escaped += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return escaped;
}

}  // namespace

std::string tls_uri(std::string_view local, std::uint16_t port, std::string_view pkipath) {
    const std::size_t colon = local.find("://");
    const std::string_view driver = local.substr(0, colon);
    const std::string_view rest = colon == std::string_view::npos ? "/" : local.substr(colon + 3);
    const char* joint = rest.find('?') == std::string_view::npos ? "?" : "&";
    return fmt::format("{}+tls://localhost:{}{}{}pkipath={}", driver, port, rest, joint,
                       escape_path(pkipath));
}

}  // namespace virtgate::ctl::up
