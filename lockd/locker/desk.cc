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

Desk::Desk(Connections& connections, Spaces& spaces, LockTable& table)
    : connections_(connections), spaces_(spaces), table_(table), program_(lock::k_program, lock::k_version) {
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
    if (demand.owner && !connection.owner) return tl::make_unexpected(not_registered());
    return {};
}

Answer<LockTable::Where> Desk::check(const Client& client, const Demand& demand, const std::string& path,
                                     const std::string& name) {
    if (auto checked = check(client, demand); !checked)
        return tl::make_unexpected(std::move(checked.error()));
    LockSpace* const space = spaces_.find(path);
    if (space == nullptr) return tl::make_unexpected(no_such_space(path));
    return LockTable::Where{.space = space, .path = path, .name = name};
}

void Desk::register_owner(Client& client, const lock::RegisterArgs& arguments, Call call) noexcept {
    const auto checked = check(client, {.procedure = "REGISTER", .flags = arguments.flags, .owner = false});
    if (!checked) return call.fail(checked.error());
    if (arguments.owner.id == 0) return call.fail(not_registered());
    connections_.set_owner(client, make_owner(arguments.owner), std::move(call));
}

void Desk::restrict(Client& client, const lock::RestrictArgs& arguments, Call call) noexcept {
    const auto checked = check(client, {.procedure = "RESTRICT", .flags = arguments.flags});
    if (!checked) return call.fail(checked.error());
    connections_.restrict(client, std::move(call));
}

void Desk::open_new(Client& client, const lock::NewArgs& arguments, Call call) noexcept {
    const auto checked = check(client, {.procedure = "NEW", .flags = arguments.flags});
    if (!checked) return call.fail(checked.error());
    spaces_.open(arguments.path, true, std::move(call));
}

void Desk::open_space(Client& client, const lock::CreateLockSpaceArgs& arguments, Call call) noexcept {
    const auto checked = check(client, {.procedure = "CREATE_LOCKSPACE", .owner = false});
    if (!checked) return call.fail(checked.error());
    spaces_.open(arguments.path, false, std::move(call));
}

void Desk::create_resource(Client& client, const lock::CreateResourceArgs& arguments, Call call) noexcept {
    auto where = check(client, {.procedure = "CREATE_RESOURCE", .flags = arguments.flags}, arguments.path,
                       arguments.name);
    if (!where) return call.fail(where.error());
    table_.create(std::move(*where), std::move(call));
}

void Desk::delete_resource(Client& client, const lock::DeleteResourceArgs& arguments, Call call) noexcept {
    auto where = check(client, {.procedure = "DELETE_RESOURCE", .flags = arguments.flags}, arguments.path,
                       arguments.name);
    if (!where) return call.fail(where.error());
    table_.remove(std::move(*where), std::move(call));
}

void Desk::acquire(Client& client, const lock::AcquireResourceArgs& arguments, Call call) noexcept {
    auto where = check(
        client,
        {.procedure = "ACQUIRE_RESOURCE", .flags = arguments.flags, .flags_known = k_shared | k_auto_create},
        arguments.path, arguments.name);
    if (!where) return call.fail(where.error());
    table_.acquire(std::move(*where), *connections_.of(client).owner, (arguments.flags & k_shared) != 0,
                   (arguments.flags & k_auto_create) != 0, std::move(call));
}

void Desk::release(Client& client, const lock::ReleaseResourceArgs& arguments, Call call) noexcept {
    auto where = check(client, {.procedure = "RELEASE_RESOURCE", .flags = arguments.flags}, arguments.path,
                       arguments.name);
    if (!where) return call.fail(where.error());
    table_.release(std::move(*where), *connections_.of(client).owner, std::move(call));
}

}  // namespace virtgate::lockd::locker
