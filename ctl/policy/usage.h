// SPDX-License-Identifier: LGPL-2.1-or-later
// usage - which parts of a policy somebody has used, and which nobody has.
//
// A recorded call counts for the binding that its record names. If the policy has changed since and that
// binding is no more where it was, it counts for the one that allows the call now.
//
// Limits: memory in proportion to the policy, not to records.
// Owns:   counts; the policy has to outlive it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ctl/audit/entry.h"
#include "ctl/policy/loaded.h"
#include "ctl/policy/origins.h"
#include "policy/rights.h"

namespace virtgate::ctl::policy {

// A word of a role, and those of the procedures that it allows which nobody has called.
struct UnusedWord {
    RoleWord word{};
    std::size_t procedures = 0;         // that the word allows
    std::vector<std::string> unused{};  // "remote.DOMAIN_REBOOT"
};

struct GrantUsage {
    std::string identity{}, role{};
    virtgate::policy::Place at{};  // where the binding names the role
    proto::policy::AuditLevel audit{};
    bool is_shadow = false;      // the binding is on probation
    std::size_t procedures = 0;  // that the role allows
    std::size_t used = 0;
    std::size_t unrecorded = 0;  // of which nobody knows, because the role's audit level leaves them out
    std::vector<UnusedWord> words{};
};

struct UsageReport {
    std::optional<audit::Moment> first{}, last{};  // records that the file has
    std::uint64_t records = 0;                     // since the moment that was asked for
    std::vector<std::string> warnings{};
    std::vector<GrantUsage> grants{};  // with something that is unused, or not recorded
};

class Usage {
public:
    // Of `identity` only, unless it is empty.
    Usage(const Loaded& policy, std::string_view identity);
    ~Usage();

    // Takes a record into account: all of the file, also what is older than `since`.
    void add(const audit::Entry& entry, audit::Moment since);

    [[nodiscard]] UsageReport report(audit::Moment since, audit::Moment now) const;

private:
    struct Person;
    void use(Person& person, const audit::Entry& entry);
    const Loaded& policy_;
    std::vector<std::unique_ptr<Person>> persons_{};
    UsageReport seen_{};
};

[[nodiscard]] std::string to_text(const UsageReport& report);
[[nodiscard]] nlohmann::ordered_json to_json(const UsageReport& report);

}  // namespace virtgate::ctl::policy
