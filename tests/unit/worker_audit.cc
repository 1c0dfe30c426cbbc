// SPDX-License-Identifier: LGPL-2.1-or-later
// worker_audit - what the auditor hears of a session, and what happens to the session when it does not listen.
#include <criterion/criterion.h>

#include "libshared/channel/packet.h"
#include "libshared/rpc/error.h"
#include "proto/audit.h"
#include "proto/codec.h"
#include "proto/remote.h"
#include "tests/unit/worker_stage.h"

using namespace virtgate;
using namespace virtgate::test;
using proto::audit::AuditReason;
using proto::audit::AuditVerdict;
using proto::audit::DecisionArgs;
using proto::audit::OutcomeArgs;
using proto::policy::AuditLevel;
using proto::remote::Procedure;

namespace {

// The auditor's end of a stage's channel.
class Ear {
public:
    explicit Ear(Stage& stage) {
        auto pair = make_channel_pair();
        cr_assert(pair.has_value());
        stage.witness.set_channel(std::move(pair->first));
        end_ = std::move(pair->second);
    }
    // The next message; nothing if there is none.
    std::optional<rpc::Header> hear() {
        std::size_t size = 0;
        packet_.resize(channel::k_packet_max);
        if (channel::receive_packet(end_.get(), packet_, size) != channel::Outcome::done) return std::nullopt;
        packet_.resize(size);
        return rpc::read_header(packet_.data());
    }
    template <class Args>
    Args hear(proto::audit::Procedure procedure) {
        const auto header = hear();
        cr_assert(header.has_value(), "the auditor heard nothing");
        cr_assert_eq(header->procedure, static_cast<std::uint32_t>(procedure));
        auto args = proto::decode<Args>(ByteView(packet_).subspan(rpc::k_frame_min));
        cr_assert(args.has_value());
        return std::move(*args);
    }
    DecisionArgs decision() { return hear<DecisionArgs>(proto::audit::Procedure::decision); }
    OutcomeArgs outcome() { return hear<OutcomeArgs>(proto::audit::Procedure::outcome); }
    void hang_up() { end_.reset(); }

private:
    UniqueFd end_;
    ByteVector packet_;
};

ByteVector domain_args(std::string_view name) {
    return *proto::encode(
        proto::remote::DomainDestroyArgs{{.name = std::string(name), .uuid = {std::byte{7}}, .id = -1}});
}

std::shared_ptr<const policy::Rights> with_level(AuditLevel level) {
    proto::policy::Grant grant = everything()->grants().front();
    grant.audit = level;
    proto::policy::IdentityRights rights{
        .generation = 6, .identity = "alice", .grants = {grant}, .limits = {}, .shadowed = {}};
    return std::make_shared<const policy::Rights>(std::move(rights));
}

}  // namespace

Test(audit, hears_of_a_refusal_with_the_rule_that_there_is) {
    Stage stage({.identity = "alice", .rights = only("connect_get_type")});
    Ear auditor(stage);
    stage.open();
    stage.send(lookup(3), lookup_args("demo"));
    expect_refusal(stage, 3, rpc::k_code_access_denied,
                   "access denied: no role allows domain_lookup_by_name");
    // The role says nothing about records, so nothing is recorded.
    cr_assert(!auditor.hear().has_value());
}

Test(audit, hears_as_much_as_the_role_wants) {
    Stage stage({.identity = "alice", .rights = with_level(AuditLevel::audit_all)});
    Ear auditor(stage);
    stage.open();
    stage.send(lookup(3), lookup_args("demo"));
    const Frame asked = stage.asked();
    stage.loop.advance(Milliseconds{20});
    stage.answer(rpc::reply_to(asked.header, rpc::Status::error),
                 rpc::make_error_payload(42, "no domain", 10));
    cr_assert_eq(stage.frame().header.status, rpc::Status::error);
    const DecisionArgs decision = auditor.decision();
    cr_assert_eq(decision.session, Stage::k_number);
    cr_assert_eq(decision.serial, 3);
    cr_assert_eq(decision.generation, 6);
    cr_assert_eq(decision.verdict, AuditVerdict::verdict_allowed);
    cr_assert_eq(decision.place->role, "admin");
    const OutcomeArgs outcome = auditor.outcome();
    cr_assert_eq(outcome.call, decision.call);
    cr_assert_eq(outcome.error, 42);
    cr_assert_eq(outcome.duration, 20'000);
    cr_assert(!auditor.hear().has_value());
}

Test(audit, hears_of_what_a_reading_connection_may_not) {
    Stage stage({.identity = "alice", .read_only = true, .rights = with_level(AuditLevel::audit_denied)});
    Ear auditor(stage);
    stage.open();
    stage.send(call_header(Procedure::domain_destroy, 4), domain_args("demo"));
    cr_assert_eq(error_code(stage.frame()), rpc::k_code_operation_denied);
    const DecisionArgs decision = auditor.decision();
    cr_assert_eq(decision.verdict, AuditVerdict::verdict_refused);
    cr_assert_eq(decision.reason, AuditReason::reason_read_only);
    cr_assert_eq(decision.objects.at(0).name, "demo");
    cr_assert(!decision.objects[0].known, "it is the client's word");
}

Test(audit, hears_which_limit_it_was) {
    Stage stage({.identity = "alice", .rights = with_level(AuditLevel::audit_denied)});
    Ear auditor(stage);
    stage.open();
    proto::policy::LimitSet limits;
    limits.max_payload = 4;
    stage.budget.set_limits(limits);
    stage.send(lookup(5), lookup_args("demo"));
    cr_assert_eq(error_code(stage.frame()), rpc::k_code_resource_busy);
    const DecisionArgs decision = auditor.decision();
    cr_assert_eq(decision.reason, AuditReason::reason_limit);
    cr_assert_eq(decision.detail, "max_payload=4");
}

// It is neither waited for nor missed: what does not fit is counted, and said with the next that does.
Test(audit, counts_what_an_auditor_that_does_not_read_misses) {
    Stage stage({.identity = "alice", .read_only = true, .rights = with_level(AuditLevel::audit_denied)});
    Ear auditor(stage);
    stage.open();
    std::uint64_t refused = 0;
    for (; stage.witness.dropped() < 3; ++refused) {
        cr_assert_lt(refused, 100'000, "the channel never fills");
        stage.send(call_header(Procedure::domain_destroy, 4), domain_args("demo"));
        cr_assert_eq(error_code(stage.frame()), rpc::k_code_operation_denied, "the session waits");
    }
    for (std::uint64_t i = 3; i < refused; ++i) cr_assert_eq(auditor.decision().dropped, 0);
    cr_assert(!auditor.hear().has_value());
    stage.send(call_header(Procedure::domain_destroy, 4), domain_args("demo"));
    stage.pump();
    cr_assert_eq(auditor.decision().dropped, 3);
}

Test(audit, goes_on_without_an_auditor_and_tells_the_next_what_was_lost) {
    Stage stage({.identity = "alice", .read_only = true, .rights = with_level(AuditLevel::audit_denied)});
    Ear first(stage);
    stage.open();
    const auto refuse = [&] {
        stage.send(call_header(Procedure::domain_destroy, 4), domain_args("demo"));
        cr_assert_eq(error_code(stage.frame()), rpc::k_code_operation_denied);
    };
    refuse();
    cr_assert_eq(first.decision().dropped, 0);
    first.hang_up();
    refuse();
    refuse();
    Ear second(stage);
    refuse();
    cr_assert_eq(second.decision().dropped, 2);
    refuse();
    cr_assert_eq(second.decision().dropped, 2);
    // What one auditor was told is not told to the next.
    Ear third(stage);
    refuse();
    cr_assert_eq(third.decision().dropped, 0);
}
