// SPDX-License-Identifier: LGPL-2.1-or-later
// explanation_output - an explanation for people and for programs.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ctl/policy/explanation.h"
#include "ctl/policy/json.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::policy {

namespace {

constexpr std::string_view k_mark = "   <-- decides";

// The list of words that the decision is about: it gets the mark, or the binding if there is none.
const std::vector<RoleWord>* deciding_words(const Explanation& explanation, const ExplainedBinding& binding) {
    if (!binding.decides) return nullptr;
    const auto& words = explanation.allowed ? binding.allows : binding.denies;
    return words.empty() || (!explanation.allowed && explanation.reason != "deny-rule") ? nullptr : &words;
}

std::string list_words(const char* list, const std::vector<RoleWord>& words, bool is_marked) {
    std::string text;
    for (const RoleWord& word : words)
        text += fmt::format("    {:<7}{:<36} {}{}\n", list, escape(word.text, 128), say_place(word.at),
                            is_marked && &word == &words.front() ? k_mark : "");
    return text;
}

std::string to_text(const Explanation& explanation, const ExplainedBinding& binding) {
    const auto* decider = deciding_words(explanation, binding);
    return fmt::format("  binding  role {:<15} {}   ({}){}\n", binding.role, say_place(binding.at),
                       binding.says, binding.decides && decider == nullptr ? k_mark : "") +
           list_words("allow", binding.allows, decider == &binding.allows) +
           list_words("need", binding.needs, false) +
           list_words("deny", binding.denies, decider == &binding.denies);
}

Json words_to_json(const std::vector<RoleWord>& words) {
    Json list = Json::array();
    for (const RoleWord& word : words) {
        Json one{{"word", word.text}, {"role", word.role}};
        one.update(to_json(word.at));
        list.push_back(std::move(one));
    }
    return list;
}

}  // namespace

std::string to_text(const Explanation& explanation) {
    std::string text = fmt::format(
        "{:<6}{}   ({})\n  identity {:<20} {}", explanation.allowed ? "ALLOW" : "DENY", explanation.call,
        explanation.reason, explanation.identity, say_place(explanation.identity_at));
    std::string passed;
    for (const std::string& test : explanation.passed)
        passed += fmt::format("{}{} ok", passed.empty() ? "" : ", ", test);
    text += passed.empty() ? "\n" : fmt::format("   ({})\n", passed);
    std::size_t idle = 0;
    for (const ExplainedBinding& binding : explanation.bindings)
        if (binding.has_part || binding.decides || idle++ < k_idle_shown)
            text += to_text(explanation, binding);
    if (idle > k_idle_shown)
        text += fmt::format("  and {} bindings whose roles do not have the procedure\n", idle - k_idle_shown);
    if (explanation.bindings.empty()) text += "  no binding names this identity\n";
    if (explanation.reason == "read-only")
        text += "  the listener is for reading: whatever the policy says\n";
    if (!explanation.shadow.empty()) text += fmt::format("shadow: {}\n", explanation.shadow);
    for (const std::string& note : explanation.notes) text += fmt::format("note: {}\n", note);
    for (const NearMiss& miss : explanation.near_misses) text += fmt::format("near miss: {}\n", miss.text);
    return text;
}

Json to_json(const Explanation& explanation) {
    Json json{{"allowed", explanation.allowed},
              {"reason", explanation.reason},
              {"call", explanation.call},
              {"identity", explanation.identity}};
    json["identity_at"] = to_json(explanation.identity_at);
    json["passed"] = explanation.passed;
    json["bindings"] = Json::array();
    for (const ExplainedBinding& binding : explanation.bindings) {
        Json one{{"role", binding.role}};
        one.update(to_json(binding.at));
        one["says"] = binding.says;
        one["decides"] = binding.decides;
        one["allow"] = words_to_json(binding.allows);
        one["need"] = words_to_json(binding.needs);
        one["deny"] = words_to_json(binding.denies);
        json["bindings"].push_back(std::move(one));
    }
    if (!explanation.shadow.empty()) json["shadow"] = explanation.shadow;
    json["notes"] = explanation.notes;
    json["near_misses"] = Json::array();
    for (const NearMiss& miss : explanation.near_misses)
        json["near_misses"].push_back({{"change", miss.change}, {"text", miss.text}});
    return json;
}

}  // namespace virtgate::ctl::policy
