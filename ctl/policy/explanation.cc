// SPDX-License-Identifier: LGPL-2.1-or-later
// explanation - why a call is allowed or refused.
#include "ctl/policy/explanation.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "libshared/base/bytes.h"

namespace virtgate::ctl::policy {

using proto::policy::Grant;
using virtgate::policy::Decision;
using virtgate::policy::Doubt;
using virtgate::policy::Rights;

namespace {

// What one grant has to do with the call, in a few words.
std::string say(const Grant& grant, const Request& request, const std::string& listener) {
    using namespace virtgate::policy;
    const std::uint32_t number = request.procedure->number;
    const auto objects = request.objects();
    const bool denies = has(grant.deny, *request.program, number);
    const std::uint64_t bits = denied_flags(grant, *request.program, number) & request.flags;
    const bool allows = has(grant.may, *request.program, number);
    const auto covered = [&](const Object& object) { return covers(grant, object, Doubt::does_not_hold); };
    const auto out = std::find_if_not(objects.begin(), objects.end(), covered);
    if (!is_for_listener(grant, listener, Doubt::does_not_hold))
        return fmt::format("not for clients of the listener {}", listener);
    if (!is_in_time(grant, std::time(nullptr))) return "not at this time";
    const std::string probation = grant.shadow ? ", but it is on probation (shadow)" : "";
    if (denies) return "the role denies the procedure" + probation;
    if (bits != 0) return fmt::format("the role denies the flags 0x{:x}{}", bits, probation);
    if (!allows) return "the procedure is not in the role";
    if (out != objects.end())
        return fmt::format("the procedure is in the role; {}={} is not among the objects", to_text(out->kind),
                           escape(out->name, 256));
    if (!flags_fit(grant, *request.program, number, request.flags))
        return "the role does not allow these flags";
    if (objects.empty() && (touched_kinds(*request.procedure) & ~open_kinds(grant)) != 0)
        return "the procedure is in the role; on which object?";
    return "the procedure, the flags and the objects fit" + probation;
}

// The smallest change that would make a refused call an allowed one.
std::string near_miss(const Rights& rights, const Request& request) {
    const auto objects = request.objects();
    const auto allowed = [&](std::uint64_t flags, std::span<const virtgate::policy::Object> on) {
        return rights.judge(*request.program, *request.procedure, flags, on).allowed;
    };
    if (request.flags != 0 && allowed(0, objects)) return "without flags the call is allowed";
    for (int i = 0; i < 64; ++i) {
        const std::uint64_t bit = std::uint64_t{1} << i;
        if ((request.flags & bit) == 0 && allowed(request.flags | bit, objects))
            return fmt::format("with the flag 0x{:x} the call is allowed", bit);
    }
    for (const Grant& grant : rights.grants())
        if (virtgate::policy::has(grant.may, *request.program, request.procedure->number)) {
            std::string names;
            for (const auto& pattern : grant.objects)
                names += fmt::format(
                    "{}{}={}", names.empty() ? "" : " ",
                    virtgate::policy::to_text(static_cast<virtgate::policy::ObjectKind>(pattern.kind)),
                    escape(pattern.text, 64));
            return fmt::format("the role {} allows the procedure on {}", grant.role,
                               names.empty() ? std::string("no object: the binding names none") : names);
        }
    return {};
}

}  // namespace

Rights rights_of(const virtgate::policy::Table::Rule& rule, const std::string& listener) {
    return Rights({.generation = 0, .identity = rule.name, .grants = rule.grants, .limits = rule.limits},
                  {.listener = listener, .clock = nullptr});
}

Explanation explain(const virtgate::policy::Table::Rule& rule, const std::string& listener,
                    const Request& request) {
    const Rights rights = rights_of(rule, listener);
    const auto objects = request.objects();
    const Decision decision = rights.judge(*request.program, *request.procedure, request.flags, objects);
    Explanation result{.allowed = decision.allowed};
    const char* word = decision.allowed ? "ALLOW" : "DENY";
    result.text = fmt::format("{:<6}{}   ({})\n  identity {:<20} {}:{}\n", word, request.describe(),
                              to_text(decision.reason), rule.name, escape(rule.file), rule.line);
    nlohmann::ordered_json json{{"allowed", decision.allowed},
                                {"reason", to_text(decision.reason)},
                                {"call", request.describe()},
                                {"identity", rule.name},
                                {"bindings", nlohmann::ordered_json::array()}};
    for (const Grant& grant : rights.grants()) {
        const std::string said = say(grant, request, listener);
        const bool decides = decision.grant == &grant;
        result.text += fmt::format("  binding  role {:<15} {}:{}   {}{}\n", grant.role, escape(grant.file),
                                   grant.line, said, decides ? "   <-- decides" : "");
        json["bindings"].push_back({{"role", grant.role},
                                    {"file", grant.file},
                                    {"line", grant.line},
                                    {"says", said},
                                    {"decides", decides}});
    }
    if (rights.grants().empty()) result.text += "  no binding names this identity\n";
    const std::string miss = decision.allowed ? std::string{} : near_miss(rights, request);
    if (!miss.empty()) result.text += fmt::format("near miss: {}\n", miss);
    json["near_miss"] = miss;
    result.json = json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
    return result;
}

}  // namespace virtgate::ctl::policy
