// SPDX-License-Identifier: LGPL-2.1-or-later
// words - procedures, flags, objects and times as a policy writes them.
#include "ctl/policy/words.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <array>
#include <ctime>

#include "libshared/base/bytes.h"
#include "policy/flag_names.h"
#include "policy/touch.h"

namespace virtgate::ctl::policy {

using proto::policy::PatternKind;

std::string say_procedure(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure) {
    return fmt::format("{}.{}", program.name, to_upper(procedure.name));
}

std::string say_flags(std::string_view procedure, std::uint64_t bits) {
    // All that the arguments have room for: the number is 32 bits wide in most calls.
    if ((bits & UINT32_MAX) == UINT32_MAX) return "*";
    std::string words;
    for (int i = 0; i < 64; ++i) {
        const std::uint64_t bit = std::uint64_t{1} << i;
        if ((bits & bit) == 0) continue;
        const std::string_view name = virtgate::policy::name_of_flag(procedure, bit);
        words += words.empty() ? "" : ",";
        words += name.empty() ? fmt::format("0x{:x}", bit) : std::string(name);
    }
    return words;
}

std::string say_pattern(const proto::policy::ObjectPattern& pattern) {
    const auto kind = virtgate::policy::to_text(static_cast<virtgate::policy::ObjectKind>(pattern.kind));
    const char* how = pattern.how == PatternKind::pattern_uuid   ? "uuid:"
                      : pattern.how == PatternKind::pattern_glob ? "glob:"
                                                                 : "";
    return fmt::format("{}={}{}", kind, how, pattern.text);
}

std::string_view say_audit(proto::policy::AuditLevel level) noexcept {
    using proto::policy::AuditLevel;
    switch (level) {
        case AuditLevel::audit_none: return "none";
        case AuditLevel::audit_denied: return "denied";
        case AuditLevel::audit_writes: return "writes";
        case AuditLevel::audit_all: return "all";
    }
    return {};
}

std::string say_time(std::int64_t seconds) {
    const auto time = static_cast<std::time_t>(seconds);
    std::tm fields{};
    std::array<char, 64> text{};
    if (gmtime_r(&time, &fields) == nullptr) return std::to_string(seconds);
    return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &fields)};
}

std::string say_moment(audit::Moment moment) {
    return say_time(std::chrono::floor<std::chrono::seconds>(moment).time_since_epoch().count());
}

}  // namespace virtgate::ctl::policy
