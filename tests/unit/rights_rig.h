// SPDX-License-Identifier: LGPL-2.1-or-later
// rights_rig - grants and questions for tests of rights, in few words.
#pragma once

#include <criterion/criterion.h>

#include <string>
#include <string_view>
#include <vector>

#include "policy/rights.h"
#include "proto/programs.h"

namespace virtgate::test {

using namespace virtgate::policy;
using proto::policy::AuditLevel;
using proto::policy::FlagRule;
using proto::policy::Grant;
using proto::policy::IdentityRights;
using proto::policy::ObjectPattern;
using proto::policy::PatternKind;
using Need = Rights::Need;

inline const proto::ProcedureInfo& call(std::string_view name) {
    const auto* info = proto::remote_program().find(name);
    cr_assert_not_null(info, "%s", std::string(name).c_str());
    return *info;
}

inline void set(proto::who::Ceiling& ceiling, std::string_view name) {
    const auto& remote = proto::remote_program();
    if (ceiling.programs.empty()) ceiling.programs.push_back({remote.number, remote.version, {}});
    auto& bytes = ceiling.programs[0].procedures;
    const std::uint32_t number = call(name).number;
    if (bytes.size() <= number / 8) bytes.resize(number / 8 + 1);
    bytes[number / 8] |= std::byte{1} << (number % 8);
}

inline FlagRule flags(std::string_view name, std::uint64_t forbidden, std::uint64_t needed = 0) {
    const auto& remote = proto::remote_program();
    return {remote.number, remote.version, call(name).number, forbidden, needed};
}

inline ObjectPattern pattern(ObjectKind kind, PatternKind how, std::string text) {
    return {static_cast<proto::policy::ObjectKind>(kind), how, std::move(text)};
}
inline ObjectPattern exact(ObjectKind kind, std::string text) {
    return pattern(kind, PatternKind::pattern_exact, std::move(text));
}
inline ObjectPattern glob(ObjectKind kind, std::string text) {
    return pattern(kind, PatternKind::pattern_glob, std::move(text));
}

inline Grant grant(std::string role, std::vector<std::string_view> may, std::vector<ObjectPattern> objects) {
    Grant made;
    made.role = std::move(role);
    for (const std::string_view name : may) set(made.may, name);
    made.objects = std::move(objects);
    return made;
}

inline Rights rights(std::vector<Grant> grants, Circumstances circumstances = {}) {
    return Rights(IdentityRights{.generation = 7, .identity = "a", .grants = std::move(grants), .limits = {}},
                  circumstances);
}

inline constexpr Uuid k_uuid{std::byte{0xab}, std::byte{1}};
inline constexpr char k_digits[] = "ab010000000000000000000000000000";

inline Object domain(std::string_view name, bool with_uuid = false) {
    return {ObjectKind::domain, name, with_uuid ? std::optional{k_uuid} : std::nullopt};
}

inline Decision judge(const Rights& rights, std::string_view name, std::vector<Object> objects = {},
                      std::uint64_t bits = 0) {
    return rights.judge(proto::remote_program(), call(name), bits, objects);
}

inline Rights::Need need(const Rights& rights, std::string_view name) {
    return rights.need(proto::remote_program(), call(name));
}

// The clock of rights in these tests.
inline std::int64_t random_now = 0;
inline std::int64_t test_clock() noexcept { return random_now; }

}  // namespace virtgate::test
