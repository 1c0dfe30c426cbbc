// SPDX-License-Identifier: LGPL-2.1-or-later
// names - what libvirt's lists of names mean in a policy.
#include "ctl/migrate/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "ctl/up/options.h"
#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "policy/attributes.h"
#include "proto/who.h"

namespace virtgate::ctl::migrate {

namespace {

constexpr std::string_view k_any = "{ CN = \"glob:*\" }";
constexpr std::string_view k_glob = "glob:";

bool is_wildcard(char c) noexcept { return c == '*' || c == '?'; }

// A value without its escapes, and what is special in it.
struct Plain {
    std::string text;
    bool has_wildcard = false;
    bool has_literal_wildcard = false;  // from \2A
};

int hex_of(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// One character, or two hexadecimal digits, behind a backslash at the front of `rest`.
Done take_escape(std::string_view& rest, Plain& plain) {
    if (rest.size() < 2 || is_wildcard(rest[1]))
        return system_fault(0, "a backslash stands before nothing that it could mean");
    const int high = hex_of(rest[1]);
    const int low = rest.size() > 2 ? hex_of(rest[2]) : -1;
    const bool is_byte = high >= 0 && low >= 0;
    const char c = is_byte ? static_cast<char>(16 * high + low) : rest[1];
    plain.has_literal_wildcard = plain.has_literal_wildcard || is_wildcard(c);
    plain.text += c;
    rest.remove_prefix(is_byte ? 3 : 2);
    return {};
}

// The value at the front of `rest`, up to a comma or the end.
Result<Plain> take_value(std::string_view& rest) {
    Plain plain;
    if (rest.starts_with('#')) return system_fault(0, "a value in hexadecimal digits has no text to compare");
    while (!rest.empty() && rest.front() != ',') {
        if (rest.front() == '\\') {
            if (Done done = take_escape(rest, plain); !done) return tl::unexpected(std::move(done.error()));
            continue;
        }
        if (rest.front() == '+')
            return system_fault(0, "\"+\" joins two attributes to one part, which a policy cannot ask for");
        plain.has_wildcard = plain.has_wildcard || is_wildcard(rest.front());
        plain.text += rest.front();
        rest.remove_prefix(1);
    }
    return plain;
}

// `plain` as a text of a policy.
Result<std::string> to_text(const Plain& plain) {
    if (plain.text.empty()) return system_fault(0, "there is nothing to compare");
    if (plain.text.size() > proto::who::k_text_max) return system_fault(0, "it is too long");
    if (!is_plain_text(plain.text)) return system_fault(0, "it has control characters, or is not UTF-8");
    if (!plain.has_wildcard) {
        if (plain.text.starts_with(k_glob))
            return system_fault(0, "a text that begins with \"glob:\" would be a pattern");
        return up::quote_toml(plain.text);
    }
    if (plain.has_literal_wildcard || plain.text.find_first_of("[]") != plain.text.npos)
        return system_fault(0, "a pattern of a policy cannot have \"[\", \"]\", or \"*\" as a character");
    return up::quote_toml(fmt::format("{}{}", k_glob, plain.text));
}

// "CN" of "CN=…" at the front of `rest`, which is left with the value.
Result<std::string> take_attribute(std::string_view& rest) {
    const std::size_t sign = rest.find_first_of("=,");
    if (sign == rest.npos || rest[sign] == ',')
        return system_fault(
            0, fmt::format(
                   "\"{}\" is no ATTRIBUTE=VALUE: \"*\" stands for commas, too, which a policy cannot say",
                   escape(rest.substr(0, sign))));
    const std::string name(rest.substr(0, sign));
    rest.remove_prefix(sign + 1);
    if (std::any_of(name.begin(), name.end(), is_wildcard))
        return system_fault(
            0,
            fmt::format("\"{}\" stands for several parts of a name, or for none, which a policy cannot say",
                        escape(name)));
    if (name.starts_with(' ') || name.ends_with(' '))
        return system_fault(
            0, "libvirt compares with a name without blanks around \",\" and \"=\": this lets in nobody");
    // What libvirt compares with has GnuTLS' names.
    if (policy::canonical_attribute(name) != name || name.find('.') != name.npos)
        return system_fault(0, fmt::format("\"{}\" is no attribute that libvirt shows{}: this lets in nobody",
                                           escape(name), did_you_mean(name, policy::known_attributes())));
    return name;
}

}  // namespace

Result<Condition> convert_subject(std::string_view pattern) {
    if (pattern == "*") return Condition{std::string(k_any), true};
    Condition condition{"{ ", false};
    std::set<std::string> seen;
    for (std::string_view rest = pattern;;) {
        auto name = take_attribute(rest);
        if (!name) return tl::unexpected(std::move(name.error()));
        auto value = take_value(rest);
        if (!value) return wrap(value.error(), *name);
        auto text = to_text(*value);
        if (!text) return wrap(text.error(), *name);
        if (!seen.insert(*name).second)
            return system_fault(
                0, fmt::format("{} is there twice: a policy compares what a name has once", *name));
        condition.toml += fmt::format("{}{} = {}", seen.size() == 1 ? "" : ", ", *name, *text);
        condition.has_wildcard = condition.has_wildcard || value->has_wildcard;
        if (rest.empty()) break;
        rest.remove_prefix(1);
    }
    condition.toml += " }";
    return condition;
}

Result<Condition> convert_user(std::string_view pattern) {
    Plain plain;
    plain.text = pattern;
    plain.has_wildcard = std::any_of(pattern.begin(), pattern.end(), is_wildcard);
    auto text = to_text(plain);
    if (!text) return tl::unexpected(std::move(text.error()));
    return Condition{std::move(*text), plain.has_wildcard};
}

}  // namespace virtgate::ctl::migrate
