// SPDX-License-Identifier: LGPL-2.1-or-later
// near_miss - the smallest changes that would turn a refusal into a permission.
#include "ctl/policy/near_miss.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <set>

#include "ctl/policy/words.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::policy {

using proto::policy::Grant;
using virtgate::policy::Place;

namespace {

constexpr std::size_t k_patterns_shown = 8;

std::string list_patterns(const std::vector<proto::policy::ObjectPattern>& patterns) {
    std::string names;
    for (std::size_t i = 0; i < std::min(patterns.size(), k_patterns_shown); ++i)
        names += (names.empty() ? "" : ", ") + escape(say_pattern(patterns[i]), 96);
    if (patterns.size() > k_patterns_shown)
        names += fmt::format(" and {} more", patterns.size() - k_patterns_shown);
    return names;
}

class Search {
public:
    Search(const Question& question, Origins& origins)
        : question_(question),
          origins_(origins),
          key_{question.request.program, question.request.procedure->number} {}

    std::vector<NearMiss> run() {
        try_flags();
        try_listeners();
        try_times();
        try_denies();
        try_shadows();
        if (found_.empty()) say_objects();
        if (found_.empty()) say_roles();
        return std::move(found_);
    }

private:
    void add(const char* change, std::string text) { found_.push_back({change, std::move(text)}); }

    [[nodiscard]] bool allowed(const Request& request) const {
        return judge(rights_of(question_.rule, question_.listener), request).allowed;
    }

    // With every grant changed by `change`.
    template <class Change>
    [[nodiscard]] virtgate::policy::Decision judge_with(Change&& change) const {
        std::vector<Grant> grants = question_.rule.grants;
        for (Grant& grant : grants) change(grant);
        const auto rights = rights_of(question_.rule, std::move(grants), question_.listener);
        virtgate::policy::Decision decision = judge(rights, question_.request);
        if (decision.grant != nullptr) {
            role_ = decision.grant->role;
            place_ = {.file = decision.grant->file, .line = decision.grant->line};
        }
        decision.grant = nullptr;  // it ends here
        return decision;
    }

    [[nodiscard]] bool has_procedure(const Grant& grant) const {
        return virtgate::policy::has(grant.may, *key_.program, key_.number);
    }

    void try_flags() {
        Request changed = question_.request;
        const std::string_view name = changed.procedure->name;
        changed.flags = 0;
        if (question_.request.flags != 0 && allowed(changed))
            return add("flags", "without flags the call is allowed");
        std::set<std::uint64_t> candidates;
        for (int i = 0; i < 64; ++i)
            if ((question_.request.flags >> i & 1) != 0) candidates.insert(std::uint64_t{1} << i);
        for (const Grant& grant : question_.rule.grants)
            for (const auto& rule : grant.conditions)
                if (rule.program == key_.program->number && rule.procedure == key_.number) {
                    if (rule.needed != 0) candidates.insert(rule.needed & ~question_.request.flags);
                    candidates.insert(rule.forbidden & question_.request.flags);
                }
        for (const std::uint64_t bits : candidates) {
            const bool is_set = (question_.request.flags & bits) != 0;
            changed.flags = question_.request.flags ^ bits;
            if (bits != 0 && found_.size() < k_misses_max && allowed(changed))
                add("flags", fmt::format("{} {} the call is allowed", is_set ? "without" : "with",
                                         say_flags(name, bits)));
        }
    }

    void try_listeners() {
        std::string names;
        for (const std::string_view listener : k_listeners)
            if (listener != question_.listener &&
                judge(rights_of(question_.rule, std::string(listener)), question_.request).allowed &&
                (listener != "unix-ro" || is_for_readers(question_.request)))
                names += (names.empty() ? "" : " or ") + std::string(listener);
        // A grant for all listeners would have allowed it here.
        if (!names.empty()) add("listener", fmt::format("at the listener {} the call is allowed", names));
    }

    void try_times() {
        if (!judge_with([](Grant& grant) { grant.not_before = grant.not_after = std::nullopt; }).allowed)
            return;
        for (const Grant& grant : question_.rule.grants) {
            if (grant.role != role_ || grant.file != place_.file || grant.line != place_.line) continue;
            std::string when = grant.not_before ? " from " + say_time(*grant.not_before) : "";
            if (grant.not_after) when += " until " + say_time(*grant.not_after);
            if (!when.empty()) return add("time", fmt::format("the call is allowed{}", when));
        }
    }

    void try_denies() {
        const auto drop = [&](Grant& grant) {
            grant.deny = {};
            grant.denied_flags.clear();
        };
        if (!judge_with(drop).allowed) return;
        std::set<std::string> words;
        for (const Grant& grant : question_.rule.grants)
            for (const RoleWord& word : origins_.denies(grant.role, key_, question_.request.flags))
                words.insert(fmt::format("{} ({})", escape(word.text), say_place(word.at)));
        std::string text;
        for (const std::string& word : words) text += (text.empty() ? "" : " and ") + word;
        if (!text.empty()) add("deny", fmt::format("without the deny {} the call is allowed", text));
    }

    void try_shadows() {
        if (judge_with([](Grant& grant) { grant.shadow = false; }).allowed)
            add("shadow",
                fmt::format("if the binding of the role {} at {} were not on probation the call would "
                            "be allowed",
                            role_, say_place(place_)));
    }

    // Where the procedure is in a role, and the objects do not fit.
    void say_objects() {
        for (const Grant& grant : question_.rule.grants) {
            if (!has_procedure(grant) || found_.size() == k_misses_max) continue;
            std::string names = list_patterns(grant.objects);
            if (!grant.except.empty()) names += " except " + list_patterns(grant.except);
            add("objects",
                names.empty()
                    ? fmt::format("the role {} allows the procedure, and its binding at {} names no "
                                  "objects",
                                  grant.role, say_place(origins_.place_of(grant)))
                    : fmt::format("the role {} allows the procedure on {}", grant.role, names));
        }
    }

    // Which roles of others have what none of this identity's has.
    void say_roles() {
        std::set<std::string> roles;
        for (const auto& rule : question_.policy.table.rules())
            for (const Grant& grant : rule.grants)
                if (has_procedure(grant)) roles.insert(grant.role);
        std::string names;
        for (const std::string& role : roles) names += (names.empty() ? "" : ", ") + role;
        add("role",
            roles.empty()
                ? "no role that somebody has allows the procedure"
                : fmt::format("no role of this identity has the procedure; of others have it: {}", names));
    }

    const Question& question_;
    Origins& origins_;
    const virtgate::policy::ProcedureKey key_;
    std::vector<NearMiss> found_{};
    mutable std::string role_{};  // of the grant that decided in judge_with()
    mutable Place place_{};       // and its binding
};

}  // namespace

std::vector<NearMiss> near_misses(const Question& question, Origins& origins) {
    if (virtgate::policy::is_denied_for_good(*question.request.program, *question.request.procedure))
        return {};
    return Search(question, origins).run();
}

}  // namespace virtgate::ctl::policy
