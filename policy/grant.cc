// SPDX-License-Identifier: LGPL-2.1-or-later
// grant - questions to a single grant of a compiled policy.
#include "policy/grant.h"

#include <algorithm>

#include "policy/glob.h"
#include "policy/migrate_uri.h"

namespace virtgate::policy {

using proto::policy::FlagRule;
using proto::policy::Grant;
using proto::policy::ObjectPattern;
using proto::policy::PatternKind;

namespace {

constexpr std::string_view k_all = "*";

ObjectKind kind_of_pattern(const ObjectPattern& pattern) noexcept {
    return static_cast<ObjectKind>(pattern.kind);
}

bool is_open(const ObjectPattern& pattern) noexcept {
    return pattern.how == PatternKind::pattern_glob && pattern.text == k_all;
}

// Compared as hexadecimal digits: patterns are, and an object has one UUID.
bool equals(std::string_view digits, const Uuid& uuid) noexcept {
    constexpr std::string_view k_hex = "0123456789abcdef";
    if (digits.size() != 2 * uuid.size()) return false;
    for (std::size_t i = 0; i < uuid.size(); ++i) {
        const auto byte = std::to_integer<unsigned>(uuid[i]);
        if (digits[2 * i] != k_hex[byte >> 4] || digits[2 * i + 1] != k_hex[byte & 15]) return false;
    }
    return true;
}

// The part of a volume's name before the first slash, and the rest.
std::pair<std::string_view, std::string_view> split(std::string_view volume) noexcept {
    const auto slash = volume.find('/');
    if (slash == volume.npos) return {volume, {}};
    return {volume.substr(0, slash), volume.substr(slash + 1)};
}

// A path that leads elsewhere than it seems to lies nowhere.
bool is_straight(std::string_view path) noexcept {
    return path.starts_with('/') && path.find("//") == path.npos && path.find("/./") == path.npos &&
           path.find("/../") == path.npos && !path.ends_with("/.") && !path.ends_with("/..");
}

bool lies_below(std::string_view path, std::string_view directory) noexcept {
    while (directory.ends_with('/')) directory.remove_suffix(1);
    return path.starts_with(directory) && (path.size() == directory.size() || path[directory.size()] == '/');
}

bool matches_name(const ObjectPattern& pattern, std::string_view name) noexcept {
    const bool is_glob = pattern.how == PatternKind::pattern_glob;
    switch (kind_of_pattern(pattern)) {
        case ObjectKind::path:
            return is_straight(name) &&
                   (is_glob ? matches_glob(pattern.text, name) : lies_below(name, pattern.text));
        case ObjectKind::migrate_uri: return matches_migrate_uri(pattern.text, name);
        case ObjectKind::volume: {
            if (!is_glob) return name == pattern.text;
            const auto [pool_pattern, volume_pattern] = split(pattern.text);
            const auto [pool, volume] = split(name);
            return matches_glob(pool_pattern, pool) && matches_glob(volume_pattern, volume);
        }
        default: return is_glob ? matches_glob(pattern.text, name) : name == pattern.text;
    }
}

bool is_of(const FlagRule& rule, const proto::ProgramInfo& program, std::uint32_t procedure) noexcept {
    return rule.program == program.number && rule.version == program.version && rule.procedure == procedure;
}

}  // namespace

bool has(const proto::who::Ceiling& ceiling, const proto::ProgramInfo& program,
         std::uint32_t procedure) noexcept {
    for (const auto& each : ceiling.programs)
        if (each.program == program.number && each.version == program.version)
            return procedure / 8 < each.procedures.size() &&
                   (std::to_integer<unsigned>(each.procedures[procedure / 8]) >> (procedure % 8) & 1) != 0;
    return false;
}

bool matches(const ObjectPattern& pattern, const Object& object, Doubt doubt) noexcept {
    if (is_open(pattern)) return true;
    if (pattern.how != PatternKind::pattern_uuid) return matches_name(pattern, object.name);
    return object.uuid ? equals(pattern.text, *object.uuid) : doubt == Doubt::holds;
}

bool covers(const Grant& grant, const Object& object, Doubt doubt) noexcept {
    if (grant.everything) return true;
    const Doubt opposite = doubt == Doubt::holds ? Doubt::does_not_hold : Doubt::holds;
    const auto among = [&](const std::vector<ObjectPattern>& patterns, Doubt each) {
        return std::any_of(patterns.begin(), patterns.end(), [&](const ObjectPattern& pattern) {
            return kind_of_pattern(pattern) == object.kind && matches(pattern, object, each);
        });
    };
    return among(grant.objects, doubt) && !among(grant.except, opposite);
}

KindMask mentioned_kinds(const Grant& grant) noexcept {
    KindMask mask = grant.everything ? (1U << k_kinds) - 1 : 0;
    for (const ObjectPattern& pattern : grant.objects) mask |= bit(kind_of_pattern(pattern));
    return mask;
}

KindMask open_kinds(const Grant& grant) noexcept {
    KindMask mask = grant.everything ? (1U << k_kinds) - 1 : 0;
    for (const ObjectPattern& pattern : grant.objects)
        if (is_open(pattern)) mask |= bit(kind_of_pattern(pattern));
    for (const ObjectPattern& pattern : grant.except)
        mask &= static_cast<KindMask>(~bit(kind_of_pattern(pattern)));
    return mask;
}

bool flags_fit(const Grant& grant, const proto::ProgramInfo& program, std::uint32_t procedure,
               std::uint64_t flags) noexcept {
    bool is_free = true;
    for (const FlagRule& rule : grant.conditions) {
        if (!is_of(rule, program, procedure)) continue;
        if ((flags & rule.forbidden) == 0 && (flags & rule.needed) == rule.needed) return true;
        is_free = false;
    }
    return is_free;
}

std::uint64_t denied_flags(const Grant& grant, const proto::ProgramInfo& program,
                           std::uint32_t procedure) noexcept {
    std::uint64_t bits = 0;
    for (const FlagRule& rule : grant.denied_flags)
        if (is_of(rule, program, procedure)) bits |= rule.forbidden;
    return bits;
}

bool only_reads(const Grant& grant, const proto::ProgramInfo& program,
                const proto::ProcedureInfo& procedure) noexcept {
    if (procedure.kind != proto::ProcedureInfo::Kind::call || procedure.readonly == proto::ReadOnly::allowed)
        return true;
    if (procedure.readonly == proto::ReadOnly::refused) return false;
    std::uint64_t refused = 0;  // flags
    for (const proto::Test& test : procedure.readonly_tests) {
        // What other arguments say, no grant can forbid.
        if (test.path != "flags" || test.kind != proto::layout::TestKind::has) return false;
        refused |= test.value;
    }
    bool has_rule = false;
    for (const FlagRule& rule : grant.conditions) {
        if (!is_of(rule, program, procedure.number)) continue;
        if ((refused & ~rule.forbidden) != 0) return false;
        has_rule = true;
    }
    return has_rule;
}

bool is_for_listener(const Grant& grant, std::string_view listener, Doubt doubt) noexcept {
    if (grant.listeners.empty()) return true;
    if (listener.empty()) return doubt == Doubt::holds;
    return std::find(grant.listeners.begin(), grant.listeners.end(), listener) != grant.listeners.end();
}

bool is_in_time(const Grant& grant, std::int64_t now) noexcept {
    return (!grant.not_before || now >= *grant.not_before) && (!grant.not_after || now <= *grant.not_after);
}

}  // namespace virtgate::policy
