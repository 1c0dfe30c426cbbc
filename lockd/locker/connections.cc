// SPDX-License-Identifier: LGPL-2.1-or-later
// connections - what is known of each connection: whose locks it speaks of, and whether it may still say so.
#include "lockd/locker/connections.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "libshared/base/log.h"

namespace virtgate::lockd::locker {

namespace kept = proto::kept;

bool is_peer(const Owner& owner, const server::Peer& peer) noexcept {
    return peer.pid > 0 && owner.process == static_cast<std::uint32_t>(peer.pid);
}

Connections::Connections(Keeping& keeping, Departures& departures, ConnectionsUser& user)
    : keeping_(keeping), departures_(departures), user_(user) {}

Connections::~Connections() { keeping_.forget(*this); }

kept::Kept Connections::make_record(const server::Client& client, const Connection& connection) {
    return kept::Kept::make_connection({.phase = kept::KeptPhase::phase_served,
                                        .listener = client.listener(),
                                        .restricted = connection.is_restricted,
                                        .owner = connection.owner,
                                        .unread = {},
                                        .unsent = {}});
}

void Connections::set_owner(server::Client& client, Owner owner, server::Call call) {
    Connection& connection = all_[client.id()];
    const bool is_self = is_peer(owner, client.peer());
    Connection next{.owner = std::move(owner), .is_restricted = false, .slot = connection.slot};
    if (!is_self) {
        if (!connection.slot) {
            connection.owner = std::move(next.owner);
            return call.reply();
        }
        // It spoke for itself before: nobody has to notice its end any more.
        const Ticket ticket = next_ticket_++;
        next.slot.reset();
        waiting_.emplace(ticket, Waiting{.client = client.id(),
                                         .call = std::move(call),
                                         .next = std::move(next),
                                         .is_drop = true,
                                         .slot = *connection.slot});
        return keeping_.drop(*connection.slot, ticket, *this);
    }
    if (!connection.process) {
        auto process = server::open_peer_process(client.socket(), client.peer());
        if (process)
            connection.process = std::move(*process);
        else if (process.error().number != ESRCH)  // ended already: its locks end with the connection
            return call.fail(internal(process.error().text));
    }
    const bool is_new_slot = !connection.slot;
    if (is_new_slot) {
        connection.slot = next.slot = keeping_.take_slot();
        if (!next.slot) return call.fail(internal("too many locks and connections are kept"));
    }
    ask_keep(client, std::move(next), is_new_slot, std::move(call));
}

void Connections::restrict(server::Client& client, server::Call call) {
    Connection& connection = all_[client.id()];
    if (!connection.slot) {
        connection.is_restricted = true;
        return call.reply();
    }
    ask_keep(client, {.owner = connection.owner, .is_restricted = true, .slot = connection.slot}, false,
             std::move(call));
}

void Connections::ask_keep(server::Client& client, Connection next, bool is_new_slot, server::Call call) {
    const Ticket ticket = next_ticket_++;
    const kept::Kept record = make_record(client, next);
    const Slot slot = *next.slot;
    waiting_.emplace(ticket, Waiting{.client = client.id(),
                                     .call = std::move(call),
                                     .next = std::move(next),
                                     .is_new_slot = is_new_slot,
                                     .slot = slot});
    keeping_.keep(slot, record, is_new_slot ? client.socket() : -1, ticket, *this);
}

void Connections::on_kept(Ticket ticket, Answer<void> done) noexcept {
    auto found = waiting_.extract(ticket);
    if (found.empty()) return;
    if (handing_over_ == nullptr) return on_call_kept(found.mapped(), std::move(done));
    if (!done) ++lost_;
    hand_over_more();
}

void Connections::on_call_kept(Waiting& waiting, Answer<void> done) {
    const auto found = all_.find(waiting.client);
    if (done && waiting.is_drop) keeping_.free_slot(waiting.slot);
    if (found == all_.end()) return;  // it has ended: its slot is taken care of there
    Connection& connection = found->second;
    if (done) {
        connection.owner = std::move(waiting.next.owner);
        connection.is_restricted = waiting.next.is_restricted;
        connection.slot = waiting.next.slot;
        if (waiting.is_drop) connection.process.reset();
        return waiting.call->reply();
    }
    if (waiting.is_new_slot) {
        keeping_.free_slot(waiting.slot);
        connection.slot.reset();
    }
    Log{}.error("cannot keep a connection: {}", escape(done.error().message));
    waiting.call->fail(done.error());
}

void Connections::on_closed(server::Client& client) noexcept {
    auto found = all_.extract(client.id());
    if (found.empty()) return;
    Connection& connection = found.mapped();
    if (!connection.slot) return;
    Departures::Leaving leaving{.owner = connection.owner.value_or(Owner{}),
                                .process = std::move(connection.process),
                                .connection = {},
                                .slot = *connection.slot};
    if (connection.is_dismissed) return departures_.await(std::move(leaving));
    departures_.begin(std::move(leaving));
}

void Connections::adopt(server::Client& client, const kept::KeptConnection& kept, std::optional<Slot> slot,
                        UniqueFd process) {
    all_[client.id()] = {
        .owner = kept.owner, .is_restricted = kept.restricted, .slot = slot, .process = std::move(process)};
}

UniqueFd Connections::find_process(std::uint32_t number) const {
    for (const auto& [id, connection] : all_)
        if (connection.process && connection.owner && connection.owner->process == number)
            return UniqueFd{fcntl(connection.process.get(), F_DUPFD_CLOEXEC, 0)};
    return {};
}

void Connections::begin_session(server::Client& client, Owner owner, server::Call call) {
    Connection& connection = all_[client.id()];
    connection.slot = keeping_.take_slot();
    if (!connection.slot) return call.fail(internal("too many locks and connections are kept"));
    ask_keep(client, {.owner = std::move(owner), .slot = connection.slot}, true, std::move(call));
}

std::unordered_set<std::string> Connections::alive() const {
    std::unordered_set<std::string> found;
    for (const auto& [id, connection] : all_)
        if (connection.owner && (connection.process || !is_process(*connection.owner)))
            found.insert(key_of(*connection.owner));
    return found;
}

void Connections::dismiss(const Owner& owner, server::Server& server) {
    for (auto& [id, connection] : all_) {
        if (!connection.owner || !is_same(*connection.owner, owner)) continue;
        server::Client* const client = server.find(id);
        if (client == nullptr) continue;
        connection.is_dismissed = true;
        // Its end would not be seen there as long as the holder has a copy.
        shutdown(client->socket(), SHUT_WR);
        client->close("its lock was broken");
    }
}

void Connections::hand_over(server::Server& server) {
    handing_over_ = &server;
    server.for_each([this](server::Client& client) { left_.push_back(client.id()); });
    hand_over_more();
}

// A loop, and not deeper with each one: most are kept at once.
void Connections::hand_over_more() {
    if (std::exchange(is_handing_over_more_, true)) return;
    while (!left_.empty() && waiting_.size() < k_window) {
        server::Client* const client = handing_over_->find(left_.back());
        left_.pop_back();
        if (client != nullptr) hand_over_one(*client);
    }
    is_handing_over_more_ = false;
    if (!left_.empty() || !waiting_.empty() || is_handed_over_) return;
    is_handed_over_ = true;
    if (lost_ != 0) Log{}.warning("{} connections could not be handed over", lost_);
    user_.on_handed_over();
}

void Connections::hand_over_one(server::Client& client) {
    const Connection& connection = all_[client.id()];
    // Nobody could go on in the middle of a frame that is too long. One that speaks for itself stays kept as it is.
    // Nor with a session: its rights are not written down. It ends when whoever has it notices, and its locks then.
    const bool is_session = connection.owner && !is_process(*connection.owner);
    if (connection.is_of_process) return;
    if (client.is_skipping() || is_session) {
        lost_ += connection.slot ? 0 : 1;
        return;
    }
    const std::optional<Slot> slot = connection.slot ? connection.slot : keeping_.take_slot();
    if (!slot) {
        ++lost_;
        return;
    }
    server::Client::Handed handed = client.give_up();
    const auto record = kept::Kept::make_connection({.phase = kept::KeptPhase::phase_handed_over,
                                                     .listener = client.listener(),
                                                     .restricted = connection.is_restricted,
                                                     .owner = connection.owner,
                                                     .unread = std::move(handed.input),
                                                     .unsent = std::move(handed.output)});
    const int fd = connection.slot ? -1 : handed.socket.get();
    handed_.push_back(std::move(handed.socket));
    const Ticket ticket = next_ticket_++;
    waiting_.emplace(ticket, Waiting{.client = client.id(), .slot = *slot});
    keeping_.keep(*slot, record, fd, ticket, *this);
}

}  // namespace virtgate::lockd::locker
