// SPDX-License-Identifier: LGPL-2.1-or-later
// parse - read one policy file into a Source.
#include "policy/parse.h"

#include <fmt/format.h>

#include <algorithm>

#include "libshared/base/bytes.h"
#include "libshared/config/tree.h"
#include "policy/parse_grant.h"
#include "policy/parse_identity.h"
#include "policy/parse_tree.h"

namespace virtgate::policy {

namespace {

constexpr std::int64_t k_version = 1;

class Parser : private TreeReader {
public:
    Parser(const std::string& file, Source& source, Complaints& complaints)
        : TreeReader(file, complaints), file_(file), source_(source), complaints_(complaints) {}

    void run(const config::Table& root) {
        refuse_others(root, {"version", "global", "group", "identity", "role", "binding"}, "");
        const config::Entry* version = find(root, "version");
        const auto* number = version != nullptr ? std::get_if<std::int64_t>(&version->node.value) : nullptr;
        if (version == nullptr)
            complaints_.error({file_, 1, 1}, "\"version = 1\" is missing");
        else if (number == nullptr || *number != k_version)
            complaints_.error(at(version->node.place), "only version 1 of policy files is known");
        // Also after errors, so that bindings to an identity are not reported on top.
        each_table(root, "identity", [&](const Text& name, const config::Table& table) {
            source_.identities.push_back(parse_identity(name, table, *this));
        });
        each_table(root, "group", [&](const Text& name, const config::Table& table) {
            source_.groups.push_back(parse_group(name, table, *this));
        });
        each_table(root, "role", [&](const Text& name, const config::Table& table) {
            source_.roles.push_back(parse_role(name, table, *this));
        });
        read_global(root);
        read_bindings(root);
    }

private:
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

    void read_global(const config::Table& root) {
        const config::Entry* entry = find(root, "global");
        if (entry == nullptr) return;
        const auto* table = std::get_if<config::Table>(&entry->node.value);
        if (table == nullptr) return complaints_.error(at(entry->key), "write [global] instead");
        parse_global(*table, *this, source_.global);
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
            source_.bindings.push_back(parse_binding(node.place, *table, *this));
        }
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
