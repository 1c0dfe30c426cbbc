// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - servers that were found, for people and for programs.
#include "ctl/discover/listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "libshared/base/bytes.h"

namespace virtgate::ctl::discover {

using Json = nlohmann::ordered_json;

namespace {

constexpr std::size_t k_columns = 6;
using Row = std::array<std::string, k_columns>;

// Columns are separated by spaces: what could be taken for another column is in quotes.
std::string quote(std::string_view text) {
    constexpr std::size_t k_shown_max = 200;
    if (text.empty()) return "-";
    const std::string shown = escape(text, k_shown_max);
    const bool is_plain = shown == text && shown.find(' ') == std::string::npos && text != "-";
    return is_plain ? shown : fmt::format("\"{}\"", shown);
}

std::string join(const std::set<std::string>& addresses) {
    std::string text;
    for (const std::string& address : addresses) text += (text.empty() ? "" : ",") + escape(address);
    return text.empty() ? "-" : text;
}

Row row_of(const Server& server) {
    return {quote(server.name.name), quote(server.host),      fmt::format("{}", server.port),
            join(server.addresses),  quote(server.version()), quote(server.uri())};
}

// How many columns of a terminal escaped text takes: one for each character of UTF-8.
std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

Json object_of(const Server& server) {
    Json details = Json::object();
    for (const auto& [key, value] : server.details) details[key] = value;
    Json object{{"name", server.name.name},
                {"domain", server.name.domain},
                {"host", server.host},
                {"port", server.port},
                {"addresses", server.addresses}};
    object["version"] = server.version().empty() ? Json() : Json(server.version());
    object["transport"] = server.transport();
    object["uri"] = server.uri().empty() ? Json() : Json(server.uri());
    object["txt"] = std::move(details);
    return object;
}

// Bytes that are no UTF-8 cannot be in JSON: U+FFFD is. The rest is ASCII, and cannot move a cursor.
std::string dump(const Json& json, int indent) {
    return json.dump(indent, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string list_text(const std::vector<Server>& servers) {
    if (servers.empty()) return "No server was found.\n";
    std::vector<Row> rows{{"NAME", "HOST", "PORT", "ADDRESSES", "VERSION", "URI"}};
    for (const Server& server : servers) rows.push_back(row_of(server));
    std::array<std::size_t, k_columns> widths{};
    for (const Row& row : rows)
        for (std::size_t i = 0; i < k_columns; ++i)
            widths.at(i) = std::max(widths.at(i), width_of(row.at(i)));
    std::string text;
    for (const Row& row : rows) {
        for (std::size_t i = 0; i + 1 < k_columns; ++i)
            text += row.at(i) + std::string(widths.at(i) - width_of(row.at(i)) + 2, ' ');
        text += row.back() + "\n";
    }
    return text;
}

std::string list_json(const std::vector<Server>& servers) {
    Json list = Json::array();
    for (const Server& server : servers) list.push_back(object_of(server));
    return dump(Json{{"servers", std::move(list)}}, 2);
}

std::string event_text(std::string_view what, const Server& server) {
    const Row row = row_of(server);
    return fmt::format("{:<7}  {}  {}\n", what, row.front(), fmt::join(row.begin() + 1, row.end(), "  "));
}

std::string event_json(std::string_view what, const Server& server) {
    Json object{{"event", what}};
    object.update(object_of(server));
    return dump(object, -1);
}

}  // namespace virtgate::ctl::discover
