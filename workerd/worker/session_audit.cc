// SPDX-License-Identifier: LGPL-2.1-or-later
// session_audit - what the auditor is told of a session's calls.
//
// How much is recorded is for the role to say ("audit", virtgate-policy(5)): nothing, what was refused, what could
// change something, everything. Names are the client's or libvirt's, and go into fields of their own: what they contain
// is the auditor's to escape.
#include <algorithm>

#include "libshared/rpc/error.h"
#include "proto/programs.h"
#include "workerd/worker/session.h"

namespace virtgate::workerd::worker {

namespace {

using proto::audit::AuditReason;
using proto::audit::AuditVerdict;
using proto::policy::AuditLevel;
using proto::policy::Grant;

std::string cut(std::string_view text, std::size_t most) { return std::string(text.substr(0, most)); }

std::optional<proto::audit::RulePlace> place_of(const Grant* grant) {
    if (grant == nullptr) return std::nullopt;
    return proto::audit::RulePlace{.role = grant->role, .file = grant->file, .line = grant->line};
}

bool is_recorded(const Finding& finding, const proto::ProcedureInfo& procedure) noexcept {
    const policy::Decision decision{.allowed = finding.allowed, .grant = finding.grant};
    switch (finding.rights->audit_level(decision)) {
        case AuditLevel::audit_none: return false;
        case AuditLevel::audit_denied: break;
        case AuditLevel::audit_writes:
            if (procedure.readonly != proto::ReadOnly::allowed) return true;
            break;
        case AuditLevel::audit_all: return true;
    }
    return !finding.allowed || finding.shadow != nullptr;
}

std::uint64_t microseconds(Instant from, Instant to) noexcept {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(to - from).count());
}

}  // namespace

// Returns the number under which the end of the call has to be told; 0: nobody wants to know.
std::uint64_t Session::record(const rpc::Header& call, const proto::ProcedureInfo& procedure,
                              const Finding& finding, Instant began) {
    if (!is_recorded(finding, procedure)) return 0;
    proto::audit::DecisionArgs told;
    told.session = number_;
    told.call = home_.witness.next_call();
    told.generation = finding.rights->generation();
    told.program = call.program;
    told.version = call.version;
    told.procedure = call.procedure;
    told.serial = call.serial;
    told.flags = finding.flags;
    const bool passes = finding.allowed || finding.is_shadowed;
    told.verdict = finding.is_shadowed ? AuditVerdict::verdict_shadowed
                   : passes            ? AuditVerdict::verdict_allowed
                                       : AuditVerdict::verdict_refused;
    told.reason = finding.reason;
    for (const Finding::Thing& thing : finding.things) {
        if (told.objects.size() == proto::audit::k_audit_objects_max) {
            ++told.more_objects;
            continue;
        }
        proto::audit::AuditObject& object = told.objects.emplace_back();
        object.kind = static_cast<proto::policy::ObjectKind>(thing.kind);
        object.name = cut(thing.name, proto::audit::k_detail_max);
        if (thing.uuid) object.uuid.assign(thing.uuid->begin(), thing.uuid->end());
        object.known = thing.is_known;
    }
    told.place = place_of(finding.grant != nullptr ? finding.grant : only_grant(*finding.rights));
    told.shadow = place_of(finding.shadow);
    told.detail = cut(finding.detail, proto::audit::k_detail_max);
    told.duration = microseconds(began, home_.loop.clock().now());
    const std::uint64_t number = passes ? told.call : 0;
    home_.witness.tell(std::move(told));
    return number;
}

// A refusal for a reason that has nothing to do with grants.
void Session::record_refusal(const rpc::Header& call, ByteView payload, AuditReason reason,
                             std::string_view detail) {
    const auto& procedure = *now_.procedure;
    Finding finding = scrutiny_.find(*now_.program, procedure, payload);
    finding.reason = reason;
    finding.detail = detail;
    static_cast<void>(record(call, procedure, finding, home_.loop.clock().now()));
}

// How the call that was answered last has ended; `error` is libvirt's code, 0 if it was done.
void Session::record_end(int error) noexcept {
    if (answered_.number == 0) return;
    home_.witness.tell({.session = number_,
                        .call = answered_.number,
                        .answered = true,
                        .error = error,
                        .duration = microseconds(answered_.began, home_.loop.clock().now())});
    answered_ = {};
}

}  // namespace virtgate::workerd::worker
