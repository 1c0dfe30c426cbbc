// SPDX-License-Identifier: LGPL-2.1-or-later
// scrutiny_state - what a Scrutiny keeps of calls that are under way. For scrutiny*.cc alone.
#pragma once

#include "workerd/worker/claims.h"
#include "workerd/worker/filter.h"
#include "workerd/worker/scrutiny.h"

namespace virtgate::workerd::worker {

// How replies are filtered in that program; null if rights do not know it.
[[nodiscard]] const ReplyRules* rules_of(const proto::ProgramInfo& program);

// A look-up is judged by what it finds.
[[nodiscard]] inline bool is_lookup(const ReplyRule& rule, const proto::ProcedureInfo& procedure) noexcept {
    return rule.action == ReplyAction::single && procedure.objects.empty();
}

// No pool has a slash in its name; the part behind it must not pass for a volume's.
[[nodiscard]] inline bool is_crooked(const Claim& claim) noexcept {
    return claim.pool.find('/') != std::string::npos;
}

[[nodiscard]] inline bool is_seen(const policy::Rights& rights, const Claim& claim) noexcept {
    return !claim.shape || (!is_crooked(claim) && rights.sees(claim.object()));
}

// The answer to a call whose object is hidden or not there.
[[nodiscard]] proto::net::Error not_there(const policy::Rights& rights, Driver driver, const Claim& claim);

// What a decision about these claims looks like in a record.
[[nodiscard]] Finding make_finding(std::shared_ptr<const policy::Rights> rights,
                                   const policy::Decision& decision, std::uint64_t flags,
                                   const Claims& claims);

[[nodiscard]] Scrutiny::Ruling refuse(proto::net::Error error, std::string log,
                                      std::optional<Finding> finding = {});

// A call that is being looked at.
struct Scrutiny::Held {
    rpc::Header call;
    const proto::ProgramInfo* program;
    const proto::ProcedureInfo* procedure;
    const ReplyRule* rule;
    std::shared_ptr<const policy::Rights> rights;
    policy::Rights::Need need;
    std::uint64_t flags = 0;
    bool must_look = false;  // at the objects, for the reply
    Claims claims{};
    std::size_t at = 0;                     // the claim that is in question
    bool records = false;                   // also that it is allowed
    std::optional<policy::XmlFacts> xml{};  // if the decision may depend on it; decisions point into it
    rpc::Header question{};
    Names::Epoch epoch = 0;  // in which it was asked
    ByteVector frame{};

    [[nodiscard]] bool judges_objects() const noexcept {
        return need == policy::Rights::Need::objects && !is_lookup(*rule, *procedure);
    }
    [[nodiscard]] policy::Decision judge(std::span<const policy::Object> objects,
                                         policy::KindMask unknown) const noexcept {
        return rights->judge(*program, *procedure, flags, objects, unknown, xml ? &*xml : nullptr);
    }
    [[nodiscard]] Finding find(const policy::Decision& decision) const {
        return make_finding(rights, decision, flags, claims);
    }
    // The same for an object that is hidden, or not there.
    [[nodiscard]] Finding find_hidden(std::string detail) const {
        Finding finding = find({.allowed = false, .reason = policy::Reason::object});
        finding.detail = std::move(detail);
        return finding;
    }
};

// A call that the daemon has, whose reply is wanted.
struct Scrutiny::Open {
    rpc::Header call;
    const proto::ProgramInfo* program;
    const proto::ProcedureInfo* procedure;
    const proto::ProcedureInfo* asked;
    const ReplyRule* rule;
    std::shared_ptr<const policy::Rights> rights;
    std::uint64_t flags = 0;
    std::optional<ReplyFilter> filter{};
    bool judges_reply = false;
    bool redacts = false;
    bool records = false;  // also that it is allowed; only where judges_reply
};

}  // namespace virtgate::workerd::worker
