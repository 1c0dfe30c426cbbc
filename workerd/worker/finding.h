// SPDX-License-Identifier: LGPL-2.1-or-later
// finding - what was decided about one call of a client, and why: for its error, the log and the record.
//
// Owns:   what it names; its rights live at least as long as it does.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "policy/rights.h"
#include "proto/audit.h"

namespace virtgate::workerd::worker {

struct Finding {
    // An object that the call is about.
    struct Thing {
        policy::ObjectKind kind = policy::ObjectKind::domain;
        std::string name{};
        std::optional<policy::Uuid> uuid{};
        bool is_known = false;  // as libvirt calls it; false: as the client does
    };
    bool allowed = false;
    bool is_shadowed = false;  // it passed although it is not allowed: the policy is on probation
    proto::audit::AuditReason reason = proto::audit::AuditReason::reason_no_binding;
    std::shared_ptr<const policy::Rights> rights{};  // what it was judged by; never null
    const proto::policy::Grant* grant =
        nullptr;  // of `rights`: the one that decided, or would have allowed more; or null
    const proto::policy::Grant* shadow =
        nullptr;  // of `rights`: one on probation that would have decided otherwise; or null
    std::uint64_t flags = 0;
    std::vector<Thing> things{};
    std::string detail{};  // the limit, the constraint; for people
};

// The identity's only grant, or null: what to name where no grant has a call.
[[nodiscard]] inline const proto::policy::Grant* only_grant(const policy::Rights& rights) noexcept {
    return rights.grants().size() == 1 ? &rights.grants().front() : nullptr;
}

}  // namespace virtgate::workerd::worker
