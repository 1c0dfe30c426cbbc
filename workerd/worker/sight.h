// SPDX-License-Identifier: LGPL-2.1-or-later
// sight - what an identity may see in the replies to its calls, by its rights.
//
// Trust:  rights come from the policy; what is looked at has passed validate().
// Limits: no allocation.
#pragma once

#include "policy/rights.h"
#include "workerd/worker/filter.h"

namespace virtgate::workerd::worker {

// Its rights have to outlive it.
class RightsSight final : public Sight {
public:
    // In events.
    explicit RightsSight(const policy::Rights& rights) noexcept : rights_(rights) {}
    // In the replies to `procedure`: where a list tells more of its objects than that they are there, only those for
    // which the call itself is allowed.
    RightsSight(const policy::Rights& rights, const proto::ProgramInfo& program,
                const proto::ProcedureInfo& procedure, std::uint64_t flags) noexcept;

    bool sees_all(policy::ObjectKind kind) const noexcept override;
    bool sees(const policy::Object& object) const noexcept override;
    // Not known, so that a grant about a filter's uuid says nothing about its bindings.
    std::optional<policy::Uuid> nwfilter_uuid(std::string_view) const noexcept override {
        return std::nullopt;
    }

private:
    const policy::Rights& rights_;
    const proto::ProgramInfo* program_ = nullptr;
    const proto::ProcedureInfo* procedure_ = nullptr;
    std::uint64_t flags_ = 0;
};

}  // namespace virtgate::workerd::worker
