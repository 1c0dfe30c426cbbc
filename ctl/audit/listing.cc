// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - a record as one line for people, or for programs.
#include "ctl/audit/listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ctl/audit/moment.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::audit {

namespace {

// A word of the line that somebody else chose.
std::string quote(std::string_view text) {
    constexpr std::string_view k_plain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+@/";
    constexpr std::size_t k_shown_max = 256;
    const bool plain = !text.empty() && text.find_first_not_of(k_plain) == std::string_view::npos;
    return plain && text.size() <= k_shown_max ? std::string{text}
                                               : fmt::format("\"{}\"", escape(text, k_shown_max));
}

std::string quote(const std::optional<std::string>& text, std::string_view otherwise) {
    return text ? quote(*text) : std::string{otherwise};
}

// "file:line", of which only the file can be odd.
std::string quote_place(std::string_view place) {
    const std::size_t colon = place.rfind(':');
    if (colon == std::string_view::npos) return quote(place);
    const std::string_view line = place.substr(colon + 1);
    if (line.empty() || line.find_first_not_of("0123456789") != std::string_view::npos) return quote(place);
    return fmt::format("{}:{}", quote(place.substr(0, colon)), line);
}

// Whom it is about: the identity, or what the client has shown.
std::string describe_client(const Entry& entry) {
    for (const auto* name : {&entry.identity, &entry.subject, &entry.login})
        if (*name) return quote(**name);
    return entry.uid ? fmt::format("uid {}", *entry.uid) : "somebody";
}

std::string describe_duration(std::uint64_t microseconds) {
    const auto value = static_cast<double>(microseconds);
    if (microseconds < 1'000) return fmt::format("{} µs", microseconds);
    if (microseconds < 1'000'000) return fmt::format("{:.1f} ms", value / 1e3);
    if (microseconds < 120'000'000) return fmt::format("{:.1f} s", value / 1e6);
    if (microseconds < 7'200'000'000) return fmt::format("{} min", microseconds / 60'000'000);
    return fmt::format("{} h", microseconds / 3'600'000'000);
}

// " domain=db-1 and 2 more"; a name that only the client has said is followed by "?".
std::string describe_objects(const Entry& entry) {
    std::string text;
    for (const Object& object : entry.objects)
        text += fmt::format(" {}={}{}", quote(object.kind),
                            quote(object.name.empty() ? object.uuid : object.name), object.known ? "" : "?");
    if (entry.more_objects != 0) text += fmt::format(" and {} more", entry.more_objects);
    return text;
}

// "done in 1.2 ms", "error 38 after 1.2 ms", "lost"
std::string describe_result(const Entry& entry) {
    if (!entry.result) return {};
    std::string text = quote(*entry.result);
    if (entry.error) text += fmt::format(" {}", *entry.error);
    if (entry.duration_us)
        text += fmt::format(" {} {}", *entry.result == "done" ? "in" : "after",
                            describe_duration(*entry.duration_us));
    return text;
}

std::string describe_rule(std::string_view word, const std::optional<std::string>& role,
                          const std::optional<std::string>& rule) {
    if (!role && !rule) return {};
    return fmt::format("{} {}{}{}", word, quote(role, "-"), rule ? " at " : "",
                       rule ? quote_place(*rule) : "");
}

// What follows the colon: all parts that are there.
std::string join(std::initializer_list<std::string> parts) {
    std::string text;
    for (const std::string& part : parts)
        if (!part.empty()) text += (text.empty() ? ": " : ", ") + part;
    return text;
}

std::string reason_of(const Entry& entry) {
    std::string text = entry.reason ? quote(*entry.reason) : "";
    if (entry.detail) text += fmt::format("{}({})", text.empty() ? "" : " ", quote(*entry.detail));
    return text;
}

std::string describe_call(const Entry& entry) {
    return fmt::format(
        "{} {} {}{}{}", describe_client(entry), quote(entry.verdict, "?"), quote(entry.procedure, "?"),
        describe_objects(entry),
        join({reason_of(entry), describe_result(entry), describe_rule("role", entry.role, entry.rule),
              describe_rule("on probation", entry.shadow_role, entry.shadow_rule)}));
}

std::string describe_session(const Entry& entry) {
    std::string text = fmt::format("{} {}", describe_client(entry), quote(entry.verdict, "?"));
    if (entry.session) text += fmt::format(" session {}", *entry.session);
    if (entry.source) text += fmt::format(" from {}", quote(*entry.source));
    if (entry.listener) text += fmt::format(" ({})", quote(*entry.listener));
    const auto shown = [](const char* what, const std::optional<std::string>& name) {
        return name ? fmt::format("{} {}", what, quote(*name)) : std::string{};
    };
    return text +
           join({reason_of(entry), shown("certificate", entry.subject), shown("login", entry.login),
                 entry.pid ? fmt::format("process {} of uid {}", *entry.pid, entry.uid.value_or(0)) : "",
                 describe_rule("role", entry.role, entry.rule)});
}

std::string describe_what(const Entry& entry) {
    if (entry.record == "call") return describe_call(entry);
    if (entry.record == "session") return describe_session(entry);
    if (entry.record == "session-end")
        return fmt::format("{} session {} ended after {}", describe_client(entry), entry.session.value_or(0),
                           describe_duration(entry.duration_us.value_or(0)));
    if (entry.record == "policy")
        return entry.verdict == "allowed"
                   ? fmt::format("policy {} is in force{}", entry.generation.value_or(0),
                                 join({reason_of(entry)}))
                   : fmt::format("a policy has errors, {} stays{}", entry.generation.value_or(0),
                                 join({reason_of(entry)}));
    if (entry.record == "lock-broken")
        return fmt::format("uid {} (process {}) {}{} of {}{}", entry.uid.value_or(0), entry.pid.value_or(0),
                           entry.result == "done" ? "broke" : "could not break", describe_objects(entry),
                           quote(entry.owner, "nobody"), join({reason_of(entry), describe_result(entry)}));
    if (entry.record == "dropped")
        return fmt::format("{} records{}{} are missing{}",
                           entry.dropped ? std::to_string(*entry.dropped) : std::string{"some"},
                           entry.identity ? " of " : "", quote(entry.identity, ""), join({reason_of(entry)}));
    return quote(entry.record);
}

}  // namespace

std::string describe(const Entry& entry, Moment now) {
    return fmt::format("{} {}", format_moment(entry.time, now), describe_what(entry));
}

std::string to_json(std::string_view line) {
    const auto is_plain = [](char c) { return c >= 0x20 && c < 0x7f; };
    if (std::all_of(line.begin(), line.end(), is_plain)) return std::string{line};
    using Json = nlohmann::ordered_json;
    return Json::parse(line, nullptr, false).dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace virtgate::ctl::audit
