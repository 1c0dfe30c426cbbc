// SPDX-License-Identifier: LGPL-2.1-or-later
// prologue - what is said to a libvirt daemon before a client's calls can go there.
#include "workerd/worker/prologue.h"

#include <unistd.h>

#include <utility>

#include "libshared/base/process.h"
#include "libshared/base/result.h"
#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "workerd/worker/remote.h"

namespace virtgate::workerd::worker {

using proto::remote::AuthType;
using proto::remote::Procedure;

namespace {

// The worker's own calls end before the client's first one is sent, so any serial will do.
constexpr std::uint32_t k_own_serial = 0;

Prologue::Step failed(std::string text) {
    return {.kind = Prologue::Step::Kind::failed, .text = std::move(text)};
}

}  // namespace

Prologue::Prologue(const rpc::Header& open, std::string uri, bool read_only, Identity identity) noexcept
    : open_(open), uri_(std::move(uri)), read_only_(read_only), identity_(std::move(identity)) {}

ByteVector Prologue::make_call(std::uint32_t procedure) {
    asked_ = {.program = proto::remote::k_program,
              .version = proto::remote::k_version,
              .procedure = procedure,
              .type = rpc::Type::call,
              .serial = k_own_serial};
    return rpc::make_frame(asked_, {});
}

ByteVector Prologue::start() { return make_call(static_cast<std::uint32_t>(Procedure::auth_list)); }

Prologue::Step Prologue::make_open() {
    state_ = State::opening;
    asked_ = open_;
    const auto payload = proto::encode(
        proto::remote::ConnectOpenArgs{.name = uri_, .flags = read_only_ ? k_open_read_only : 0});
    require(payload.has_value(), "a configured URI does not fit a call");
    return {.kind = Step::Kind::send, .frame = rpc::make_frame(open_, *payload)};
}

Prologue::Step Prologue::on_reply(const rpc::Header& reply, ByteView payload) {
    if (reply.type != rpc::Type::reply || reply.program != asked_.program ||
        reply.procedure != asked_.procedure || reply.serial != asked_.serial)
        return failed("it answered another question than it was asked");
    if (state_ == State::opening) return on_opened(reply, payload);
    // Whether it took it or not: an older daemon does not know the call.
    if (state_ == State::identifying) return {.kind = Step::Kind::opened, .frame = std::move(opened_)};
    if (reply.status != rpc::Status::ok)
        return failed(fmt::format("it refused to authenticate: {}", escape(rpc::read_error_text(payload))));
    return state_ == State::listing ? on_list(payload) : on_polkit(payload);
}

Prologue::Step Prologue::on_opened(const rpc::Header& reply, ByteView payload) {
    opened_ = rpc::make_frame(reply, payload);
    if (reply.status != rpc::Status::ok) return {.kind = Step::Kind::refused, .frame = std::move(opened_)};
    const auto identity =
        proto::encode(proto::remote::ConnectSetIdentityArgs{.params = identity_, .flags = 0});
    if (identity_.empty() || !identity) return {.kind = Step::Kind::opened, .frame = std::move(opened_)};
    state_ = State::identifying;
    static_cast<void>(make_call(static_cast<std::uint32_t>(Procedure::connect_set_identity)));
    return {.kind = Step::Kind::send, .frame = rpc::make_frame(asked_, *identity)};
}

Prologue::Step Prologue::on_list(ByteView payload) {
    const auto list = proto::decode<proto::remote::AuthListRet>(payload);
    if (!list) return failed("its list of authentication methods does not decode");
    switch (list->types.empty() ? AuthType::none : list->types.front()) {
        case AuthType::none: return make_open();
        case AuthType::polkit: {
            state_ = State::polkit;
            return {.kind = Step::Kind::send,
                    .frame = make_call(static_cast<std::uint32_t>(Procedure::auth_polkit))};
        }
        case AuthType::sasl:
            return failed("it wants SASL authentication, which is not spoken to local daemons");
    }
    return failed("it wants an unknown authentication method");
}

Prologue::Step Prologue::on_polkit(ByteView payload) {
    const auto ret = proto::decode<proto::remote::AuthPolkitRet>(payload);
    if (!ret || ret->complete == 0) return failed("it did not complete the polkit authentication");
    return make_open();
}

OwnProcess find_own_process() noexcept {
    const pid_t pid = getpid();
    return {.uid = getuid(), .gid = getgid(), .pid = pid, .start_time = read_start_time(pid)};
}

Prologue::Identity describe_identity(const proto::who::Who& who, const OwnProcess& ours) {
    Prologue::Identity identity;
    const auto add = [&](const char* field, proto::remote::TypedParamValue value) {
        identity.push_back({.field = field, .value = std::move(value)});
    };
    const auto number = [](std::uint64_t value) {
        return proto::remote::TypedParamValue::make_unsigned_hyper(value);
    };
    const pid_t pid = who.local ? static_cast<pid_t>(who.local->pid) : ours.pid;
    const std::uint64_t started = who.local ? who.local->start_time : ours.start_time;
    add("unix-user-id", number(who.local ? who.local->uid : ours.uid));
    add("unix-group-id", number(who.local ? who.local->gid : ours.gid));
    if (started != 0) {
        // Without its start time a process number is nobody.
        add("process-id", proto::remote::TypedParamValue::make_signed_hyper(pid));
        add("process-time", number(started));
    }
    if (who.login) add("sasl-user-name", proto::remote::TypedParamValue::make_text(who.login->name));
    if (who.certificate)
        add("x509-distinguished-name",
            proto::remote::TypedParamValue::make_text(who.certificate->subject_text));
    return identity;
}

}  // namespace virtgate::workerd::worker
