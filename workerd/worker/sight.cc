// SPDX-License-Identifier: LGPL-2.1-or-later
// sight - what an identity may see in the replies to its calls, by its rights.
#include "workerd/worker/sight.h"

#include <algorithm>

namespace virtgate::workerd::worker {

using policy::ObjectKind;
using policy::Rights;
using proto::ProcedureInfo;
using proto::ProgramInfo;

namespace {

// A list that tells more of its objects than that they are there.
bool tells_more(const ProcedureInfo& procedure) noexcept {
    return !procedure.returns.empty() && procedure.returns.front().list &&
           !procedure.returns.front().path.ends_with("[]");
}

// True if one grant allows the procedure on all objects of the kind without conditions.
bool is_open_to(const Rights& rights, const ProgramInfo& program, const ProcedureInfo& procedure,
                ObjectKind kind) {
    const auto grants = rights.grants();
    return std::any_of(grants.begin(), grants.end(), [&](const proto::policy::Grant& grant) {
        return !grant.shadow && grant.listeners.empty() && !grant.not_before && !grant.not_after &&
               grant.conditions.empty() && policy::has(grant.may, program, procedure.number) &&
               (policy::open_kinds(grant) & bit(kind)) != 0;
    });
}

}  // namespace

RightsSight::RightsSight(const Rights& rights, const ProgramInfo& program, const ProcedureInfo& procedure,
                         std::uint64_t flags) noexcept
    : rights_(rights), program_(&program), flags_(flags) {
    if (tells_more(procedure)) procedure_ = &procedure;
}

bool RightsSight::sees_all(ObjectKind kind) const noexcept {
    return rights_.sees_all(kind) &&
           (procedure_ == nullptr || is_open_to(rights_, *program_, *procedure_, kind));
}

bool RightsSight::sees(const policy::Object& object) const noexcept {
    return rights_.sees(object) &&
           (procedure_ == nullptr || rights_.judge(*program_, *procedure_, flags_, {&object, 1}).allowed);
}

}  // namespace virtgate::workerd::worker
