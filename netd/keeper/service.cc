// SPDX-License-Identifier: LGPL-2.1-or-later
// service - keeper's two channels: the supervisor's, and that of the one gate it signs for.
#include "netd/keeper/service.h"

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/keeper.h"
#include "proto/supervise.h"

namespace virtgate::netd::keeper {

namespace sign = proto::keeper;
namespace supervise = proto::supervise;

namespace {

bool is(const rpc::Header& header, std::uint32_t program, std::uint32_t version, std::uint32_t procedure,
        rpc::Type type) noexcept {
    return header.program == program && header.version == version && header.procedure == procedure &&
           header.type == type && header.status == rpc::Status::ok;
}

}  // namespace

Service::Service(loop::Loop& loop, UniqueFd parent, const Signer& signer, std::string name)
    : loop_(loop),
      signer_(signer),
      log_(std::move(name)),
      parent_(loop, std::move(parent), 1, loop::to<&Service::on_parent>(*this),
              loop::to<&Service::on_parent_closed>(*this)) {}

Done Service::report_ready() {
    return parent_.send(
        rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::ready), {});
}

void Service::on_parent(rpc::Control::Message& message) noexcept {
    if (is(message.header, supervise::k_program, supervise::k_version,
           static_cast<std::uint32_t>(supervise::Procedure::tune), rpc::Type::message))
        if (const auto change = proto::decode<supervise::TuneArgs>(message.payload))
            return set_log_level(static_cast<Level>(change->log_level));
    const auto adopt = proto::decode<supervise::AdoptArgs>(message.payload);
    const bool known = is(message.header, supervise::k_program, supervise::k_version,
                          static_cast<std::uint32_t>(supervise::Procedure::adopt), rpc::Type::message);
    if (!known || !adopt || adopt->role != supervise::PeerRole::peer_gate || message.fds.count() != 1)
        return log_.error("the supervisor sent something that a keeper does not know");
    gate_ = std::make_unique<rpc::Control>(loop_, message.fds.take(0), 0, loop::to<&Service::on_gate>(*this),
                                           loop::to<&Service::on_gate_closed>(*this));
    log_.debug("serves gate {}", adopt->index);
}

void Service::on_parent_closed(std::string_view) noexcept { loop_.stop(); }

void Service::on_gate(rpc::Control::Message& message) noexcept {
    const auto arguments = proto::decode<sign::SignArgs>(message.payload);
    const bool known = is(message.header, sign::k_program, sign::k_version,
                          static_cast<std::uint32_t>(sign::Procedure::sign), rpc::Type::call);
    if (!known || !arguments) {
        log_.error("the gate asked for something else than a signature");
        return loop_.stop();
    }
    const auto signature = signer_.sign(arguments->scheme, arguments->transcript_hash);
    if (!signature) {
        log_.warning("no signature: {}", signature.error().text);
        static_cast<void>(
            gate_->send_error(message.header, rpc::k_code_operation_denied, signature.error().text));
        return;
    }
    const auto payload = proto::encode(sign::SignRet{.signature = *signature});
    require(payload.has_value(), "a signature that is larger than any key's");
    if (const auto sent = gate_->send_reply(message.header, *payload); !sent)
        log_.warning("the gate does not take its signature: {}", sent.error().text);
}

void Service::on_gate_closed(std::string_view why) noexcept {
    log_.debug("the channel to the gate is closed: {}", why);
    loop_.stop();
}

}  // namespace virtgate::netd::keeper
