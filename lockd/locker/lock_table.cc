// SPDX-License-Identifier: LGPL-2.1-or-later
// lock_table - who holds which resource, in all lock spaces of this daemon.
#include "lockd/locker/lock_table.h"

#include <algorithm>

#include "libshared/base/bytes.h"
#include "libshared/base/log.h"

namespace virtgate::lockd::locker {

namespace kept = proto::kept;

namespace {

bool is_of(const kept::KeptHold& hold, const Owner& owner) noexcept { return is_same(hold.owner, owner); }

ByteVector to_bytes(std::string_view text) {
    const ByteView bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
}

// For whoever may know.
std::string describe_holder(const kept::KeptHold& hold) {
    const std::string name = escape(as_text(hold.owner.name));
    switch (hold.owner.kind) {
        case kept::OwnerKind::owner_process:
            return fmt::format("\"{}\" (process {})", name, hold.owner.process);
        case kept::OwnerKind::owner_session: return fmt::format("{} (session {})", name, hold.way.session);
        case kept::OwnerKind::owner_identity: return fmt::format("the identity {}", name);
    }
    return {};
}

}  // namespace

bool is_same(const Owner& a, const Owner& b) noexcept {
    if (a.kind != b.kind) return false;
    switch (a.kind) {
        case kept::OwnerKind::owner_process: return a.process == b.process;
        case kept::OwnerKind::owner_session: return a.uuid == b.uuid;
        case kept::OwnerKind::owner_identity: return a.name == b.name;
    }
    return false;
}

std::string key_of(const Owner& owner) {
    switch (owner.kind) {
        case kept::OwnerKind::owner_process: return fmt::format("p{}", owner.process);
        case kept::OwnerKind::owner_session: return fmt::format("s{}", as_text(owner.uuid));
        case kept::OwnerKind::owner_identity: return fmt::format("i{}", as_text(owner.name));
    }
    return {};
}

LockTable::LockTable(Keeping& keeping, LockTableUser& user, WallClock clock, std::size_t most)
    : keeping_(keeping), user_(user), clock_(clock), most_(most) {}

LockTable::~LockTable() { keeping_.forget(*this); }

void LockTable::acquire(Where where, const Owner& owner, const kept::KeptWay& way, bool shared, bool create,
                        server::Call call, bool names_holder) {
    if (!is_process(owner))
        if (const auto found = tally_.find(std::string(as_text(owner.name)));
            found != tally_.end() && found->second >= most_)
            return call.fail(has_too_many(as_text(owner.name), most_));
    count(owner, true);
    start(std::move(where), {.kind = Kind::acquire,
                             .call = std::move(call),
                             .owner = owner,
                             .shared = shared,
                             .create = create,
                             .names_holder = names_holder,
                             .way = way});
}

void LockTable::count(const Owner& owner, bool more) {
    if (is_process(owner)) return;
    const auto place = tally_.try_emplace(std::string(as_text(owner.name))).first;
    place->second += more ? 1 : static_cast<std::size_t>(-1);
    if (place->second == 0) tally_.erase(place);
}

void LockTable::count(const kept::KeptLock& lock, bool more) {
    for (const kept::KeptHold& hold : lock.holds) count(hold.owner, more);
}

rpc::Failure LockTable::refusal(const Resource& resource, const Operation& operation) {
    const std::string_view name = as_text(resource.facts.name);
    if (!operation.names_holder) return is_locked(name);
    const auto& holds = resource.facts.holds;
    if (holds.empty()) return is_in_use(name, "a process or a host that this lock daemon does not know");
    std::string holder = describe_holder(holds.front());
    if (holds.size() > 1) holder += fmt::format(" and {} more", holds.size() - 1);
    return is_in_use(name, holder);
}

void LockTable::release(Where where, const Owner& owner, server::Call call) {
    start(std::move(where), {.kind = Kind::release, .call = std::move(call), .owner = owner});
}

void LockTable::release(Where where, const Owner& owner, const Owner& other, server::Call call) {
    start(std::move(where), {.kind = Kind::release, .call = std::move(call), .owner = owner, .other = other});
}

void LockTable::create(Where where, server::Call call) {
    start(std::move(where), {.kind = Kind::create, .call = std::move(call)});
}

void LockTable::remove(Where where, server::Call call) {
    start(std::move(where), {.kind = Kind::remove, .call = std::move(call)});
}

void LockTable::break_holds(Where where, const std::optional<Uuid>& uuid, Ticket ticket,
                            LockBreaker& breaker) {
    start(std::move(where), {.kind = Kind::break_holds, .uuid = uuid, .ticket = ticket, .breaker = &breaker});
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
        case Kind::break_holds: return run_break(resource, operation);
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
        return finish(resource, tl::make_unexpected(refusal(resource, operation)));
    resource.next = resource.facts;
    resource.next.holds.push_back({.owner = operation.owner, .since = clock_(), .way = operation.way});
    keep(resource, -1);
}

void LockTable::run_release(Resource& resource, Operation& operation) {
    const bool all = operation.kind == Kind::release_all;
    const Owner& owner = operation.owner;
    if (resource.facts.holds.empty() && !all)
        return finish(resource, tl::make_unexpected(is_not_locked(as_text(resource.facts.name))));
    resource.next = resource.facts;
    auto& holds = resource.next.holds;
    if (all) {
        std::erase_if(holds, [&](const kept::KeptHold& hold) { return is_of(hold, owner); });
    } else {
        const auto find = [&](const Owner& whose) {
            return std::find_if(holds.begin(), holds.end(),
                                [&](const kept::KeptHold& hold) { return is_of(hold, whose); });
        };
        auto mine = find(owner);
        if (mine == holds.end() && operation.other) mine = find(*operation.other);
        if (mine == holds.end()) return finish(resource, tl::make_unexpected(is_not_owner(owner.process)));
        holds.erase(mine);
    }
    if (holds.size() == resource.facts.holds.size()) return finish(resource, {});
    let_go_of_some(resource);
}

void LockTable::run_break(Resource& resource, Operation& operation) {
    const auto& holds = resource.facts.holds;
    const std::string_view name = as_text(resource.facts.name);
    if (holds.empty()) return finish(resource, tl::make_unexpected(is_held_by_nobody(name)));
    resource.next = resource.facts;
    resource.next.holds.clear();
    for (const kept::KeptHold& hold : holds) {
        const bool is_meant = !operation.uuid || hold.owner.uuid == *operation.uuid;
        (is_meant ? operation.broken : resource.next.holds).push_back(hold);
    }
    if (operation.broken.empty()) return finish(resource, tl::make_unexpected(is_held_by_others(name)));
    let_go_of_some(resource);
}

void LockTable::let_go_of_some(Resource& resource) {
    if (!resource.next.holds.empty()) return keep(resource, -1);
    keeping_.drop(*resource.slot, expect(resource), *this);
}

void LockTable::keep(Resource& resource, int fd) {
    keeping_.keep(*resource.slot, kept::Kept::make_lock(resource.next), fd, expect(resource), *this);
}

void LockTable::on_taken(Ticket ticket, Answer<LockedFile> file) noexcept {
    Resource& resource = *waiting_for(ticket);
    const Operation& operation = resource.operations.front();
    // A lock space in etcd says itself who has it.
    const auto is_plain = [&](const rpc::Failure& failure) {
        return failure.message == is_locked(as_text(resource.facts.name)).message;
    };
    if (!file && operation.names_holder && is_plain(file.error()))
        file.error() = refusal(resource, operation);
    if (!file) return finish(resource, tl::make_unexpected(std::move(file.error())));
    resource.file = std::move(file->file);
    resource.slot = keeping_.take_slot();
    resource.next = resource.facts;
    resource.next.shared = operation.shared;
    resource.next.auto_created = operation.create;
    resource.next.device = file->device;
    resource.next.inode = file->inode;
    resource.next.holds = {{.owner = operation.owner, .since = clock_(), .way = operation.way}};
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
    count(resource.facts, false);
    count(resource.next, true);
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
    if (operation.kind == Kind::acquire && !done) count(operation.owner, false);
    if (operation.kind == Kind::release_all)
        settle(operation.owner);
    else if (operation.call && done)
        operation.call->reply();
    else if (operation.call)
        operation.call->fail(done.error());
    run(resource);  // perhaps the end of it
    if (operation.breaker == nullptr) return;
    if (done)
        operation.breaker->on_broken(operation.ticket, std::move(operation.broken));
    else
        operation.breaker->on_broken(operation.ticket, tl::make_unexpected(done.error()));
}

void LockTable::release_all(const Owner& whose) {
    const Owner owner = whose;  // a copy: its owner may be gone by the end
    // Counted first: an operation may be over from within start().
    std::vector<Where> concerned;
    for (const auto& [key, resource] : resources_)
        if (concerns(resource, owner))
            concerned.push_back({.space = resource.space, .path = key.first, .name = key.second});
    if (concerned.empty()) return user_.on_all_released(owner);
    releasing_[key_of(owner)] += concerned.size();
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

void LockTable::settle(const Owner& owner) {
    const auto found = releasing_.find(key_of(owner));
    if (--found->second != 0) return;
    releasing_.erase(found);
    user_.on_all_released(owner);
}

std::size_t LockTable::count_of(const Owner& owner) const noexcept {
    return static_cast<std::size_t>(std::count_if(
        resources_.begin(), resources_.end(), [&](const auto& one) { return concerns(one.second, owner); }));
}

bool LockTable::concerns(const Resource& resource, const Owner& owner) noexcept {
    const auto& holds = resource.facts.holds;
    const auto& operations = resource.operations;
    return std::any_of(holds.begin(), holds.end(), [&](const auto& hold) { return is_of(hold, owner); }) ||
           std::any_of(operations.begin(), operations.end(), [&](const Operation& operation) {
               return operation.kind == Kind::acquire && is_same(operation.owner, owner);
           });
}

std::size_t LockTable::held_in(const std::string& path) const noexcept {
    std::size_t count = 0;
    for (auto one = resources_.lower_bound(Key{path, {}});
         one != resources_.end() && one->first.first == path; ++one)
        count += one->second.facts.holds.empty() ? 0 : 1;
    return count;
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
    count(resource.facts, true);
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
