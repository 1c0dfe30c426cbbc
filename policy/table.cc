// SPDX-License-Identifier: LGPL-2.1-or-later
// table - the compiled policy: which identity is this client?
#include "policy/table.h"

#include <algorithm>

#include "policy/glob.h"
#include "policy/network.h"
#include "proto/codec.h"

namespace virtgate::policy {

using proto::policy::ClientTest;
using proto::policy::LocalTest;
using proto::policy::MatchKind;
using proto::policy::NameTest;
using proto::policy::SaslTest;
using proto::policy::TextTest;
using proto::policy::X509Test;
using proto::who::AlternativeName;
using proto::who::LocalFacts;
using proto::who::NamePart;
using proto::who::SaslFacts;
using proto::who::Who;
using proto::who::X509Facts;

namespace {

constexpr std::string_view k_tls_listener = "tls";

bool passes(std::string_view value, const TextTest& test) noexcept {
    switch (test.kind) {
        case MatchKind::match_exact: return value == test.pattern;
        case MatchKind::match_glob: return matches_glob(test.pattern, value);
    }
    return false;  // a kind that is not known matches nothing
}

// Of two common names one may be anybody's: an attribute that is tested has to be there once.
bool passes(const std::vector<NamePart>& name, const NameTest& test) noexcept {
    const auto named = [&](const NamePart& part) { return part.attribute == test.attribute; };
    const auto part = std::find_if(name.begin(), name.end(), named);
    return part != name.end() && std::none_of(part + 1, name.end(), named) && passes(part->value, test.value);
}

bool passes(const std::vector<NamePart>& name, const std::vector<NameTest>& tests) noexcept {
    return std::all_of(tests.begin(), tests.end(), [&](const NameTest& test) { return passes(name, test); });
}

std::string_view without_zeros(std::string_view digits) noexcept {
    return digits.substr(std::min(digits.find_first_not_of('0'), digits.size()));
}

bool passes(const X509Facts& facts, const X509Test& test) noexcept {
    // Several alternative names are the rule, and each of them is the client's.
    const auto has_name = [&](const auto& wanted) {
        return std::any_of(facts.names.begin(), facts.names.end(), [&](const AlternativeName& name) {
            return name.kind == wanted.kind && passes(name.value, wanted.value);
        });
    };
    return passes(facts.subject, test.subject) && passes(facts.issuer, test.issuer) &&
           std::all_of(test.names.begin(), test.names.end(), has_name) &&
           (test.serial.empty() || without_zeros(facts.serial) == test.serial) &&
           (test.fingerprint.empty() || std::equal(test.fingerprint.begin(), test.fingerprint.end(),
                                                   facts.fingerprint.begin(), facts.fingerprint.end()));
}

bool passes(const SaslFacts& facts, const SaslTest& test) noexcept {
    return passes(facts.name, test.name) &&
           (test.mechanisms.empty() || std::find(test.mechanisms.begin(), test.mechanisms.end(),
                                                 facts.mechanism) != test.mechanisms.end());
}

bool passes(const LocalFacts& facts, const LocalTest& test) noexcept {
    return (!test.uid || *test.uid == facts.uid) &&
           std::all_of(test.groups.begin(), test.groups.end(), [&](std::uint32_t group) {
               return group == facts.gid ||
                      std::find(facts.groups.begin(), facts.groups.end(), group) != facts.groups.end();
           });
}

// True if there is no test, or if the fact that it asks for is there and passes.
template <class Facts, class Test>
bool passes(const std::optional<Facts>& facts, const std::optional<Test>& test) noexcept {
    return !test || (facts && passes(*facts, *test));
}

bool passes(const Who& who, const ClientTest& test) noexcept {
    return passes(who.certificate, test.certificate) && passes(who.login, test.login) &&
           (!test.local || who.local_counts) && passes(who.local, test.local) &&
           (!test.tls || who.listener == k_tls_listener) && (!test.certificate_shown || who.certificate) &&
           who.strength >= test.strength && (test.sources.empty() || lies_in_one(who.source, test.sources));
}

}  // namespace

bool identifies(const ClientTest& test) noexcept { return test.certificate || test.login || test.local; }

bool fulfils(const Who& who, const Table::Rule& rule) noexcept {
    if (!passes(who, rule.all)) return false;
    const bool identified = identifies(rule.all);
    if (rule.any.empty()) return identified;
    return std::any_of(rule.any.begin(), rule.any.end(), [&](const ClientTest& test) {
        return (identified || identifies(test)) && passes(who, test);
    });
}

Result<Table> Table::decode(ByteView bytes) {
    auto rules = proto::decode<proto::policy::PolicyTable>(bytes);
    if (!rules)
        return system_fault(0, fmt::format("the compiled policy has a flaw: {}", to_text(rules.error())));
    return Table(std::move(*rules));
}

Table::Match Table::match(const Who& who) const noexcept {
    Match match;
    for (const Rule& rule : rules_.identities) {
        if (!fulfils(who, rule)) continue;
        if (match.rule != nullptr) {
            match.other = &rule;
            break;
        }
        match.rule = &rule;
    }
    return match;
}

const Table::Rule* Table::find(std::string_view identity) const noexcept {
    const auto rule = std::find_if(rules_.identities.begin(), rules_.identities.end(),
                                   [&](const Rule& each) { return each.name == identity; });
    return rule == rules_.identities.end() ? nullptr : &*rule;
}

proto::policy::IdentityRights Table::rights_of(std::string_view name, std::uint64_t generation) const {
    proto::policy::IdentityRights rights{
        .generation = generation, .identity = std::string(name), .grants = {}, .limits = {}, .shadowed = {}};
    const Rule* rule = find(name);
    if (rule == nullptr) return rights;
    rights.grants = rule->grants;
    rights.limits = rule->limits;
    rights.shadowed = rules_.shadowed;
    return rights;
}

}  // namespace virtgate::policy
