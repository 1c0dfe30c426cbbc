// SPDX-License-Identifier: LGPL-2.1-or-later
// parse_tree - what all readers of policy files need.
#include "policy/parse_tree.h"

#include <fmt/format.h>

#include <algorithm>

#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"

namespace virtgate::policy {

const config::Entry* TreeReader::find(const config::Table& table, std::string_view key) {
    const auto found = table.find(key);
    return found == table.end() ? nullptr : &found->second;
}

void TreeReader::refuse_others(const config::Table& table, const std::vector<std::string_view>& known,
                               std::string_view where) {
    for (const auto& [key, entry] : table)
        if (!complaints_.is_full() && std::find(known.begin(), known.end(), key) == known.end())
            complain(entry.key,
                     fmt::format("unknown key \"{}\"{}{}", escape(key), where, did_you_mean(key, known)));
}

std::vector<Text> TreeReader::read_texts(const config::Entry& entry, std::string_view key) {
    if (const auto* text = std::get_if<std::string>(&entry.node.value))
        return {{*text, at(entry.node.place)}};
    std::vector<Text> texts;
    const auto* list = std::get_if<config::Array>(&entry.node.value);
    if (list == nullptr || list->empty())
        complain(entry.node.place, fmt::format("\"{}\" has to be a text or a list of texts", key));
    else
        for (const config::Node& node : *list) {
            if (const auto* text = std::get_if<std::string>(&node.value))
                texts.push_back({*text, at(node.place)});
            else
                complain(node.place, fmt::format("\"{}\" has to be a list of texts", key));
        }
    return texts;
}

std::optional<Text> TreeReader::read_text(const config::Entry& entry, std::string_view key) {
    if (const auto* text = std::get_if<std::string>(&entry.node.value))
        return Text{*text, at(entry.node.place)};
    complain(entry.node.place, fmt::format("\"{}\" has to be a text", escape(key)));
    return std::nullopt;
}

}  // namespace virtgate::policy
