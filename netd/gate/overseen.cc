// SPDX-License-Identifier: LGPL-2.1-or-later
// overseen - the gate's side of the channel to the steward: tells of its connections, and closes one.
#include "netd/gate/overseen.h"

#include "libshared/rpc/error.h"
#include "proto/codec.h"

namespace virtgate::netd::gate {

namespace control = proto::control;

void Overseen::adopt(UniqueFd channel) {
    channel_ =
        std::make_unique<rpc::Control>(loop_, std::move(channel), 0, loop::to<&Overseen::on_message>(*this),
                                       loop::to<&Overseen::on_closed>(*this));
}

void Overseen::on_closed(std::string_view why) noexcept {
    log_.debug("the channel is closed: {}", why);
    channel_.reset();
}

template <class Ret>
void Overseen::reply(const rpc::Header& call, const Ret& ret) {
    const auto payload = proto::encode(ret, rpc::Control::k_payload_max);
    require(payload.has_value(), "an answer about connections that does not fit its message");
    if (const auto sent = channel_->send_reply(call, *payload); !sent) log_.warning("{}", sent.error().text);
}

void Overseen::on_message(rpc::Control::Message& message) noexcept {
    const auto is = [&](control::Procedure procedure) {
        return message.header ==
               rpc::make_call(control::k_program, control::k_version, procedure, message.header.serial);
    };
    if (const auto after = metrics::Pages::read_question(message)) {
        if (*after == 0) pages_.set(roll_.read());
        if (const auto sent = pages_.answer(*channel_, message.header, *after); !sent)
            log_.warning("{}", sent.error().text);
        return;
    }
    if (is(control::Procedure::counters) && message.payload.empty())
        return reply(message.header, roll_.count());
    if (is(control::Procedure::connections))
        if (const auto arguments = proto::decode<control::ConnectionsArgs>(message.payload))
            return reply(message.header, roll_.list(arguments->after));
    if (is(control::Procedure::close))
        if (const auto arguments = proto::decode<control::CloseArgs>(message.payload))
            return reply(message.header, control::CloseRet{.found = close(*arguments)});
    if (const auto sent = channel_->send_error(message.header, rpc::k_code_rpc, "a gate does not do that");
        !sent)
        log_.warning("{}", sent.error().text);
}

void Overseen::dismiss(const std::string& reason) { sessions_.dismiss(reason); }

void Overseen::say_last() noexcept {
    namespace wire = proto::metrics;
    if (!channel_) return;
    const auto payload = proto::encode(metrics::Pages::cut(metrics::counters_of(roll_.read()), 0),
                                       rpc::Control::k_payload_max);
    require(payload.has_value(), "samples that do not fit their message");
    const auto last = rpc::make_message(wire::k_program, wire::k_version, wire::Procedure::last);
    if (const auto sent = channel_->send(last, *payload); !sent) log_.warning("{}", sent.error().text);
}

bool Overseen::close(const control::CloseArgs& arguments) {
    if (!roll_.has(arguments.id)) return false;
    std::string why = "an administrator closed it";
    if (!arguments.reason.empty()) why += fmt::format(" (\"{}\")", escape(arguments.reason));
    // Whoever is not on the way in is in, or will be when the other thread looks.
    if (!front_.close(arguments.id, why)) sessions_.close(arguments.id, std::move(why));
    return true;
}

}  // namespace virtgate::netd::gate
