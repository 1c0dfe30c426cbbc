// SPDX-License-Identifier: LGPL-2.1-or-later
// lock_table - who holds which resource, in all lock spaces of this daemon.
#include "lockd/locker/lock_table.h"

#include <algorithm>

#include "libshared/base/bytes.h"
#include "libshared/base/log.h"

namespace virtgate::lockd::locker {

namespace kept = proto::kept;

namespace {

bool is_of(const kept::KeptHold& hold, std::uint32_t process) noexcept {
    return hold.owner.process == process;
}

ByteVector to_bytes(std::string_view text) {
    const ByteView bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
}

}  // namespace

LockTable::LockTable(Keeping& keeping, LockTableUser& user, WallClock clock)
    : keeping_(keeping), user_(user), clock_(clock) {}

LockTable::~LockTable() { keeping_.forget(*this); }

void LockTable::acquire(Where where, const Owner& owner, bool shared, bool create, server::Call call) {
    start(
        std::move(where),
        {.kind = Kind::acquire, .call = std::move(call), .owner = owner, .shared = shared, .create = create});
}

void LockTable::release(Where where, const Owner& owner, server::Call call) {
    start(std::move(where), {.kind = Kind::release, .call = std::move(call), .owner = owner});
}

void LockTable::create(Where where, server::Call call) {
    start(std::move(where), {.kind = Kind::create, .call = std::move(call)});
}

void LockTable::remove(Where where, server::Call call) {
    start(std::move(where), {.kind = Kind::remove, .call = std::move(call)});
}

void LockTable::start(Where where, Operation operation) {
    Resource& resource = resources_[Key{where.path, where.name}];
    if (resource.space == nullptr) {
        resource.space = where.space;
        resource.facts.space = to_bytes(where.path);
        resource.facts.name = to_bytes(where.name);
    }
    ++under_way_;
    resource.operations.push_back(std::move(operation));
    run(resource);
}

// A loop, since most operations are over at once, and thousands may wait for one resource.
void LockTable::run(Resource& resource) {
    if (resource.is_running) return;
    resource.is_running = true;
    while (!resource.operations.empty() && !resource.is_working) begin(resource);
    resource.is_running = false;
    if (resource.operations.empty() && resource.facts.holds.empty())
        resources_.erase(Key{as_text(resource.facts.space), as_text(resource.facts.name)});
    if (is_idle()) user_.on_idle();
}

void LockTable::begin(Resource& resource) {
    resource.is_working = true;
    Operation& operation = resource.operations.front();
    const std::string name(as_text(resource.facts.name));
    const bool is_held = !resource.facts.holds.empty();
    switch (operation.kind) {
        case Kind::acquire: return run_acquire(resource, operation);
        case Kind::release:
        case Kind::release_all: return run_release(resource, operation);
        case Kind::create:
            if (is_held) return finish(resource, tl::make_unexpected(is_locked(name)));
            return resource.space->create(name, expect(resource), *this);
        case Kind::remove:
            if (is_held) return finish(resource, tl::make_unexpected(is_locked(name)));
            return resource.space->remove(name, expect(resource), *this);
    }
}

void LockTable::run_acquire(Resource& resource, Operation& operation) {
    const std::string name(as_text(resource.facts.name));
    if (resource.is_lost) return finish(resource, tl::make_unexpected(was_lost(name)));
    if (resource.facts.holds.empty())
        return resource.space->take(name, operation.shared, operation.create, expect(resource), *this);
    if (!resource.facts.shared || !operation.shared)
        return finish(resource, tl::make_unexpected(is_locked(name)));
    resource.next = resource.facts;
    resource.next.holds.push_back({.owner = operation.owner, .since = clock_()});
    keep(resource, -1);
}

void LockTable::run_release(Resource& resource, Operation& operation) {
    const bool all = operation.kind == Kind::release_all;
    const std::uint32_t process = operation.owner.process;
    if (resource.facts.holds.empty() && !all)
        return finish(resource, tl::make_unexpected(is_not_locked(as_text(resource.facts.name))));
    resource.next = resource.facts;
    auto& holds = resource.next.holds;
    if (all) {
        std::erase_if(holds, [&](const kept::KeptHold& hold) { return is_of(hold, process); });
    } else {
        const auto mine = std::find_if(holds.begin(), holds.end(),
                                       [&](const kept::KeptHold& hold) { return is_of(hold, process); });
        if (mine == holds.end()) return finish(resource, tl::make_unexpected(is_not_owner(process)));
        holds.erase(mine);
    }
    if (holds.size() == resource.facts.holds.size()) return finish(resource, {});
    if (!holds.empty()) return keep(resource, -1);
    keeping_.drop(*resource.slot, expect(resource), *this);
}

void LockTable::keep(Resource& resource, int fd) {
    keeping_.keep(*resource.slot, kept::Kept::make_lock(resource.next), fd, expect(resource), *this);
}

void LockTable::on_taken(Ticket ticket, Answer<LockedFile> file) noexcept {
    Resource& resource = *waiting_for(ticket);
    const Operation& operation = resource.operations.front();
    if (!file) return finish(resource, tl::make_unexpected(std::move(file.error())));
    resource.file = std::move(file->file);
    resource.slot = keeping_.take_slot();
    resource.next = resource.facts;
    resource.next.shared = operation.shared;
    resource.next.auto_created = operation.create;
    resource.next.device = file->device;
    resource.next.inode = file->inode;
    resource.next.holds = {{.owner = operation.owner, .since = clock_()}};
    if (!resource.slot)
        return on_kept_acquired(resource, tl::make_unexpected(internal("too many locks are held")));
    keep(resource, resource.file.get());
}

void LockTable::on_kept(Ticket ticket, Answer<void> done) noexcept {
    Resource& resource = *waiting_for(ticket);
    if (resource.operations.front().kind == Kind::acquire)
        on_kept_acquired(resource, std::move(done));
    else
        on_kept_released(resource, std::move(done));
}

void LockTable::on_kept_acquired(Resource& resource, Answer<void> done) {
    const bool is_first = resource.facts.holds.empty();
    if (done) {
        held_ += is_first ? 1 : 0;
        resource.facts = std::move(resource.next);
        if (resource.is_lost) tell_lost(resource);
        return finish(resource, {});
    }
    Log{}.error("cannot keep a lock on {}: {}", escape(as_text(resource.facts.name)),
                escape(done.error().message));
    if (!is_first) return finish(resource, done);
    if (resource.slot) keeping_.free_slot(*resource.slot);
    resource.slot.reset();
    resource.is_lost = false;
    resource.failure = std::move(done.error());
    resource.space->let_go(std::string(as_text(resource.facts.name)), std::move(resource.file),
                           resource.next.auto_created, expect(resource), *this);
}

void LockTable::on_kept_released(Resource& resource, Answer<void> done) {
    if (!done) {
        Log{}.error("cannot release {}: {}", escape(as_text(resource.facts.name)),
                    escape(done.error().message));
        return finish(resource, done);
    }
    resource.facts = std::move(resource.next);
    if (!resource.facts.holds.empty()) return finish(resource, {});
    --held_;
    resource.is_lost = false;
    keeping_.free_slot(*resource.slot);
    resource.slot.reset();
    resource.space->let_go(std::string(as_text(resource.facts.name)), std::move(resource.file),
                           resource.facts.auto_created, expect(resource), *this);
}

// The end of create, remove, of a release, and of an acquire that could not be kept.
void LockTable::on_done(Ticket ticket, Answer<void> done) noexcept {
    Resource& resource = *waiting_for(ticket);
    if (auto failure = std::exchange(resource.failure, std::nullopt))
        done = tl::make_unexpected(std::move(*failure));
    finish(resource, done);
}

void LockTable::finish(Resource& resource, const Answer<void>& done) {
    Operation operation = std::move(resource.operations.front());
    resource.operations.pop_front();
    resource.is_working = false;
    --under_way_;
    if (!operation.call)
        settle(operation.owner.process);
    else if (done)
        operation.call->reply();
    else
        operation.call->fail(done.error());
    run(resource);
}

void LockTable::release_all(std::uint32_t process) {
    // Counted first: an operation may be over from within start().
    std::vector<Where> concerned;
    for (const auto& [key, resource] : resources_)
        if (concerns(resource, process))
            concerned.push_back({.space = resource.space, .path = key.first, .name = key.second});
    if (concerned.empty()) return user_.on_all_released(process);
    releasing_[process] += concerned.size();
    Owner owner;
    owner.process = process;
    for (Where& where : concerned) start(std::move(where), {.kind = Kind::release_all, .owner = owner});
}

void LockTable::lose(const std::string& path, const std::string& name) {
    const auto found = resources_.find(Key{path, name});
    // What is being let go already has nobody who would have to be told.
    if (found == resources_.end() || (found->second.facts.holds.empty() && !found->second.file)) return;
    Resource& resource = found->second;
    if (std::exchange(resource.is_lost, true)) return;
    tell_lost(resource);
}

// A copy, since whoever is told may release.
void LockTable::tell_lost(const Resource& resource) {
    const std::string name(as_text(resource.facts.name));
    for (const kept::KeptHold& hold : std::vector(resource.facts.holds)) user_.on_lost(hold.owner, name);
}

void LockTable::settle(std::uint32_t process) {
    const auto found = releasing_.find(process);
    if (--found->second != 0) return;
    releasing_.erase(found);
    user_.on_all_released(process);
}

std::size_t LockTable::count_of(std::uint32_t process) const noexcept {
    return static_cast<std::size_t>(std::count_if(resources_.begin(), resources_.end(), [&](const auto& one) {
        return concerns(one.second, process);
    }));
}

bool LockTable::concerns(const Resource& resource, std::uint32_t process) noexcept {
    const auto& holds = resource.facts.holds;
    const auto& operations = resource.operations;
    return std::any_of(holds.begin(), holds.end(), [&](const auto& hold) { return is_of(hold, process); }) ||
           std::any_of(operations.begin(), operations.end(), [&](const Operation& operation) {
               return operation.kind == Kind::acquire && operation.owner.process == process;
           });
}

bool LockTable::uses(const LockSpace& space) const noexcept {
    return std::any_of(resources_.begin(), resources_.end(),
                       [&](const auto& one) { return one.second.space == &space; });
}

void LockTable::restore(Slot slot, LockSpace& space, kept::KeptLock lock, UniqueFd file) {
    Key key{as_text(lock.space), as_text(lock.name)};
    Resource& resource = resources_[std::move(key)];
    resource.space = &space;
    resource.facts = std::move(lock);
    resource.file = std::move(file);
    resource.slot = slot;
    ++held_;
}

Ticket LockTable::expect(Resource& resource) {
    const Ticket ticket = next_ticket_++;
    tickets_.emplace(ticket, &resource);
    return ticket;
}

LockTable::Resource* LockTable::waiting_for(Ticket ticket) noexcept {
    const auto found = tickets_.find(ticket);
    require(found != tickets_.end(), "an answer that nobody waits for");
    Resource* const resource = found->second;
    tickets_.erase(found);
    return resource;
}

}  // namespace virtgate::lockd::locker
