// SPDX-License-Identifier: LGPL-2.1-or-later
// parse - read one policy file into a Source.
#include "policy/parse.h"

#include <fmt/format.h>

#include <algorithm>

#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "libshared/config/tree.h"
#include "policy/attributes.h"
#include "policy/glob.h"
#include "proto/policy.h"

namespace virtgate::policy {

namespace {

constexpr std::int64_t k_version = 1;
constexpr std::string_view k_glob_prefix = "glob:";

class Parser {
public:
    Parser(const std::string& file, Source& source, Complaints& complaints)
        : file_(file), source_(source), complaints_(complaints) {}

    void run(const config::Table& root) {
        refuse_others(root, {"version", "identity", "role", "binding"}, "");
        const config::Entry* version = find(root, "version");
        const auto* number = version != nullptr ? std::get_if<std::int64_t>(&version->node.value) : nullptr;
        if (version == nullptr)
            complaints_.error({file_, 1, 1}, "\"version = 1\" is missing");
        else if (number == nullptr || *number != k_version)
            complaints_.error(at(version->node.place), "only version 1 of policy files is known");
        each_table(root, "identity",
                   [&](const Text& name, const config::Table& table) { read_identity(name, table); });
        each_table(root, "role",
                   [&](const Text& name, const config::Table& table) { read_role(name, table); });
        read_bindings(root);
    }

private:
    [[nodiscard]] Place at(const config::Place& place) const { return {file_, place.line, place.column}; }

    static const config::Entry* find(const config::Table& table, std::string_view key) {
        const auto found = table.find(key);
        return found == table.end() ? nullptr : &found->second;
    }

    // Unknown keys are errors: a misspelt condition must not be a condition less.
    void refuse_others(const config::Table& table, const std::vector<std::string_view>& known,
                       std::string_view where) {
        for (const auto& [key, entry] : table)
            if (std::find(known.begin(), known.end(), key) == known.end())
                complaints_.error(at(entry.key), fmt::format("unknown key \"{}\"{}{}", escape(key), where,
                                                             did_you_mean(key, known)));
    }

    template <class Read>
    void each_table(const config::Table& root, std::string_view kind, Read&& read) {
        const config::Entry* entry = find(root, kind);
        if (entry == nullptr) return;
        const auto* named = std::get_if<config::Table>(&entry->node.value);
        if (named == nullptr)
            return complaints_.error(at(entry->key), fmt::format("write [{}.NAME] instead", kind));
        for (const auto& [name, child] : *named) {
            const auto* table = std::get_if<config::Table>(&child.node.value);
            if (table == nullptr)
                complaints_.error(at(child.key), fmt::format("\"{}\" has to be a table: [{}.{}]",
                                                             escape(name), kind, escape(name)));
            else if (is_name(name, child.key))
                read(Text{name, at(child.key)}, *table);
        }
    }

    bool is_name(std::string_view name, const config::Place& place) {
        const bool good = !name.empty() && name.size() <= k_name_max &&
                          std::all_of(name.begin(), name.end(), [](unsigned char c) {
                              return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                     (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
                          });
        if (!good)
            complaints_.error(at(place), fmt::format("\"{}\" is no name: use 1 to {} letters, digits and -_.",
                                                     escape(name), k_name_max));
        return good;
    }

    void read_identity(const Text& name, const config::Table& table) {
        refuse_others(table, {"x509"}, " of an identity");
        IdentitySource identity{.name = name};
        const config::Entry* x509 = find(table, "x509");
        const auto* conditions = x509 != nullptr ? std::get_if<config::Table>(&x509->node.value) : nullptr;
        if (x509 == nullptr)
            complaints_.error(name.at, fmt::format("the identity \"{}\" has no conditions", name.text));
        else if (conditions == nullptr)
            complaints_.error(at(x509->node.place), "\"x509\" has to be a table of attributes");
        else if (conditions->empty())
            complaints_.error(at(x509->node.place), "an empty table of attributes would match everybody");
        else if (conditions->size() > proto::policy::k_conditions_max)
            complaints_.error(at(x509->node.place), "too many attributes");
        else
            for (const auto& [attribute, entry] : *conditions) read_condition(attribute, entry, identity);
        // Also after errors, so that bindings to it are not reported on top.
        source_.identities.push_back(std::move(identity));
    }

    void read_condition(const std::string& attribute, const config::Entry& entry, IdentitySource& identity) {
        const std::string_view canonical = canonical_attribute(attribute);
        if (canonical.empty())
            complaints_.error(at(entry.key), fmt::format("unknown attribute \"{}\"{}", escape(attribute),
                                                         did_you_mean(attribute, known_attributes())));
        const auto* text = std::get_if<std::string>(&entry.node.value);
        if (text == nullptr)
            return complaints_.error(at(entry.node.place),
                                     fmt::format("\"{}\" has to be a text", escape(attribute)));
        const bool is_glob = text->starts_with(k_glob_prefix);
        std::string pattern = is_glob ? text->substr(k_glob_prefix.size()) : *text;
        std::string_view flaw = is_glob ? flaw_of_glob(pattern) : std::string_view{};
        if (pattern.empty())
            flaw = "an empty text matches nothing";
        else if (pattern.size() > proto::who::k_text_max)
            flaw = "the text is too long";
        else if (std::any_of(pattern.begin(), pattern.end(),
                             [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
            flaw = "the text contains a control character, which no name has";
        if (!flaw.empty()) return complaints_.error(at(entry.node.place), flaw);
        identity.subject.push_back({.attribute = {std::string(canonical), at(entry.key)},
                                    .is_glob = is_glob,
                                    .pattern = std::move(pattern)});
    }

    void read_role(const Text& name, const config::Table& table) {
        refuse_others(table, {"allow"}, " of a role");
        RoleSource role{.name = name};
        const config::Entry* allow = find(table, "allow");
        if (allow == nullptr)
            complaints_.error(name.at, fmt::format("the role \"{}\" allows nothing", name.text));
        else
            role.allow = read_texts(*allow, "allow");
        source_.roles.push_back(std::move(role));
    }

    void read_bindings(const config::Table& root) {
        const config::Entry* entry = find(root, "binding");
        if (entry == nullptr) return;
        const auto* list = std::get_if<config::Array>(&entry->node.value);
        if (list == nullptr) return complaints_.error(at(entry->key), "write [[binding]] instead");
        for (const config::Node& node : *list) {
            const auto* table = std::get_if<config::Table>(&node.value);
            if (table == nullptr) {
                complaints_.error(at(node.place), "write [[binding]] instead");
                continue;
            }
            refuse_others(*table, {"identity", "role"}, " of a binding");
            BindingSource binding{.at = at(node.place)};
            binding.identities = read_required(*table, "identity", binding.at);
            binding.roles = read_required(*table, "role", binding.at);
            source_.bindings.push_back(std::move(binding));
        }
    }

    std::vector<Text> read_required(const config::Table& table, std::string_view key, const Place& where) {
        const config::Entry* entry = find(table, key);
        if (entry != nullptr) return read_texts(*entry, key);
        complaints_.error(where, fmt::format("the binding has no \"{}\"", key));
        return {};
    }

    // A text, or a list of texts that is not empty.
    std::vector<Text> read_texts(const config::Entry& entry, std::string_view key) {
        if (const auto* text = std::get_if<std::string>(&entry.node.value))
            return {{*text, at(entry.node.place)}};
        std::vector<Text> texts;
        const auto* list = std::get_if<config::Array>(&entry.node.value);
        if (list == nullptr || list->empty())
            complaints_.error(at(entry.node.place),
                              fmt::format("\"{}\" has to be a text or a list of texts", key));
        else
            for (const config::Node& node : *list) {
                if (const auto* text = std::get_if<std::string>(&node.value))
                    texts.push_back({*text, at(node.place)});
                else
                    complaints_.error(at(node.place), fmt::format("\"{}\" has to be a list of texts", key));
            }
        return texts;
    }

    const std::string& file_;
    Source& source_;
    Complaints& complaints_;
};

}  // namespace

void parse_file(std::string_view text, const std::string& file, Source& source, Complaints& complaints) {
    const auto root = config::parse(text, file);
    if (!root) return complaints.ready_error(file, root.error().text);
    Parser(file, source, complaints).run(*root);
}

}  // namespace virtgate::policy
