// SPDX-License-Identifier: LGPL-2.1-or-later
// options - what "virtgate up" was asked for on its command line.
#include "ctl/up/options.h"

#include <algorithm>
#include <array>

#include "ctl/files.h"
#include "libshared/base/suggest.h"

namespace virtgate::ctl::up {

namespace {

const std::array<std::string, 3> k_files{"netd", "workerd", "lockd"};

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr bool is_word(char c) noexcept {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}

bool is_word(std::string_view text) noexcept {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return is_word(c); });
}

// So that numbers need no quotes and texts need none for the shell either.
bool is_toml_already(std::string_view value) noexcept {
    if (value == "true" || value == "false") return true;
    if (value.empty()) return false;
    if (std::string_view{"\"'[{"}.find(value.front()) != std::string_view::npos) return true;
    // A whole or a decimal number, for example 10 or 0.5.
    const std::string_view number = value.substr(value.front() == '-' ? 1 : 0);
    const std::size_t point = std::min(number.find('.'), number.size());
    const auto all_digits = [](std::string_view text) {
        return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
    };
    return all_digits(number.substr(0, point)) &&
           (point == number.size() || all_digits(number.substr(point + 1)));
}

// The part of the URI that decides: virtgate's table knows local URIs alone.
Done check_uri(std::string_view uri) {
    const std::size_t colon = uri.find(":///");
    const std::string_view scheme = uri.substr(0, std::min(colon, uri.find(':')));
    if (scheme.find('+') != std::string_view::npos)
        return system_fault(
            0, fmt::format("the URI \"{}\" names a transport; write it as on the daemon's own machine, "
                           "for example qemu:///system",
                           uri));
    if (colon == std::string_view::npos || !is_word(scheme))
        return system_fault(0, fmt::format("\"{}\" is not a local libvirt URI such as qemu:///system", uri));
    if (std::any_of(uri.begin(), uri.end(),
                    [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == 0x7f; }))
        return system_fault(0, "a URI has no spaces or control characters");
    return {};
}

}  // namespace

// The first "=" separates: local URIs have none before a query, and a query is not part of any row.
Result<Upstream> parse_upstream(std::string_view text) {
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos || equals + 1 == text.size())
        return system_fault(0, fmt::format("\"{}\" is not URI=SOCKET, for example "
                                           "qemu:///system=/run/libvirt/libvirt-sock",
                                           text));
    const std::string_view uri = text.substr(0, equals);
    if (Done done = check_uri(uri); !done) return tl::make_unexpected(done.error());
    Result<std::string> socket = absolute_path(std::string{text.substr(equals + 1)});
    if (!socket) return tl::make_unexpected(socket.error());
    return Upstream{std::string{uri}, std::move(*socket)};
}

Result<Setting> parse_setting(std::string_view text) {
    const auto complain = [&](std::string_view why) {
        return system_fault(0, fmt::format("\"{}\" is not FILE.SECTION.KEY=VALUE: {}", text, why));
    };
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) return complain("there is no \"=\"");
    const std::string_view name = text.substr(0, equals), value = text.substr(equals + 1);
    const std::size_t first = name.find('.'), last = name.rfind('.');
    if (first == std::string_view::npos) return complain("the name has at least FILE.KEY");
    Setting setting{.file = std::string{name.substr(0, first)},
                    .section = {},
                    .key = std::string{name.substr(last + 1)},
                    .value = {}};
    if (last > first) setting.section = name.substr(first + 1, last - first - 1);
    if (std::find(k_files.begin(), k_files.end(), setting.file) == k_files.end())
        return complain(fmt::format("FILE is netd, workerd or lockd{}", did_you_mean(setting.file, k_files)));
    if ((last > first && !is_word(setting.section)) || !is_word(setting.key))
        return complain("SECTION and KEY consist of letters, digits, \"_\" and \"-\"");
    setting.value = is_toml_already(value) ? std::string{value} : quote_toml(value);
    if (setting.value.find('\n') != std::string::npos) return complain("a value has one line");
    return setting;
}

std::string quote_toml(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') quoted += '\\';
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            quoted += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
        else
            quoted += c;
    }
    return quoted + '"';
}

}  // namespace virtgate::ctl::up
