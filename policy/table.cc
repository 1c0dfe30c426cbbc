// SPDX-License-Identifier: LGPL-2.1-or-later
// table - the compiled policy: which identity is this client?
#include "policy/table.h"

#include <algorithm>

#include "policy/glob.h"
#include "proto/codec.h"

namespace virtgate::policy {

using proto::policy::MatchKind;
using proto::policy::NameCondition;
using proto::who::NamePart;
using proto::who::Who;

namespace {

bool fulfils(const NamePart& part, const NameCondition& condition) noexcept {
    if (part.attribute != condition.attribute) return false;
    switch (condition.kind) {
        case MatchKind::match_exact: return part.value == condition.pattern;
        case MatchKind::match_glob: return matches_glob(condition.pattern, part.value);
    }
    return false;  // a kind that is not known matches nothing
}

}  // namespace

bool fulfils(const Who& who, const Table::Rule& rule) noexcept {
    if (who.method != proto::who::AuthMethod::auth_x509 || rule.subject.empty()) return false;
    // Of two common names one may be anybody's: an attribute that a condition names has to be there once.
    return std::all_of(rule.subject.begin(), rule.subject.end(), [&](const NameCondition& condition) {
        return std::count_if(who.subject.begin(), who.subject.end(),
                             [&](const NamePart& part) { return part.attribute == condition.attribute; }) ==
                   1 &&
               std::any_of(who.subject.begin(), who.subject.end(),
                           [&](const NamePart& part) { return fulfils(part, condition); });
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

}  // namespace virtgate::policy
