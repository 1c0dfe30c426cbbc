// SPDX-License-Identifier: LGPL-2.1-or-later
// desk - the procedures of libvirt's lock program: what is checked, in which order, and who does it then.
#include "lockd/locker/desk.h"

#include <algorithm>

namespace virtgate::lockd::locker {

namespace lock = proto::lock;
using lock::Procedure;

namespace {

// Of ACQUIRE_RESOURCE. Source: docs/protocol.md, the lock program.
constexpr std::uint32_t k_shared = 1;
constexpr std::uint32_t k_auto_create = 2;

Owner make_owner(const lock::Owner& owner) {
    const ByteView name = as_bytes(owner.name);
    const std::size_t size = std::min<std::size_t>(name.size(), proto::kept::k_owner_name_max);
    return {.uuid = owner.uuid,
            .name = {name.begin(), name.begin() + static_cast<std::ptrdiff_t>(size)},
            .id = owner.id,
            .process = owner.process_id};
}

}  // namespace

Desk::Desk(Connections& connections, SessionDesk& sessions, Spaces& spaces, LockTable& table)
    : connections_(connections),
      sessions_(sessions),
      spaces_(spaces),
      table_(table),
      program_(lock::k_program, lock::k_version) {
    program_.serve<&Desk::register_owner>(Procedure::register_, *this);
    program_.serve<&Desk::restrict>(Procedure::restrict, *this);
    program_.serve<&Desk::open_new>(Procedure::new_, *this);
    program_.serve<&Desk::create_resource>(Procedure::create_resource, *this);
    program_.serve<&Desk::delete_resource>(Procedure::delete_resource, *this);
    program_.serve<&Desk::acquire>(Procedure::acquire_resource, *this);
    program_.serve<&Desk::release>(Procedure::release_resource, *this);
    program_.serve<&Desk::open_space>(Procedure::create_lockspace, *this);
}

Answer<void> Desk::check(const Client& client, const Demand& demand) {
    const Connections::Connection& connection = connections_.of(client);
    if (const std::uint32_t unknown = demand.flags & ~demand.flags_known; unknown != 0)
        return tl::make_unexpected(unsupported_flags(unknown, demand.procedure));
    if (connection.is_restricted) return tl::make_unexpected(is_restricted());
    const bool has_owner = connection.owner && (!sessions_.has(client) || sessions_.is_registered(client));
    if (demand.owner && !has_owner) return tl::make_unexpected(not_registered());
    return {};
}

Answer<SessionDesk::Verdict> Desk::judge(const Client& client, const Demand& demand, const std::string* path,
                                         const std::string* name, Call& call) {
    if (sessions_.has(client)) return sessions_.judge(client, demand.number, demand.flags, path, name, call);
    // Who may only begin sessions is nobody's process.
    if (!sessions_.may_lock_itself(client))
        return tl::make_unexpected(
            forbidden("this user may begin sessions, and not lock anything", rpc::k_domain_rpc));
    return SessionDesk::Verdict{};
}

Answer<LockTable::Where> Desk::check(const Client& client, const Demand& demand, const std::string& path,
                                     const std::string& name, Call& call, SessionDesk::Verdict* verdict) {
    auto judged = judge(client, demand, &path, &name, call);
    if (!judged) return tl::make_unexpected(std::move(judged.error()));
    if (verdict != nullptr) *verdict = *judged;
    if (auto checked = check(client, demand); !checked)
        return tl::make_unexpected(std::move(checked.error()));
    LockSpace* const space = spaces_.find(path);
    if (space == nullptr) return tl::make_unexpected(no_such_space(path));
    return LockTable::Where{.space = space, .path = path, .name = name};
}

void Desk::register_owner(Client& client, const lock::RegisterArgs& arguments, Call call) noexcept {
    if (const auto judged =
            judge(client, {.number = Procedure::register_, .procedure = {}}, nullptr, nullptr, call);
        !judged)
        return call.fail(judged.error());
    const auto checked = check(
        client,
        {.number = Procedure::register_, .procedure = "REGISTER", .flags = arguments.flags, .owner = false});
    if (!checked) return call.fail(checked.error());
    if (arguments.owner.id == 0) return call.fail(not_registered());
    // A session is its owner already, whatever the client says it is.
    if (sessions_.has(client)) return sessions_.register_owner(client, arguments.owner, std::move(call));
    connections_.set_owner(client, make_owner(arguments.owner), std::move(call));
}

void Desk::restrict(Client& client, const lock::RestrictArgs& arguments, Call call) noexcept {
    if (const auto judged =
            judge(client, {.number = Procedure::restrict, .procedure = {}}, nullptr, nullptr, call);
        !judged)
        return call.fail(judged.error());
    const auto checked =
        check(client, {.number = Procedure::restrict, .procedure = "RESTRICT", .flags = arguments.flags});
    if (!checked) return call.fail(checked.error());
    connections_.restrict(client, std::move(call));
}

void Desk::open_new(Client& client, const lock::NewArgs& arguments, Call call) noexcept {
    if (const auto judged =
            judge(client, {.number = Procedure::new_, .procedure = {}}, &arguments.path, nullptr, call);
        !judged)
        return call.fail(judged.error());
    const auto checked =
        check(client, {.number = Procedure::new_, .procedure = "NEW", .flags = arguments.flags});
    if (!checked) return call.fail(checked.error());
    spaces_.open(arguments.path, true, std::move(call));
}

void Desk::open_space(Client& client, const lock::CreateLockSpaceArgs& arguments, Call call) noexcept {
    if (const auto judged = judge(client, {.number = Procedure::create_lockspace, .procedure = {}},
                                  &arguments.path, nullptr, call);
        !judged)
        return call.fail(judged.error());
    const auto checked = check(
        client, {.number = Procedure::create_lockspace, .procedure = "CREATE_LOCKSPACE", .owner = false});
    if (!checked) return call.fail(checked.error());
    spaces_.open(arguments.path, false, std::move(call));
}

void Desk::create_resource(Client& client, const lock::CreateResourceArgs& arguments, Call call) noexcept {
    auto where = check(
        client,
        {.number = Procedure::create_resource, .procedure = "CREATE_RESOURCE", .flags = arguments.flags},
        arguments.path, arguments.name, call);
    if (!where) return call.fail(where.error());
    table_.create(std::move(*where), std::move(call));
}

void Desk::delete_resource(Client& client, const lock::DeleteResourceArgs& arguments, Call call) noexcept {
    auto where = check(
        client,
        {.number = Procedure::delete_resource, .procedure = "DELETE_RESOURCE", .flags = arguments.flags},
        arguments.path, arguments.name, call);
    if (!where) return call.fail(where.error());
    table_.remove(std::move(*where), std::move(call));
}

void Desk::acquire(Client& client, const lock::AcquireResourceArgs& arguments, Call call) noexcept {
    SessionDesk::Verdict verdict;
    auto where = check(client,
                       {.number = Procedure::acquire_resource,
                        .procedure = "ACQUIRE_RESOURCE",
                        .flags = arguments.flags,
                        .flags_known = k_shared | k_auto_create},
                       arguments.path, arguments.name, call, &verdict);
    if (!where) return call.fail(where.error());
    const proto::kept::KeptWay way{.listener = client.listener(),
                                   .uid = client.peer().uid,
                                   .process = static_cast<std::uint32_t>(client.peer().pid),
                                   .session = sessions_.number_of(client)};
    const Owner owner = verdict.keep ? sessions_.identity_of(client)
                                     : sessions_.owner_of(client, *connections_.of(client).owner);
    table_.acquire(std::move(*where), owner, way, (arguments.flags & k_shared) != 0,
                   (arguments.flags & k_auto_create) != 0, std::move(call), sessions_.is_for_others(client));
}

void Desk::release(Client& client, const lock::ReleaseResourceArgs& arguments, Call call) noexcept {
    auto where = check(
        client,
        {.number = Procedure::release_resource, .procedure = "RELEASE_RESOURCE", .flags = arguments.flags},
        arguments.path, arguments.name, call);
    if (!where) return call.fail(where.error());
    const Owner& owner = *connections_.of(client).owner;
    // What an earlier session of the identity has left is this one's to release.
    if (sessions_.has(client))
        return table_.release(std::move(*where), owner, sessions_.identity_of(client), std::move(call));
    table_.release(std::move(*where), owner, std::move(call));
}

}  // namespace virtgate::lockd::locker
