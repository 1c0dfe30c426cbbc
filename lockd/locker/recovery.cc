// SPDX-License-Identifier: LGPL-2.1-or-later
// recovery - take over from an earlier locker what the holder has: lock spaces, locks, connections.
#include "lockd/locker/recovery.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

#include "libshared/base/log.h"
#include "proto/codec.h"

namespace virtgate::lockd::locker {

namespace kept = proto::kept;

namespace {

std::string to_string(const std::vector<std::byte>& bytes) { return std::string(as_text(bytes)); }

// The peer ended it. Bytes that are still unread come before its end: nobody reads those any more.
bool has_hung_up(int socket) noexcept {
    std::byte one;
    const ssize_t n = recv(socket, &one, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

// The process that connected; empty if it has ended. Whoever connected for a session is not the one whose it is.
UniqueFd open_process(int socket, bool is_session = false) {
    if (is_session) return {};
    const auto peer = server::read_peer(socket);
    if (!peer) return {};
    auto process = server::open_peer_process(socket, *peer);
    return process ? std::move(*process) : UniqueFd{};
}

}  // namespace

bool Recovery::speaks_for_itself(const Connection& connection) {
    if (is_session(connection)) return true;
    const auto peer = server::read_peer(connection.fd.get());
    return peer && connection.record.owner && is_peer(*connection.record.owner, *peer);
}

bool Recovery::is_session(const Connection& connection) noexcept {
    return connection.record.owner && !is_process(*connection.record.owner);
}

Recovery::~Recovery() { parts_.keeping.forget(*this); }

void Recovery::on_restored(Slot slot, ByteView record, UniqueFd fd) noexcept {
    auto thing = proto::decode<kept::Kept>(record);
    if (!thing) return leave_alone(slot, std::move(fd), xdr::to_text(thing.error()));
    switch (thing->kind) {
        case kept::KeptKind::kept_space:
            return restore_space(slot, std::get<kept::Kept::space>(thing->value), std::move(fd));
        case kept::KeptKind::kept_lock:
            locks_.push_back({slot, std::move(std::get<kept::Kept::lock>(thing->value)), std::move(fd)});
            return;
        case kept::KeptKind::kept_lease:
            return restore_lease(slot, std::get<kept::Kept::lease>(thing->value), std::move(fd));
        case kept::KeptKind::kept_connection:
            connections_.push_back(
                {slot, std::move(std::get<kept::Kept::connection>(thing->value)), std::move(fd)});
            return;
    }
    leave_alone(slot, std::move(fd), "a kind that this version does not know");
}

void Recovery::leave_alone(Slot slot, UniqueFd fd, std::string_view why) {
    Log{}.error("what is kept in slot {} makes no sense and stays there: {}", slot, why);
    strange_.push_back(std::move(fd));
}

void Recovery::restore_space(Slot slot, const kept::KeptSpace& space, UniqueFd fd) {
    struct stat about {};
    if (fstat(fd.get(), &about) < 0 || !S_ISDIR(about.st_mode))
        return leave_alone(slot, std::move(fd), "the descriptor of a lock space is no directory");
    parts_.spaces.restore(slot, to_string(space.path), std::move(fd));
}

void Recovery::restore_lease(Slot slot, const kept::KeptLease& lease, UniqueFd fd) {
    EtcdSpace* const space = parts_.spaces.find_etcd(to_string(lease.path));
    if (space == nullptr)
        return leave_alone(
            slot, std::move(fd),
            fmt::format("the lock space {} is not in lockd.toml any more; nobody tells who holds locks "
                        "in it when they end",
                        escape(as_text(lease.path))));
    space->restore(slot, lease);
}

void Recovery::restore_lock(Thing<kept::KeptLock> lock) {
    const std::string name = escape(as_text(lock.record.name));
    struct stat about {};
    if (fstat(lock.fd.get(), &about) < 0 || about.st_dev != lock.record.device ||
        about.st_ino != lock.record.inode)
        return leave_alone(lock.slot, std::move(lock.fd),
                           fmt::format("the lock on {} has another file", name));
    if (lock.record.holds.empty())
        return leave_alone(lock.slot, std::move(lock.fd), fmt::format("the lock on {} has no owner", name));
    LockSpace* const space = parts_.spaces.find(to_string(lock.record.space));
    if (space == nullptr)
        return leave_alone(lock.slot, std::move(lock.fd),
                           fmt::format("the lock on {} has no lock space", name));
    // It cannot have been lost while somebody had the descriptor. If it was, its owner has to be told of by somebody.
    if (!space->confirm(to_string(lock.record.name), lock.fd.get(), lock.record.shared))
        Log{}.error("the lock on {} was lost, and somebody else has it now", name);
    parts_.table.restore(lock.slot, *space, std::move(lock.record), std::move(lock.fd));
}

void Recovery::on_all_restored(Done done) noexcept {
    if (!done) return user_.on_recovered(std::move(done));
    const std::size_t connections = connections_.size();
    for (auto& lock : std::exchange(locks_, {})) restore_lock(std::move(lock));
    for (auto& connection : std::exchange(connections_, {})) restore_connection(std::move(connection));
    if (parts_.table.held() + parts_.spaces.size() + connections != 0)
        Log{}.info("took over {} locks, {} lock spaces and {} connections", parts_.table.held(),
                   parts_.spaces.size(), connections);
    is_asking_ = false;
    end_if_done();
}

void Recovery::restore_connection(Connection connection) {
    switch (connection.record.phase) {
        case kept::KeptPhase::phase_handed_over: return go_on(connection);
        case kept::KeptPhase::phase_served: return fall_silent(connection);
        case kept::KeptPhase::phase_ended: break;
    }
    adopt(connection);
}

// What was unread and unsent is used up by this: before anything is, the holder must not have it any more. Whoever came
// after a crash of this process would use it again.
void Recovery::go_on(Connection& connection) {
    const bool is_self = speaks_for_itself(connection);
    const Ticket ticket = next_ticket_++;
    const Slot slot = connection.slot;
    kept::KeptConnection served = connection.record;
    served.phase = kept::KeptPhase::phase_served;
    served.unread = {};
    served.unsent = {};
    waiting_.emplace(ticket, std::move(connection));
    if (is_self)
        parts_.keeping.keep(slot, kept::Kept::make_connection(std::move(served)), -1, ticket, *this);
    else
        parts_.keeping.drop(slot, ticket, *this);
}

void Recovery::fall_silent(Connection& connection) {
    if (has_hung_up(connection.fd.get()))
        return parts_.departures.begin({.owner = connection.record.owner.value_or(Owner{}),
                                        .process = open_process(connection.fd.get(), is_session(connection)),
                                        .connection = std::move(connection.fd),
                                        .slot = connection.slot});
    shutdown(connection.fd.get(), SHUT_WR);
    connection.record.phase = kept::KeptPhase::phase_ended;
    const Ticket ticket = next_ticket_++;
    waiting_.emplace(ticket, Connection{.slot = connection.slot});
    parts_.keeping.keep(connection.slot, kept::Kept::make_connection(connection.record), -1, ticket, *this);
    adopt(connection);
}

// The holder has what it has to have: the connection is served again, or only its owner's end is waited for.
void Recovery::adopt(Connection& connection) {
    kept::KeptConnection& record = connection.record;
    const bool is_self = speaks_for_itself(connection);
    UniqueFd process = is_self ? open_process(connection.fd.get(), is_session(connection)) : UniqueFd{};
    if (record.phase == kept::KeptPhase::phase_handed_over) {
        auto client = parts_.server.adopt({.socket = std::move(connection.fd),
                                           .input = std::move(record.unread),
                                           .output = std::move(record.unsent)},
                                          record.listener);
        if (client) {
            const auto slot = is_self ? std::optional(connection.slot) : std::nullopt;
            return parts_.connections.adopt(**client, record, slot, std::move(process));
        }
        Log{}.error("a connection that was handed over ends: {}", client.error().text);
        if (!is_self) return;
    }
    parts_.departures.await({.owner = record.owner.value_or(Owner{}),
                             .process = std::move(process),
                             .connection = std::move(connection.fd),
                             .slot = connection.slot});
}

void Recovery::on_kept(Ticket ticket, Answer<void> done) noexcept {
    auto found = waiting_.extract(ticket);
    if (!done) Log{}.error("the holder does not take over a connection: {}", escape(done.error().message));
    Connection& connection = found.mapped();
    if (connection.fd) {
        if (done && !speaks_for_itself(connection)) parts_.keeping.free_slot(connection.slot);
        adopt(connection);
    }
    end_if_done();
}

void Recovery::end_if_done() {
    if (!is_asking_ && waiting_.empty()) user_.on_recovered({});
}

}  // namespace virtgate::lockd::locker
