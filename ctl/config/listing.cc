// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - settings and verdicts as text and as JSON.
#include "ctl/config/listing.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace virtgate::ctl::config {

namespace {

using Json = nlohmann::ordered_json;

constexpr int k_indent = 2;

// "[[upstream]] 2" is the second of them, and in the file another "[[upstream]]".
std::string_view header_in_file(std::string_view header) noexcept {
    return header.starts_with("[[") ? header.substr(0, header.find(' ')) : header;
}

// "[tls]" and "[[upstream]] 2" are tls and upstream.
std::string section_of(std::string_view header) {
    const std::size_t begin = std::min(header.find_first_not_of('['), header.size());
    return std::string(header.substr(begin, header.find(']') - begin));
}

std::string list_one(const Settings& one, bool only_differences) {
    std::string list = fmt::format("# {}, {}\n", one.daemon->program,
                                   one.has_file ? one.file : fmt::format("no {}: all defaults", one.file));
    std::vector<std::string_view> headers{""};  // what has none stands first
    for (const Setting& setting : one.settings)
        if (std::find(headers.begin(), headers.end(), setting.header) == headers.end())
            headers.emplace_back(setting.header);
    const std::size_t empty = list.size();
    for (const std::string_view header : headers) {
        std::string part;
        for (const Setting& setting : one.settings) {
            if (setting.header != header || (only_differences && !setting.differs())) continue;
            part += fmt::format("{} = {}", setting.key, setting.value);
            if (setting.differs() && setting.line != 0)
                part += fmt::format("  # line {}; default {}", setting.line, setting.fallback);
            part += '\n';
        }
        if (part.empty()) continue;
        if (!header.empty())
            list += fmt::format("{}{}\n", list.size() == empty ? "" : "\n", header_in_file(header));
        list += part;
    }
    if (list.size() == empty) list += "# nothing differs from the defaults\n";
    return list;
}

}  // namespace

std::string list_settings(const std::vector<Settings>& all, bool only_differences) {
    std::string list;
    for (const Settings& one : all) list += (list.empty() ? "" : "\n") + list_one(one, only_differences);
    return list;
}

std::string settings_to_json(const std::vector<Settings>& all, bool only_differences) {
    Json root = Json::object();
    for (const Settings& one : all) {
        Json rows = Json::array();
        for (const Setting& setting : one.settings) {
            if (only_differences && !setting.differs()) continue;
            // What is no JSON is shown as it is.
            const auto value_of = [](const std::string& text) {
                Json value = Json::parse(text, nullptr, false);
                return value.is_discarded() ? Json(text) : value;
            };
            Json row{{"section", section_of(setting.header)},
                     {"key", setting.key},
                     {"value", value_of(setting.value)},
                     {"default", value_of(setting.fallback)}};
            row["line"] = setting.line == 0 ? Json() : Json(setting.line);
            rows.push_back(std::move(row));
        }
        root[std::string(one.daemon->name)] = {
            {"file", one.file}, {"exists", one.has_file}, {"settings", std::move(rows)}};
    }
    return root.dump(k_indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string list_verdicts(const std::vector<Verdict>& verdicts) {
    std::string list;
    for (const Verdict& one : verdicts) {
        if (one.is_good) list += fmt::format("{}: {}: no mistakes found\n", one.daemon->name, one.file);
        for (const std::string& line : one.lines)
            if (!one.is_good) list += fmt::format("{}: {}\n", one.daemon->name, line);
    }
    return list;
}

std::string verdicts_to_json(const std::vector<Verdict>& verdicts) {
    Json root = Json::array();
    for (const Verdict& one : verdicts)
        root.push_back({{"daemon", one.daemon->name},
                        {"file", one.file},
                        {"good", one.is_good},
                        {"messages", one.lines}});
    return root.dump(k_indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace virtgate::ctl::config
