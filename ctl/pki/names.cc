// SPDX-License-Identifier: LGPL-2.1-or-later
// names - the names that certificates are made for, checked before anything is made.
#include "ctl/pki/names.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>

#include <algorithm>
#include <array>
#include <optional>

#include "libshared/base/bytes.h"

namespace virtgate::ctl::pki {

namespace {

constexpr std::size_t k_common_name_max = 64;
constexpr std::size_t k_host_max = 253, k_label_max = 63;

// The usual text form of an address, if `word` is one.
std::optional<std::string> parse_address(std::string_view word) {
    if (word.size() > 2 && word.front() == '[' && word.back() == ']') word = word.substr(1, word.size() - 2);
    const std::string text{word};
    std::array<unsigned char, sizeof(in6_addr)> bytes{};
    std::array<char, INET6_ADDRSTRLEN> usual{};
    for (const int family : {AF_INET, AF_INET6})
        if (inet_pton(family, text.c_str(), bytes.data()) == 1 &&
            inet_ntop(family, bytes.data(), usual.data(), usual.size()) != nullptr)
            return std::string{usual.data()};
    return std::nullopt;
}

bool is_label(std::string_view label) {
    const auto fits = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
    return !label.empty() && label.size() <= k_label_max && label.front() != '-' && label.back() != '-' &&
           std::all_of(label.begin(), label.end(), fits);
}

// A star may stand for the whole first label of at least three.
bool is_host_name(std::string_view name) {
    if (name.empty() || name.size() > k_host_max) return false;
    if (name.starts_with("*.")) {
        name.remove_prefix(2);
        if (name.find('.') == std::string_view::npos) return false;
    }
    for (;;) {
        const std::size_t dot = name.find('.');
        if (!is_label(name.substr(0, dot))) return false;
        if (dot == std::string_view::npos) return true;
        name.remove_prefix(dot + 1);
    }
}

// A digit only name such as "10.0.0.300" is an address with a mistake, not a host.
bool looks_like_address(std::string_view name) {
    return std::all_of(name.begin(), name.end(), [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

Result<std::string> parse_host(const std::string& word) {
    std::string name = word;
    if (name.size() > 1 && name.back() == '.') name.pop_back();  // the root of the DNS goes without saying
    const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
    if (!std::all_of(name.begin(), name.end(), is_ascii)) {
        gnutls_datum_t ascii{};
        const int outcome = gnutls_idna_map(name.data(), static_cast<unsigned>(name.size()), &ascii, 0);
        if (outcome < 0)
            return system_fault(
                0, fmt::format("\"{}\" has no form in ASCII: {}", escape(word), gnutls_strerror(outcome)));
        name.assign(static_cast<const char*>(static_cast<const void*>(ascii.data)), ascii.size);
        gnutls_free(ascii.data);
    }
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    if (is_host_name(name) && !looks_like_address(name)) return name;
    return system_fault(0, fmt::format("\"{}\" is neither a host name nor an address", escape(word)));
}

}  // namespace

Result<ServerNames> parse_server_names(const std::vector<std::string>& words) {
    ServerNames names;
    const auto add = [](std::vector<std::string>& to, const std::string& name) {
        if (std::find(to.begin(), to.end(), name) == to.end()) to.push_back(name);
    };
    for (const std::string& word : words) {
        std::string name;
        if (const auto address = parse_address(word)) {
            name = *address;
            add(names.addresses, name);
        } else {
            Result<std::string> host = parse_host(word);
            if (!host) return tl::make_unexpected(host.error());
            name = std::move(*host);
            add(names.dns, name);
        }
        if (names.common_name.empty()) names.common_name = name;
    }
    if (names.common_name.size() > k_common_name_max)
        return system_fault(0, fmt::format("the first name has more than {} bytes; begin with a shorter one",
                                           k_common_name_max));
    return names;
}

// What is special in the text form of a subject is refused: libvirt compares subjects as such texts, and a
// name "x,CN=admin" must not be taken for two.
Done check_subject_part(std::string_view what, std::string_view value) {
    const auto refuse = [&](std::string_view why) {
        return system_fault(0, fmt::format("{} \"{}\" {}", what, escape(value), why));
    };
    if (value.empty()) return refuse("is empty");
    if (value.size() > k_common_name_max) return refuse("has more than 64 bytes");
    if (!is_plain_text(value)) return refuse("is not UTF-8, or has a control character");
    for (const char c : std::string_view{",+\"\\<>;=#"})
        if (value.find(c) != std::string_view::npos)
            return refuse(fmt::format("has a \"{}\", which is special in the text form of a subject", c));
    if (value.front() == ' ' || value.back() == ' ') return refuse("begins or ends with a blank");
    return {};
}

Done check_client_name(std::string_view name) {
    if (Done done = check_subject_part("the name", name); !done) return done;
    if (directory_name(name).empty() || name.front() == '-')
        return system_fault(0, fmt::format("\"{}\" cannot be the name of a directory", escape(name)));
    return {};
}

std::string directory_name(std::string_view common_name) {
    if (common_name.starts_with("*.")) return fmt::format("_{}", common_name.substr(1));
    if (common_name.empty() || common_name.front() == '.' ||
        common_name.find_first_of(std::string_view{"/\0", 2}) != std::string_view::npos)
        return {};
    return std::string{common_name};
}

}  // namespace virtgate::ctl::pki
