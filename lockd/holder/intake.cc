// SPDX-License-Identifier: LGPL-2.1-or-later
// intake - what one locker says by its queue, judged, done, and only then taken out.
#include "lockd/holder/intake.h"

#include <algorithm>
#include <set>

#include "libshared/rpc/header.h"
#include "proto/codec.h"

namespace virtgate::lockd::holder {

namespace holder = proto::holder;
using holder::Procedure;
using loop::Want;

namespace {

bool is_message(const rpc::Header& header, Procedure procedure) noexcept {
    return header == rpc::make_message(holder::k_program, holder::k_version, procedure, header.serial);
}

// Of messages in a batch, and how long to wait for them.
constexpr std::size_t k_few = 80, k_many = 160;
constexpr Milliseconds k_linger_min{1};

constexpr const char* k_keep_undecodable = "it sent something to keep that does not decode";
constexpr const char* k_drop_undecodable = "it sent something to drop that does not decode";

}  // namespace

Intake::Intake(loop::Loop& loop, Keeping& keeping, Queue queue, std::size_t things_max, Owner& owner)
    : loop_(loop),
      keeping_(keeping),
      queue_(std::move(queue)),
      is_inherited_(false),
      things_max_(things_max),
      owner_(owner),
      timer_(loop.timer(loop::to<&Intake::on_time>(*this))) {
    watch_ = loop_.watch(queue_.get(), Want::read, loop::to<&Intake::on_readable>(*this));
    if (const auto done = keeping_.reserve(k_room); done) {
        grant_ = {.bytes = k_room, .more = true};
    } else {
        Log{}.error("nothing new can be kept: {}", done.error().text);
        timer_->start(k_retry);
    }
}

Intake::Intake(loop::Loop& loop, Keeping& keeping, Queue queue, Owner& owner)
    : loop_(loop),
      keeping_(keeping),
      queue_(std::move(queue)),
      is_inherited_(true),
      things_max_(holder::k_slots_max),
      owner_(owner),
      timer_(loop.timer(loop::to<&Intake::on_time>(*this))) {}

void Intake::finish() noexcept {
    is_finishing_ = true;
    watch_.reset();
    queue_.shut();
    if (!is_under_way_) timer_->start(Milliseconds{0});
}

// Silent from now on: while it is busy it is looked at again and again, which costs less than being told each time.
void Intake::on_readable(Want) noexcept {
    watch_->set(Want::nothing);
    if (!is_under_way_) timer_->start(linger_);
}

void Intake::on_time() noexcept {
    if (!is_under_way_) take();
}

void Intake::take() {
    if (!keeping_.is_settled()) return timer_->start(k_linger);
    const auto stay = [&](const Error& error) {
        if (!std::exchange(is_stuck_, true)) Log{}.error("what is to be kept waits: {}", error.text);
        timer_->start(k_retry);
    };
    const auto look = queue_.look();
    if (!look) return stay(look.error());
    if (is_over_ || (look->packets.empty() && !look->is_breach)) return rest(*look);
    auto batch = make_batch(*look);
    if (!batch) return stay(batch.error());
    if (auto done = keeping_.apply(std::move(batch->changes)); !done) return stay(done.error());
    if (std::exchange(is_stuck_, false)) Log{}.info("what was to be kept is");
    under_way_ = batch->packets;
    cost_ = batch->cost;
    breach_ = std::move(batch->breach);
    is_under_way_ = true;
    on_settled();
}

// There is nothing to do.
void Intake::rest(const Queue::Look& look) {
    if (is_finishing_) return owner_.on_drained();
    if (is_over_ || look.is_end) return;
    watch_->set(Want::read);
    // The disk may have got room.
    if (!grant_.more) renew_grant();
}

Result<Intake::Batch> Intake::make_batch(const Queue::Look& look) {
    std::span<const Queue::Packet> packets = look.packets;
    std::string behind = look.is_breach ? "it sent a packet that is too long" : "";
    for (;;) {
        Batch batch = judge(packets);
        const auto wrong = fetch(batch);
        if (!wrong) return tl::unexpected<Error>(wrong.error());
        if (batch.breach.empty()) batch.breach = behind;
        if (*wrong == nullptr) return batch;
        // What came before it counts.
        packets = packets.first(static_cast<std::size_t>(*wrong - packets.data()));
        behind = "it sent more than one descriptor";
    }
}

Result<const Queue::Packet*> Intake::fetch(Batch& batch) {
    for (const auto& [slot, packet] : batch.sources) {
        auto fd = queue_.copy_fd(*packet);
        if (!fd) return tl::unexpected(std::move(fd.error()));
        if (!*fd) return packet;
        batch.changes.at(slot).fd = std::move(*fd);
    }
    return nullptr;
}

void Intake::on_settled() noexcept {
    if (!is_under_way_ || !keeping_.is_settled()) return;
    is_under_way_ = false;
    commit();
}

void Intake::commit() {
    queue_.consume(under_way_);
    used_ += cost_;
    serial_ += static_cast<std::uint32_t>(under_way_);
    renew_grant();
    if (under_way_ < k_few) linger_ = std::min(2 * linger_, k_linger);
    if (under_way_ > k_many) linger_ = std::max(linger_ / 2, k_linger_min);
    timer_->start(is_finishing_ ? Milliseconds{0} : linger_);
    if (breach_.empty()) return;
    is_over_ = true;
    if (is_inherited_)
        Log{}.error("a locker that is gone broke the rules: {}", breach_);
    else
        owner_.on_broken(breach_);
}

void Intake::renew_grant() {
    if (is_inherited_ || is_finishing_ || (grant_.more && grant_.bytes - used_ > k_room / 2)) return;
    const auto done = keeping_.reserve(k_room);
    if (done) {
        if (!grant_.more) Log{}.info("there is room for new locks again");
        grant_ = {.bytes = used_ + k_room, .more = true};
    } else {
        // Until there is: each time somebody asks for something, and now and then.
        if (!timer_->running()) timer_->start(k_retry);
        if (!std::exchange(grant_.more, false)) return;
        Log{}.error("soon nothing new can be kept: {}", done.error().text);
    }
    owner_.on_granted();
}

// --- judging ---

bool Intake::is_taken(const Batch& batch, Slot slot) const {
    const auto change = batch.changes.find(slot);
    return change != batch.changes.end() ? change->second.record.has_value() : keeping_.has(slot);
}

Intake::Batch Intake::judge(std::span<const Queue::Packet> packets) const {
    Batch batch;
    batch.things = keeping_.things().size();
    for (const Queue::Packet& packet : packets) {
        batch.breach = judge_one(batch, packet);
        if (!batch.breach.empty()) return batch;
        ++batch.packets;
    }
    return batch;
}

std::string Intake::judge_one(Batch& batch, const Queue::Packet& packet) const {
    if (packet.bytes.size() < rpc::k_frame_min || load_be32(packet.bytes.data()) != packet.bytes.size())
        return "it sent a packet that is not one frame";
    const rpc::Header header = rpc::read_header(packet.bytes.data());
    const ByteView payload = packet.bytes.subspan(rpc::k_frame_min);
    const auto expected = serial_ + static_cast<std::uint32_t>(batch.packets) + 1;
    if (!is_inherited_ && header.serial != expected) return "it does not number what it sends";
    if (is_message(header, Procedure::keep)) return judge_keep(batch, packet, payload);
    if (is_message(header, Procedure::drop)) return judge_drop(batch, packet, payload);
    return "it sent a message that has no place in its queue";
}

std::string Intake::judge_keep(Batch& batch, const Queue::Packet& packet, ByteView payload) const {
    auto args = proto::decode<holder::KeepArgs>(payload);
    if (!args) return k_keep_undecodable;
    const bool is_taken_now = is_taken(batch, args->slot);
    if (!is_inherited_) {
        if (packet.has_fds == is_taken_now)
            return is_taken_now ? "it sent a descriptor for a slot that is taken" : "it sent nothing to keep";
        if (!is_taken_now && batch.things >= things_max_) return "it keeps more things than it may";
        const std::uint64_t cost = holder::k_keep_cost + args->record.size();
        if (used_ + batch.cost + cost > grant_.bytes) return "it keeps more than it was granted";
        batch.cost += cost;
    }
    // A record for what is not there any more: what ends it comes behind, and had been done already.
    if (!packet.has_fds && !is_taken_now) return {};
    Keeping::Change& change = batch.changes[args->slot];
    change.record = std::move(args->record);
    if (packet.has_fds) batch.sources[args->slot] = &packet;
    batch.things += is_taken_now ? 0 : 1;
    return {};
}

std::string Intake::judge_drop(Batch& batch, const Queue::Packet& packet, ByteView payload) const {
    const auto args = proto::decode<holder::DropArgs>(payload);
    if (!args || packet.has_fds) return k_drop_undecodable;
    if (args->slots.empty()) return "it drops nothing";
    std::set<Slot> named;
    for (const Slot slot : args->slots) {
        if (is_inherited_) break;
        const bool is_twice = args->slots.size() > 1 && !named.insert(slot).second;
        if (is_twice || !is_taken(batch, slot)) return "it drops what is not kept";
    }
    for (const Slot slot : args->slots) {
        batch.things -= is_taken(batch, slot) ? 1 : 0;
        batch.sources.erase(slot);
        // Of what came and went within the batch nothing is left.
        if (keeping_.has(slot))
            batch.changes[slot] = {};
        else
            batch.changes.erase(slot);
    }
    return {};
}

}  // namespace virtgate::lockd::holder
