// SPDX-License-Identifier: LGPL-2.1-or-later
// keeping - ask the holder to keep what has to outlive this process: records and descriptors, by slot.
#include "lockd/locker/keeping.h"

#include <fcntl.h>

#include <array>
#include <utility>

#include "libshared/base/log.h"
#include "libshared/channel/packet.h"
#include "libshared/rpc/error.h"
#include "proto/codec.h"

namespace virtgate::lockd::locker {

namespace holder = proto::holder;

namespace {

constexpr const char* k_no_room = "there is no room to write down more locks";

}  // namespace

void Keeping::restore(RestoreUser& user) {
    restoring_ = &user;
    ask_restore();
}

void Keeping::ask_restore() {
    const auto payload = proto::encode(holder::RestoreArgs{.from = restore_from_});
    const auto header = rpc::make_call(holder::k_program, holder::k_version, holder::Procedure::restore,
                                       channel_.next_serial());
    restore_serial_ = header.serial;
    if (const auto sent = channel_.send(header, *payload); !sent) {
        // The end of the channel follows, and with it the end of this process: nothing is answered any more.
        Log{}.error("cannot reach the holder: {}", sent.error().text);
    }
}

void Keeping::open(UniqueFd queue, const holder::QueueArgs& arguments) {
    watch_.reset();
    queue_ = std::move(queue);
    things_max_ = arguments.things_max;
    watch_ = loop_.watch(queue_.get(), loop::Want::nothing, loop::to<&Keeping::on_writable>(*this));
    set_grant(arguments.grant);
}

void Keeping::set_grant(const holder::GrantArgs& grant) {
    grant_ = grant;
    send_waiting();
}

std::optional<Slot> Keeping::take_slot() {
    if (next_ - free_.size() >= things_max_) return std::nullopt;
    if (!free_.empty()) {
        const Slot slot = free_.top();
        free_.pop();
        return slot;
    }
    if (next_ == holder::k_slots_max) return std::nullopt;
    return next_++;
}

void Keeping::free_slot(Slot slot) { free_.push(slot); }

void Keeping::post(holder::Procedure procedure, ByteView payload, int fd, std::size_t cost, Ticket ticket,
                   KeepingUser& user) {
    if (queue_ && waiting_.empty()) {
        switch (send(procedure, payload, fd, cost)) {
            case Outcome::done: return user.on_kept(ticket, {});
            case Outcome::refused: return user.on_kept(ticket, tl::make_unexpected(internal(k_no_room)));
            case Outcome::later: break;
        }
    }
    // Whoever lent the descriptor may close it before its turn comes.
    UniqueFd copy{fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1};
    if (fd >= 0 && !copy)
        return user.on_kept(ticket, tl::make_unexpected(internal("there are too many open files")));
    waiting_.push_back({.procedure = procedure,
                        .payload = {payload.begin(), payload.end()},
                        .fd = std::move(copy),
                        .cost = cost,
                        .ticket = ticket,
                        .user = &user});
}

Keeping::Outcome Keeping::send(holder::Procedure procedure, ByteView payload, int fd, std::size_t cost) {
    if (cost != 0 && used_ + cost > grant_.bytes) {
        watch_->set(loop::Want::nothing);  // the next grant is waited for
        return grant_.more ? Outcome::later : Outcome::refused;
    }
    std::array<std::byte, rpc::k_frame_min> head;
    rpc::write_header(head.data(), head.size() + payload.size(),
                      rpc::make_message(holder::k_program, holder::k_version, procedure, serial_ + 1));
    const std::span<const int> fds = fd >= 0 ? std::span<const int>(&fd, 1) : std::span<const int>{};
    switch (channel::send_packet(queue_.get(), head, payload, fds)) {
        case channel::Outcome::done:
            ++serial_;
            used_ += cost;
            return Outcome::done;
        case channel::Outcome::blocked: watch_->set(loop::Want::write); return Outcome::later;
        default:
            // The end of the channel follows, and with it the end of this process: nothing is answered any more.
            if (!std::exchange(is_broken_, true)) Log{}.error("the queue to the holder is broken");
            return Outcome::later;
    }
}

void Keeping::send_waiting() {
    while (queue_ && !waiting_.empty()) {
        const Waiting& next = waiting_.front();
        const Outcome outcome = send(next.procedure, next.payload, next.fd.get(), next.cost);
        if (outcome == Outcome::later) return;
        const Waiting over = std::move(waiting_.front());
        waiting_.pop_front();
        if (over.user == nullptr) continue;
        if (outcome == Outcome::done)
            over.user->on_kept(over.ticket, {});
        else
            over.user->on_kept(over.ticket, tl::make_unexpected(internal(k_no_room)));
    }
    if (watch_) watch_->set(loop::Want::nothing);
}

// Written where it is sent from, since each lock is: what proto::holder::KeepArgs encodes to.
void Keeping::keep(Slot slot, const proto::kept::Kept& what, int fd, Ticket ticket, KeepingUser& user) {
    constexpr std::size_t k_head = 2 * sizeof(std::uint32_t);
    static thread_local std::array<std::byte, k_head + holder::k_record_max> payload;
    xdr::Writer writer(MutableBytes(payload).subspan(k_head));
    what.encode(writer);
    const auto size = writer.finish();
    // Only a lock with very many holds, or an owner with a very long name, can be too long.
    if (!size)
        return user.on_kept(ticket, tl::make_unexpected(internal("too many owners hold it at a time")));
    store_be32(payload.data(), slot);
    store_be32(payload.data() + sizeof slot, static_cast<std::uint32_t>(*size));
    post(holder::Procedure::keep, ByteView(payload).first(k_head + *size), fd, holder::k_keep_cost + *size,
         ticket, user);
}

void Keeping::drop(Slot slot, Ticket ticket, KeepingUser& user) {
    std::array<std::byte, 2 * sizeof(std::uint32_t)> payload;
    store_be32(payload.data(), 1);
    store_be32(payload.data() + sizeof(std::uint32_t), slot);
    post(holder::Procedure::drop, payload, -1, 0, ticket, user);
}

void Keeping::forget(const KeepingUser& user) noexcept {
    for (Waiting& waiting : waiting_)
        if (waiting.user == &user) waiting.user = nullptr;
}

bool Keeping::take_reply(rpc::Control::Message& message) {
    if (restoring_ == nullptr || restore_serial_ != message.header.serial) return false;
    if (message.header.status == rpc::Status::ok) return take_restored(message);
    std::exchange(restoring_, nullptr)
        ->on_all_restored(system_fault(0, escape(rpc::read_error_text(message.payload))));
    return true;
}

bool Keeping::take_restored(rpc::Control::Message& message) {
    const auto ret = proto::decode<holder::RestoreRet>(message.payload);
    if (!ret || ret->things.size() != message.fds.count()) return false;
    for (const holder::KeptThing& thing : ret->things) {
        if (thing.slot < restore_from_ || thing.slot >= holder::k_slots_max) return false;
        for (; next_ < thing.slot; ++next_) free_.push(next_);
        next_ = restore_from_ = thing.slot + 1;
    }
    // The holder looks for the next ones while we look at these.
    if (!ret->things.empty()) ask_restore();
    for (std::size_t i = 0; i < ret->things.size(); ++i)
        restoring_->on_restored(ret->things[i].slot, ret->things[i].record, message.fds.take(i));
    if (ret->things.empty()) std::exchange(restoring_, nullptr)->on_all_restored({});
    return true;
}

}  // namespace virtgate::lockd::locker
