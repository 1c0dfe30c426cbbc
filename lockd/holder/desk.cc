// SPDX-License-Identifier: LGPL-2.1-or-later
// desk - where one locker keeps, renews, drops and gets back what it has.
#include "lockd/holder/desk.h"

#include <array>
#include <set>

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/supervise.h"

namespace virtgate::lockd::holder {

using proto::holder::Procedure;

namespace {

constexpr std::size_t k_fds_allowed = 1;
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

Desk::Desk(loop::Loop& loop, Keeping& keeping, std::size_t things_max, UniqueFd channel, Owner& owner)
    : keeping_(keeping),
      things_max_(things_max),
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
    calls_.clear();
    restore_.reset();
    owner_.on_broken(why);
}

// An answer that does not arrive leaves the locker waiting for ever.
void Desk::send(Done sent) {
    if (!sent) fail(sent.error().text);
}

void Desk::on_message(rpc::Control::Message& message) noexcept {
    if (broken_) return;
    if (is_call(message.header, Procedure::keep)) return serve_keep(message);
    if (is_call(message.header, Procedure::drop)) return serve_drop(message);
    if (is_call(message.header, Procedure::restore)) return serve_restore(message);
    if (!says_ready(message) || ready_) return fail("it sent a message that has no place here");
    ready_ = true;
    owner_.on_ready();
}

void Desk::serve_keep(rpc::Control::Message& message) {
    auto args = proto::decode<proto::holder::KeepArgs>(message.payload);
    if (!args) return fail("it sent something to keep that does not decode");
    const auto state = keeping_.state(args->slot);
    if (state && *state != Keeping::State::kept)
        return fail("it keeps in a slot before that has been answered");
    if (message.fds.count() != (state ? 0 : 1))
        return fail(state ? "it sent a descriptor for a slot that is taken" : "it sent nothing to keep");
    if (state) {
        const auto renewed = keeping_.renew(args->slot, std::move(args->record));
        return answer(message.header, renewed ? Keeping::Outcome{} : tl::unexpected(renewed.error()));
    }
    if (keeping_.things().size() >= things_max_)
        return send(control_.send_error(
            message.header, rpc::k_code_operation_failed,
            fmt::format("no more than {} locks and connections can be kept", things_max_)));
    answer(message.header, keeping_.keep(args->slot, message.fds.take(0), std::move(args->record)));
}

void Desk::serve_drop(const rpc::Control::Message& message) {
    const auto args = proto::decode<proto::holder::DropArgs>(message.payload);
    if (!args || message.fds.count() != 0) return fail("it sent something to drop that does not decode");
    std::set<Slot> named;
    for (const Slot slot : args->slots)
        if (keeping_.state(slot) != Keeping::State::kept || !named.insert(slot).second)
            return fail("it drops what is not kept");
    if (named.empty()) return fail("it drops nothing");
    answer(message.header, keeping_.drop({args->slots.begin(), args->slots.end()}));
}

void Desk::serve_restore(const rpc::Control::Message& message) {
    const auto args = proto::decode<proto::holder::RestoreArgs>(message.payload);
    if (!args || message.fds.count() != 0)
        return fail("it asked for what is kept in a way that does not decode");
    if (ready_ || restore_) return fail("it asked for what is kept when it had said that it serves");
    // Slots on their way belong to a locker that has died; this one has to find each either taken or free.
    if (!keeping_.is_settled())
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

// What waits is answered by on_settled().
void Desk::answer(const rpc::Header& call, const Keeping::Outcome& outcome) {
    if (!outcome)
        send(control_.send_error(call, rpc::k_code_operation_failed, outcome.error().text));
    else if (*outcome)
        calls_.emplace(**outcome, call);
    else
        send(control_.send_reply(call, {}));
}

void Desk::on_settled(std::uint64_t ticket, bool done) {
    if (const auto call = calls_.extract(ticket); !call.empty())
        send(done ? control_.send_reply(call.mapped(), {})
                  : control_.send_error(call.mapped(), rpc::k_code_operation_failed,
                                        "the service manager does not take what has to be kept"));
    if (!restore_ || !keeping_.is_settled()) return;
    const auto [call, from] = *std::exchange(restore_, std::nullopt);
    answer_restore(call, from);
}

}  // namespace virtgate::lockd::holder
