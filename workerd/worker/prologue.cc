// SPDX-License-Identifier: LGPL-2.1-or-later
// prologue - what is said to a libvirt daemon before a client's calls can go there.
#include "workerd/worker/prologue.h"

#include <utility>

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

Prologue::Prologue(const rpc::Header& open, std::string uri, bool read_only) noexcept
    : open_(open), uri_(std::move(uri)), read_only_(read_only) {}

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
    if (state_ == State::opening)
        return {.kind = reply.status == rpc::Status::ok ? Step::Kind::opened : Step::Kind::refused};
    if (reply.status != rpc::Status::ok)
        return failed(fmt::format("it refused to authenticate: {}", escape(rpc::read_error_text(payload))));
    return state_ == State::listing ? on_list(payload) : on_polkit(payload);
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

}  // namespace virtgate::workerd::worker
