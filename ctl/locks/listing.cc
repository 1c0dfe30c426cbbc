// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - locks and lock spaces, for people and for programs.
#include "ctl/locks/listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <nlohmann/json.hpp>

#include "libshared/base/bytes.h"

namespace virtgate::ctl::locks {

namespace wire = proto::locks;
using Json = nlohmann::ordered_json;

namespace {

// Columns of a table are separated by spaces: what could be taken for another column is in quotes.
std::string quote(std::string_view text) {
    constexpr std::size_t k_shown_max = 200;
    const std::string shown = escape(text, k_shown_max);
    const bool is_plain = !text.empty() && shown == text && shown.find(' ') == std::string::npos;
    return is_plain ? shown : fmt::format("\"{}\"", shown);
}

std::string quote(const std::vector<std::byte>& bytes) { return quote(as_text(bytes)); }

std::string name_of(const std::vector<std::byte>& space) {
    return space.empty() ? std::string(k_direct) : quote(space);
}

using Row = std::vector<std::string>;

// How many columns of a terminal `text` takes: escaped text has one for each character of UTF-8.
std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

std::string align(const std::vector<Row>& rows) {
    std::vector<std::size_t> widths(rows.front().size());
    for (const Row& row : rows)
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
    std::string text;
    for (const Row& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            line += row[i];
            if (i + 1 < row.size()) line.append(widths[i] - width_of(row[i]) + 2, ' ');
        }
        text += line + "\n";
    }
    return text;
}

std::string describe_mode(const wire::ListedHold& hold) {
    return fmt::format("{}{}", hold.shared ? "shared" : "exclusive", hold.lost ? ", lost" : "");
}

std::string_view word_of(std::uint32_t listener) {
    switch (listener) {
        case 1: return "socket";
        case 2: return "libvirt_socket";
        default: return "?";
    }
}

std::string describe_way(const wire::ListedHold& hold) {
    // Whoever connected for a session is virtgate itself.
    if (hold.session != 0) return fmt::format("session {}", hold.session);
    return fmt::format("{}, process {} of user {}", word_of(hold.listener), hold.peer_process, hold.peer_uid);
}

std::string_view word_of(wire::ListedKind kind) {
    switch (kind) {
        case wire::ListedKind::listed_process: return "process";
        case wire::ListedKind::listed_session: return "session";
        case wire::ListedKind::listed_identity: return "identity";
    }
    return "?";
}

std::string_view word_of(wire::SpaceKind kind) {
    switch (kind) {
        case wire::SpaceKind::space_files: return "files";
        case wire::SpaceKind::space_directory: return "directory";
        case wire::SpaceKind::space_etcd: return "etcd";
    }
    return "?";
}

std::string utc(std::int64_t seconds) {
    const std::time_t time = seconds;
    std::tm parts{};
    if (gmtime_r(&time, &parts) == nullptr) return {};
    char text[32];
    return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

// Bytes that are no UTF-8 cannot be in JSON: U+FFFD is.
std::string dump(const Json& json) { return json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n"; }

}  // namespace

std::string describe_owner(wire::ListedKind kind, std::uint32_t process) {
    if (kind == wire::ListedKind::listed_process) return fmt::format("process {}", process);
    return kind == wire::ListedKind::listed_session ? "a session" : "an identity";
}

std::string describe_age(std::int64_t seconds) {
    struct Unit {
        std::int64_t seconds;
        std::string_view name;
    };
    // The smallest number that a unit is used for is two of it, but for seconds.
    constexpr std::array k_units{Unit{86'400, "days"}, Unit{3'600, "hours"}, Unit{60, "minutes"}};
    if (seconds <= 0) return "less than a second";
    if (seconds == 1) return "1 second";
    for (const Unit& unit : k_units)
        if (seconds >= 2 * unit.seconds) return fmt::format("{} {}", seconds / unit.seconds, unit.name);
    return fmt::format("{} seconds", seconds);
}

std::string to_text(const Uuid& uuid) {
    std::string text = to_hex(uuid);
    for (const std::size_t at : {8U, 13U, 18U, 23U}) text.insert(at, 1, '-');
    return text;
}

std::optional<Uuid> parse_uuid(std::string_view text) {
    std::string digits;
    for (const char c : text) {
        if (c == '-') continue;
        const bool is_digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (!is_digit) return std::nullopt;
        digits += c;
    }
    Uuid uuid{};
    if (digits.size() != 2 * uuid.size()) return std::nullopt;
    for (std::size_t i = 0; i < uuid.size(); ++i)
        uuid[i] = static_cast<std::byte>(std::stoi(digits.substr(2 * i, 2), nullptr, 16));
    return uuid;
}

std::string list_text(const Holds& holds, std::int64_t now) {
    if (holds.empty()) return "no lock is held\n";
    const bool tokens =
        std::any_of(holds.begin(), holds.end(), [](const auto& hold) { return hold.token != 0; });
    std::vector<Row> rows{
        {"SPACE", "RESOURCE", "MODE", "OWNER", "UUID", "PROCESS", "SINCE", "TAKEN THROUGH"}};
    if (tokens) rows.front().insert(rows.front().begin() + 3, "TOKEN");
    for (const wire::ListedHold& hold : holds) {
        Row row{name_of(hold.space),
                quote(hold.name),
                describe_mode(hold),
                quote(hold.owner),
                to_text(hold.uuid),
                fmt::format("{}{}",
                            hold.kind == wire::ListedKind::listed_process ? fmt::to_string(hold.process)
                                                                          : std::string(word_of(hold.kind)),
                            hold.connected ? ", connected" : ""),
                describe_age(now - hold.since),
                describe_way(hold)};
        if (tokens) row.insert(row.begin() + 3, hold.token != 0 ? fmt::to_string(hold.token) : "-");
        rows.push_back(std::move(row));
    }
    return align(rows);
}

std::string list_text(const Spaces& spaces) {
    std::vector<Row> rows{{"SPACE", "KIND", "HELD", "STATE"}};
    for (const wire::ListedSpace& space : spaces)
        rows.push_back({name_of(space.path), std::string(word_of(space.kind)), fmt::to_string(space.held),
                        space.usable ? "usable" : "not usable"});
    return align(rows);
}

std::string list_json(const Holds& holds) {
    Json list = Json::array();
    for (const wire::ListedHold& hold : holds)
        list.push_back({{"space", std::string(as_text(hold.space))},
                        {"resource", std::string(as_text(hold.name))},
                        {"mode", hold.shared ? "shared" : "exclusive"},
                        {"lost", hold.lost},
                        {"owner",
                         {{"kind", word_of(hold.kind)},
                          {"name", std::string(as_text(hold.owner))},
                          {"uuid", to_text(hold.uuid)},
                          {"id", hold.id},
                          {"process", hold.process},
                          {"connected", hold.connected}}},
                        {"since", utc(hold.since)},
                        {"through",
                         {{"listener", word_of(hold.listener)},
                          {"uid", hold.peer_uid},
                          {"process", hold.peer_process},
                          {"session", hold.session != 0 ? Json(hold.session) : Json(nullptr)}}},
                        {"token", hold.token != 0 ? Json(hold.token) : Json(nullptr)}});
    return dump({{"locks", list}});
}

std::string list_json(const Spaces& spaces) {
    Json list = Json::array();
    for (const wire::ListedSpace& space : spaces)
        list.push_back({{"space", std::string(as_text(space.path))},
                        {"kind", word_of(space.kind)},
                        {"held", space.held},
                        {"usable", space.usable}});
    return dump({{"spaces", list}});
}

}  // namespace virtgate::ctl::locks
