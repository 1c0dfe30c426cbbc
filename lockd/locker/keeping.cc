// SPDX-License-Identifier: LGPL-2.1-or-later
// keeping - ask the holder to keep what has to outlive this process: records and descriptors, by slot.
#include "lockd/locker/keeping.h"

#include <fcntl.h>

#include "libshared/base/log.h"
#include "libshared/rpc/error.h"
#include "proto/codec.h"

namespace virtgate::lockd::locker {

namespace holder = proto::holder;

void Keeping::restore(RestoreUser& user) {
    restoring_ = &user;
    ask_restore();
}

void Keeping::ask_restore() {
    ask(holder::Procedure::restore, holder::RestoreArgs{.from = restore_from_}, -1, 0, nullptr);
}

std::optional<Slot> Keeping::take_slot() {
    if (!free_.empty()) {
        const Slot slot = free_.top();
        free_.pop();
        return slot;
    }
    if (next_ == holder::k_slots_max) return std::nullopt;
    return next_++;
}

void Keeping::free_slot(Slot slot) { free_.push(slot); }

template <class Arguments>
void Keeping::ask(holder::Procedure procedure, const Arguments& arguments, int fd, Ticket ticket,
                  KeepingUser* user) {
    auto payload = proto::encode(arguments, rpc::Control::k_payload_max);
    require(payload.has_value(), "a message to the holder does not encode");
    const auto header =
        rpc::make_call(holder::k_program, holder::k_version, procedure, channel_.next_serial());
    const Asked asked{.ticket = ticket, .user = user};
    if (asked_.size() < k_asked_max && waiting_.empty()) return send(header, *payload, fd, asked);
    // Whoever lent the descriptor may close it before its turn comes.
    UniqueFd copy{fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1};
    if (fd >= 0 && !copy)
        return user->on_kept(ticket, tl::make_unexpected(internal("there are too many open files")));
    waiting_.push_back(
        {.header = header, .payload = std::move(*payload), .fd = std::move(copy), .asked = asked});
}

void Keeping::send(const rpc::Header& header, ByteView payload, int fd, const Asked& asked) {
    asked_.emplace(header.serial, asked);
    const std::span<const int> fds = fd >= 0 ? std::span<const int>(&fd, 1) : std::span<const int>{};
    if (const auto sent = channel_.send(header, payload, fds); !sent) {
        // The end of the channel follows, and with it the end of this process: nothing is answered any more.
        Log{}.error("cannot reach the holder: {}", sent.error().text);
    }
}

void Keeping::send_waiting() {
    while (!waiting_.empty() && asked_.size() < k_asked_max) {
        const Waiting next = std::move(waiting_.front());
        waiting_.pop_front();
        send(next.header, next.payload, next.fd.get(), next.asked);
    }
}

void Keeping::keep(Slot slot, const proto::kept::Kept& what, int fd, Ticket ticket, KeepingUser& user) {
    auto record = proto::encode(what, holder::k_record_max);
    // Only a lock with very many holds, or an owner with a very long name, can be too long.
    if (!record)
        return user.on_kept(ticket, tl::make_unexpected(internal("too many owners hold it at a time")));
    ask(holder::Procedure::keep, holder::KeepArgs{.slot = slot, .record = std::move(*record)}, fd, ticket,
        &user);
}

void Keeping::drop(Slot slot, Ticket ticket, KeepingUser& user) {
    ask(holder::Procedure::drop, holder::DropArgs{.slots = {slot}}, -1, ticket, &user);
}

void Keeping::forget(const KeepingUser& user) noexcept {
    for (auto& [serial, asked] : asked_)
        if (asked.user == &user) asked.user = nullptr;
    for (Waiting& waiting : waiting_)
        if (waiting.asked.user == &user) waiting.asked.user = nullptr;
}

bool Keeping::take_reply(rpc::Control::Message& message) {
    const auto found = asked_.extract(message.header.serial);
    if (found.empty()) return false;
    const Asked asked = found.mapped();
    send_waiting();
    const bool ok = message.header.status == rpc::Status::ok;
    if (restoring_ != nullptr) {
        if (ok) return take_restored(message);
        std::exchange(restoring_, nullptr)
            ->on_all_restored(system_fault(0, escape(rpc::read_error_text(message.payload))));
        return true;
    }
    if (asked.user == nullptr) return true;
    if (ok)
        asked.user->on_kept(asked.ticket, {});
    else
        asked.user->on_kept(asked.ticket,
                            tl::make_unexpected(internal(rpc::read_error_text(message.payload))));
    return true;
}

bool Keeping::take_restored(rpc::Control::Message& message) {
    const auto ret = proto::decode<holder::RestoreRet>(message.payload);
    if (!ret || ret->things.size() != message.fds.count()) return false;
    for (std::size_t i = 0; i < ret->things.size(); ++i) {
        const holder::KeptThing& thing = ret->things[i];
        if (thing.slot < restore_from_ || thing.slot >= holder::k_slots_max) return false;
        for (; next_ < thing.slot; ++next_) free_.push(next_);
        next_ = restore_from_ = thing.slot + 1;
        restoring_->on_restored(thing.slot, thing.record, message.fds.take(i));
    }
    if (ret->things.empty())
        std::exchange(restoring_, nullptr)->on_all_restored({});
    else
        ask_restore();
    return true;
}

}  // namespace virtgate::lockd::locker
