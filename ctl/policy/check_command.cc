// SPDX-License-Identifier: LGPL-2.1-or-later
// check_command - "virtgate policy check" and "show".
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ctl/policy/commands.h"
#include "ctl/policy/complaint_listing.h"
#include "ctl/policy/effects.h"
#include "ctl/policy/group_listing.h"
#include "ctl/policy/json.h"

namespace virtgate::ctl::policy {

namespace {

int show_identities(const Loaded& loaded, bool json) {
    Json list = Json::array();
    std::string text;
    for (const auto& rule : loaded.table.rules()) {
        text += fmt::format("{:<24} {}\n", rule.name, rule.role.empty() ? "(no role)" : rule.role);
        Json roles = Json::array();
        for (const auto& grant : rule.grants)
            if (roles.empty() || roles.back() != grant.role) roles.push_back(grant.role);
        list.push_back({{"identity", rule.name}, {"roles", roles}, {"file", rule.file}, {"line", rule.line}});
    }
    fmt::print("{}", json ? to_text(Json{{"identities", list}}) : text);
    return 0;
}

}  // namespace

int run_check(const Options& options) {
    const Loaded loaded = load(options.chosen_directories());
    const auto& complaints = loaded.complaints;
    if (options.json)
        fmt::print("{}", to_text(Json{{"errors", complaints.errors()},
                                      {"warnings", complaints.warnings()},
                                      {"identities", loaded.table.identities()},
                                      {"complaints", complaints_to_json(loaded)}}));
    else
        fmt::print("{}", list_complaints(loaded));
    if (complaints.errors() != 0) return k_exit_no;
    const std::size_t count = loaded.table.identities();
    if (!options.json) fmt::print("{} {}, no errors.\n", count, count == 1 ? "identity" : "identities");
    return options.strict && complaints.warnings() != 0 ? k_exit_doubt : 0;
}

int run_show(const Options& options) {
    if (options.groups) {
        fmt::print("{}", list_groups(options.json));
        return 0;
    }
    if (!options.group.empty()) {
        const Result<std::string> text = list_group(options.group, options.json);
        if (!text) return say(text.error().text, k_exit_doubt);
        fmt::print("{}", *text);
        return 0;
    }
    const Result<Loaded> loaded = open_policy(options.chosen_directories());
    if (!loaded) return say(loaded.error().text, k_exit_no);
    const std::string& identity = options.client.identity;
    if (identity.empty()) return show_identities(*loaded, options.json);
    const auto* rule = loaded->table.find(identity);
    if (rule == nullptr) return say(no_identity(*loaded, identity), k_exit_doubt);
    const std::vector<Effect> effects = effects_of(*rule);
    Json list = Json::array();
    std::string text;
    for (const Effect& effect : effects) {
        list.push_back(to_json(effect));
        text += effect.to_text() + "\n";
    }
    fmt::print("{}", options.json ? to_text(Json{{"identity", rule->name}, {"effects", list}}) : text);
    return 0;
}

}  // namespace virtgate::ctl::policy
