// SPDX-License-Identifier: LGPL-2.1-or-later
// desk - where one locker gets its queue and what is kept.
#include "lockd/holder/desk.h"

#include <array>

#include "proto/codec.h"
#include "proto/supervise.h"

namespace virtgate::lockd::holder {

using proto::holder::Procedure;

namespace {

constexpr std::size_t k_fds_allowed = 0;
// In a message: a slot and a record's size, and the number of things.
constexpr std::size_t k_thing_overhead = 8, k_list_overhead = 4, k_word = 4;

bool is_call(const rpc::Header& header, Procedure procedure) noexcept {
    return header ==
           rpc::make_call(proto::holder::k_program, proto::holder::k_version, procedure, header.serial);
}

bool says_ready(const rpc::Control::Message& message) noexcept {
    const auto ready = rpc::make_message(proto::supervise::k_program, proto::supervise::k_version,
                                         proto::supervise::Procedure::ready, message.header.serial);
    return message.header == ready && message.payload.empty() && message.fds.count() == 0;
}

}  // namespace

Desk::Desk(loop::Loop& loop, const Keeping& keeping, UniqueFd channel, Owner& owner)
    : keeping_(keeping),
      owner_(owner),
      control_(loop, std::move(channel), k_fds_allowed, loop::to<&Desk::on_message>(*this),
               loop::to<&Desk::on_closed>(*this)) {}

void Desk::tell_serve() {
    send(control_.send(rpc::make_message(proto::supervise::k_program, proto::supervise::k_version,
                                         proto::supervise::Procedure::serve, control_.next_serial()),
                       {}));
}

void Desk::tell_adopt(unsigned index, int fd) {
    using namespace proto::supervise;
    const auto payload = proto::encode(AdoptArgs{.role = PeerRole::peer_leaser, .index = index});
    send(control_.send(
        rpc::make_message(k_program, k_version, proto::supervise::Procedure::adopt, control_.next_serial()),
        *payload, std::span(&fd, 1)));
}

void Desk::tell_hand_over() {
    send(control_.send(rpc::make_message(proto::holder::k_program, proto::holder::k_version,
                                         Procedure::hand_over, control_.next_serial()),
                       {}));
}

void Desk::on_closed(std::string_view reason) noexcept {
    if (reason != rpc::Control::k_hung_up) return fail(reason);
    broken_ = true;
    owner_.on_hung_up();
}

void Desk::fail(std::string_view why) {
    if (broken_) return;
    broken_ = true;
    restore_.reset();
    owner_.on_broken(why);
}

template <class Arguments>
void Desk::tell(Procedure procedure, const Arguments& arguments, std::span<const int> fds) {
    const auto payload = proto::encode(arguments);
    require(payload.has_value(), "a message to the locker does not encode");
    send(control_.send(rpc::make_message(proto::holder::k_program, proto::holder::k_version, procedure,
                                         control_.next_serial()),
                       *payload, fds));
}

void Desk::open(const proto::holder::QueueArgs& arguments, int queue) {
    if (broken_) return;
    open_ = true;
    tell(Procedure::queue, arguments, std::span(&queue, 1));
    if (!restore_) return;
    const auto [call, from] = *std::exchange(restore_, std::nullopt);
    answer_restore(call, from);
}

void Desk::tell_grant(const proto::holder::GrantArgs& grant) {
    if (open_ && !broken_) tell(Procedure::grant, grant);
}

// An answer that does not arrive leaves the locker waiting for ever.
void Desk::send(Done sent) {
    if (!sent) fail(sent.error().text);
}

void Desk::on_message(rpc::Control::Message& message) noexcept {
    if (broken_) return;
    if (is_call(message.header, Procedure::restore)) return serve_restore(message);
    if (!says_ready(message) || ready_) return fail("it sent a message that has no place here");
    ready_ = true;
    owner_.on_ready();
}

void Desk::serve_restore(const rpc::Control::Message& message) {
    const auto args = proto::decode<proto::holder::RestoreArgs>(message.payload);
    if (!args || message.fds.count() != 0)
        return fail("it asked for what is kept in a way that does not decode");
    if (ready_ || restore_) return fail("it asked for what is kept when it had said that it serves");
    // What earlier ones said may not be done yet.
    if (!open_)
        restore_ = {message.header, args->from};
    else
        answer_restore(message.header, args->from);
}

void Desk::answer_restore(const rpc::Header& call, Slot from) {
    proto::holder::RestoreRet found;
    std::array<int, proto::holder::k_kept_batch_max> fds{};
    std::size_t size = k_list_overhead;
    const auto& things = keeping_.things();
    for (auto thing = things.lower_bound(from); thing != things.end() && found.things.size() < fds.size();
         ++thing) {
        size += k_thing_overhead + (thing->second.record.size() + k_word - 1) / k_word * k_word;
        if (size > rpc::Control::k_payload_max) break;
        fds.at(found.things.size()) = thing->second.fd.get();
        found.things.push_back({.slot = thing->first, .record = thing->second.record});
    }
    const auto payload = proto::encode(found, rpc::Control::k_payload_max);
    require(payload.has_value(), "what is kept does not fit a message");
    send(control_.send_reply(call, *payload, std::span(fds).first(found.things.size())));
}

}  // namespace virtgate::lockd::holder
