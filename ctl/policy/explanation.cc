// SPDX-License-Identifier: LGPL-2.1-or-later
// explanation - why a call is allowed or refused.
#include "ctl/policy/explanation.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "ctl/policy/effects.h"
#include "ctl/policy/identity_match.h"
#include "ctl/policy/words.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::policy {

using proto::policy::Grant;
using virtgate::policy::Decision;
using virtgate::policy::Doubt;
using virtgate::policy::Object;
using virtgate::policy::Reason;

namespace {

// What one grant has to do with the call, in a few words. The first obstacle counts.
std::string say_part(const Grant& grant, const Question& question) {
    using namespace virtgate::policy;
    const Request& request = question.request;
    const std::uint32_t number = request.procedure->number;
    const std::uint64_t bits = denied_flags(grant, *request.program, number) & request.flags;
    const bool is_on_probation = grant.shadow;
    const auto with_probation = [&](std::string text) {
        return text + (is_on_probation ? ", but it is on probation (shadow)" : "");
    };
    if (!is_for_listener(grant, question.listener, Doubt::does_not_hold))
        return fmt::format("not for clients of the listener {}", question.listener);
    if (!is_in_time(grant, std::time(nullptr))) return "not at this time";
    if (has(grant.deny, *request.program, number)) return with_probation("the role denies the procedure");
    if (bits != 0)
        return with_probation(
            fmt::format("the role denies the flags {}", say_flags(request.procedure->name, bits)));
    if (!has(grant.may, *request.program, number)) return "the procedure is not in the role";
    const auto objects = request.objects();
    const auto outside = std::find_if_not(objects.begin(), objects.end(), [&](const Object& object) {
        return covers(grant, object, Doubt::does_not_hold);
    });
    if (outside != objects.end())
        return fmt::format("the procedure is in the role; {}={} is not among the objects",
                           virtgate::policy::to_text(outside->kind), escape(outside->name, 256));
    if (!flags_fit(grant, *request.program, number, request.flags))
        return "the role does not allow these flags";
    if (objects.empty() && (touched_kinds(*request.procedure) & ~open_kinds(grant)) != 0)
        return "the procedure is in the role, on some objects";
    return with_probation("the procedure, the flags and the objects fit");
}

ExplainedBinding explain_binding(const Grant& grant, const Question& question, Origins& origins) {
    const Request& request = question.request;
    const virtgate::policy::ProcedureKey key{request.program, request.procedure->number};
    ExplainedBinding binding{
        .role = grant.role, .at = origins.place_of(grant), .says = say_part(grant, question)};
    const bool may = virtgate::policy::has(grant.may, *key.program, key.number);
    if (may) binding.allows = origins.allows(grant.role, key);
    if (may && !virtgate::policy::flags_fit(grant, *key.program, key.number, request.flags))
        binding.needs = origins.needs(grant.role, key);
    binding.denies = origins.denies(grant.role, key, request.flags);
    binding.has_part = may || !binding.denies.empty();
    return binding;
}

// On what the answer depends that is not in the question.
std::vector<std::string> notes_of(const Question& question, const virtgate::policy::Rights& rights,
                                  const Decision& decision) {
    std::vector<std::string> notes;
    const Request& request = question.request;
    if (decision.allowed && rights.looks_at_xml(*request.program, *request.procedure)) {
        const auto constraints = scope_of(*decision.grant).constraints;
        if (constraints.empty())
            notes.emplace_back("another binding decides if its XML does not fit this one");
        for (const std::string& constraint : constraints)
            notes.push_back(fmt::format("only with XML of {}", escape(constraint)));
    }
    const auto& global = question.policy.source.global;
    const bool is_local = question.listener == "unix" || question.listener == "unix-ro";
    if (!decision.allowed && global.shadow && (is_local || global.is_open))
        notes.push_back(fmt::format("the policy is on probation ({}): the call passes, and is recorded",
                                    say_place(*global.shadow)));
    return notes;
}

}  // namespace

Explanation explain(const Question& question) {
    const auto rights = rights_of(question.rule, question.listener);
    const Decision decision = judge(rights, question.request);
    Origins origins(question.policy.source);
    Explanation result{.allowed = decision.allowed,
                       .reason = std::string(to_text(decision.reason)),
                       .call = question.request.describe(),
                       .identity = question.rule.name,
                       .identity_at = origins.place_of(question.rule.name)};
    if (question.who != nullptr) result.passed = passed_tests(question.rule, *question.who);
    for (const Grant& grant : rights.grants()) {
        ExplainedBinding binding = explain_binding(grant, question, origins);
        binding.decides = decision.grant == &grant;
        result.bindings.push_back(std::move(binding));
    }
    if (const Grant* shadow = decision.shadow)
        result.shadow =
            fmt::format("the binding of the role {} at {} is on probation and would {} it", shadow->role,
                        say_place(origins.place_of(*shadow)), decision.allowed ? "refuse" : "allow");
    result.notes = notes_of(question, rights, decision);
    if (decision.allowed && question.listener == "unix-ro" && !is_for_readers(question.request)) {
        result.allowed = false;
        result.reason = "read-only";
        result.near_misses.push_back({"listener", "at the listener unix the call is allowed"});
    } else if (!decision.allowed) {
        result.near_misses = near_misses(question, origins);
    }
    return result;
}

}  // namespace virtgate::ctl::policy
