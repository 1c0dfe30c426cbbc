// SPDX-License-Identifier: LGPL-2.1-or-later
// pool_desk - calls about pools.
#include "workerd/store/pool_desk.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

namespace virtgate::workerd::store {

using remote::Procedure;

namespace {

// Flags of libvirt's.
constexpr std::uint32_t k_inactive = 1, k_active = 2, k_persistent = 4, k_transient = 8, k_autostart = 16,
                        k_no_autostart = 32, k_type_dir = 64, k_filters_known = (1U << 20) - 1;
constexpr std::uint32_t k_with_build = 1;
constexpr std::uint32_t k_xml_inactive = 1;
constexpr std::uint8_t k_state_inactive = 0, k_state_running = 2;

remote::StoragePool name_of(const Pool& pool) { return {.name = pool.name, .uuid = pool.uuid}; }

// Of each group of filters one has to fit, if any is set.
bool fits(const Pool& pool, std::uint32_t flags) noexcept {
    const auto group = [&](std::uint32_t yes, std::uint32_t no, bool is) {
        return (flags & (yes | no)) == 0 || (flags & (is ? yes : no)) != 0;
    };
    const std::uint32_t types = flags & ~(k_type_dir - 1);
    return group(k_active, k_inactive, pool.is_active()) &&
           group(k_persistent, k_transient, pool.persistent) &&
           group(k_autostart, k_no_autostart, pool.autostart) && (types == 0 || (types & k_type_dir) != 0);
}

}  // namespace

PoolDesk::PoolDesk(server::Program& program, House& house) : house_(house) {
    program.serve<&PoolDesk::count_active>(Procedure::connect_num_of_storage_pools, *this);
    program.serve<&PoolDesk::count_defined>(Procedure::connect_num_of_defined_storage_pools, *this);
    program.serve<&PoolDesk::list_active>(Procedure::connect_list_storage_pools, *this);
    program.serve<&PoolDesk::list_defined>(Procedure::connect_list_defined_storage_pools, *this);
    program.serve<&PoolDesk::list_all>(Procedure::connect_list_all_storage_pools, *this);
    program.serve<&PoolDesk::find_by_name>(Procedure::storage_pool_lookup_by_name, *this);
    program.serve<&PoolDesk::find_by_uuid>(Procedure::storage_pool_lookup_by_uuid, *this);
    program.serve<&PoolDesk::find_by_volume>(Procedure::storage_pool_lookup_by_volume, *this);
    program.serve<&PoolDesk::find_by_path>(Procedure::storage_pool_lookup_by_target_path, *this);
    program.serve<&PoolDesk::get_info>(Procedure::storage_pool_get_info, *this);
    program.serve<&PoolDesk::get_xml>(Procedure::storage_pool_get_xml_desc, *this);
    program.serve<&PoolDesk::get_autostart>(Procedure::storage_pool_get_autostart, *this);
    program.serve<&PoolDesk::is_active>(Procedure::storage_pool_is_active, *this);
    program.serve<&PoolDesk::is_persistent>(Procedure::storage_pool_is_persistent, *this);
    program.serve<&PoolDesk::define>(Procedure::storage_pool_define_xml, *this);
    program.serve<&PoolDesk::create_xml>(Procedure::storage_pool_create_xml, *this);
    program.serve<&PoolDesk::create>(Procedure::storage_pool_create, *this);
    program.serve<&PoolDesk::build>(Procedure::storage_pool_build, *this);
    program.serve<&PoolDesk::destroy>(Procedure::storage_pool_destroy, *this);
    program.serve<&PoolDesk::remove>(Procedure::storage_pool_delete, *this);
    program.serve<&PoolDesk::undefine>(Procedure::storage_pool_undefine, *this);
    program.serve<&PoolDesk::refresh>(Procedure::storage_pool_refresh, *this);
    program.serve<&PoolDesk::set_autostart>(Procedure::storage_pool_set_autostart, *this);
}

// ---- looking ----------------------------------------

void PoolDesk::count_active(Client&, Call call) noexcept {
    const auto& pools = house_.pools();
    call.reply(remote::ConnectNumOfStoragePoolsRet{
        .count = static_cast<std::int32_t>(std::count_if(
            pools.begin(), pools.end(), [](const auto& each) { return each.second->is_active(); }))});
}

void PoolDesk::count_defined(Client&, Call call) noexcept {
    const auto& pools = house_.pools();
    call.reply(remote::ConnectNumOfDefinedStoragePoolsRet{
        .count = static_cast<std::int32_t>(std::count_if(
            pools.begin(), pools.end(), [](const auto& each) { return !each.second->is_active(); }))});
}

void PoolDesk::list_active(Client&, const remote::ConnectListStoragePoolsArgs& args, Call call) noexcept {
    remote::ConnectListStoragePoolsRet ret;
    for (const auto& [name, pool] : house_.pools())
        if (pool->is_active() && ret.names.size() < static_cast<std::size_t>(args.max_names))
            ret.names.push_back(name);
    call.reply(ret);
}

void PoolDesk::list_defined(Client&, const remote::ConnectListDefinedStoragePoolsArgs& args,
                            Call call) noexcept {
    remote::ConnectListDefinedStoragePoolsRet ret;
    for (const auto& [name, pool] : house_.pools())
        if (!pool->is_active() && ret.names.size() < static_cast<std::size_t>(args.max_names))
            ret.names.push_back(name);
    call.reply(ret);
}

void PoolDesk::list_all(Client&, const remote::ConnectListAllStoragePoolsArgs& args, Call call) noexcept {
    if (const std::uint32_t unknown = args.flags & ~k_filters_known; unknown != 0)
        return call.fail(has_unknown_flags(unknown, "virConnectListAllStoragePools"));
    remote::ConnectListAllStoragePoolsRet ret;
    for (const auto& [name, pool] : house_.pools()) {
        if (!fits(*pool, args.flags)) continue;
        ++ret.result;
        if (args.need_results != 0) ret.pools.push_back(name_of(*pool));
    }
    call.reply(ret);
}

void PoolDesk::find_by_name(Client&, const remote::StoragePoolLookupByNameArgs& args, Call call) noexcept {
    const auto pool = house_.find_named(args.name);
    if (!pool) return call.fail(pool.error());
    call.reply(remote::StoragePoolLookupByNameRet{.pool = name_of(**pool)});
}

void PoolDesk::find_by_uuid(Client&, const remote::StoragePoolLookupByUuidArgs& args, Call call) noexcept {
    const auto pool = house_.find(args.uuid);
    if (!pool) return call.fail(pool.error());
    call.reply(remote::StoragePoolLookupByUuidRet{.pool = name_of(**pool)});
}

void PoolDesk::find_by_volume(Client&, const remote::StoragePoolLookupByVolumeArgs& args,
                              Call call) noexcept {
    const auto pool = house_.find_named(args.volume.pool);
    if (!pool) return call.fail(pool.error());
    call.reply(remote::StoragePoolLookupByVolumeRet{.pool = name_of(**pool)});
}

void PoolDesk::find_by_path(Client&, const remote::StoragePoolLookupByTargetPathArgs& args,
                            Call call) noexcept {
    const auto pool = house_.find_at(args.path);
    if (!pool) return call.fail(pool.error());
    call.reply(remote::StoragePoolLookupByTargetPathRet{.pool = name_of(**pool)});
}

void PoolDesk::get_info(Client&, const remote::StoragePoolGetInfoArgs& args, Call call) noexcept {
    const auto pool = house_.find(args.pool.uuid, args.pool.name);
    if (!pool) return call.fail(pool.error());
    if (!(*pool)->is_active()) return call.reply(remote::StoragePoolGetInfoRet{.state = k_state_inactive});
    house_.have_looked(
        std::move(call), [directory = (*pool)->directory] { return measure(directory->get()); },
        [](Answer<Space> space, Call done) {
            done.reply(remote::StoragePoolGetInfoRet{.state = k_state_running,
                                                     .capacity = space->capacity,
                                                     .allocation = space->allocation,
                                                     .available = space->available});
        });
}

void PoolDesk::get_xml(Client&, const remote::StoragePoolGetXmlDescArgs& args, Call call) noexcept {
    if (const std::uint32_t unknown = args.flags & ~k_xml_inactive; unknown != 0)
        return call.fail(has_unknown_flags(unknown, "virStoragePoolGetXMLDesc"));
    const auto found = house_.find(args.pool.uuid, args.pool.name);
    if (!found) return call.fail(found.error());
    const PoolPtr& pool = *found;
    if (!pool->is_active() || (args.flags & k_xml_inactive) != 0)
        return call.reply(remote::StoragePoolGetXmlDescRet{
            .xml = write_pool(
                {.name = pool->name, .path = pool->path, .uuid = pool->uuid, .mode = pool->mode})});
    struct Facts {
        Space space;
        struct stat status {};
    };
    house_.have_looked(
        std::move(call),
        [directory = pool->directory]() -> Answer<Facts> {
            Facts facts;
            const auto space = measure(directory->get());
            if (!space) return refuse(space.error());
            facts.space = *space;
            if (fstat(directory->get(), &facts.status) < 0)
                return refuse(system_failure(errno, "cannot look at the directory of the pool"));
            return facts;
        },
        [pool](Answer<Facts> facts, Call done) {
            done.reply(
                remote::StoragePoolGetXmlDescRet{.xml = write_pool({.name = pool->name,
                                                                    .path = pool->path,
                                                                    .uuid = pool->uuid,
                                                                    .space = facts->space,
                                                                    .mode = facts->status.st_mode & 07777,
                                                                    .uid = facts->status.st_uid,
                                                                    .gid = facts->status.st_gid})});
        });
}

void PoolDesk::get_autostart(Client&, const remote::StoragePoolGetAutostartArgs& args, Call call) noexcept {
    const auto pool = house_.find(args.pool.uuid, args.pool.name);
    if (!pool) return call.fail(pool.error());
    call.reply(remote::StoragePoolGetAutostartRet{.autostart = (*pool)->autostart ? 1 : 0});
}

void PoolDesk::is_active(Client&, const remote::StoragePoolIsActiveArgs& args, Call call) noexcept {
    const auto pool = house_.find(args.pool.uuid, args.pool.name);
    if (!pool) return call.fail(pool.error());
    call.reply(remote::StoragePoolIsActiveRet{.active = (*pool)->is_active() ? 1 : 0});
}

void PoolDesk::is_persistent(Client&, const remote::StoragePoolIsPersistentArgs& args, Call call) noexcept {
    const auto pool = house_.find(args.pool.uuid, args.pool.name);
    if (!pool) return call.fail(pool.error());
    call.reply(remote::StoragePoolIsPersistentRet{.persistent = (*pool)->persistent ? 1 : 0});
}

// ---- changing ----------------------------------------

Answer<PoolPtr> PoolDesk::draft(const std::string& xml) const {
    auto wanted = read_pool(xml);
    if (!wanted) return refuse(wanted.error());
    auto path = house_.places.check(wanted->path);
    if (!path) return refuse(path.error());
    for (const auto& [name, pool] : house_.pools()) {
        const bool same_name = name == wanted->name;
        const bool same_uuid = wanted->uuid && *wanted->uuid == pool->uuid;
        if (same_name && wanted->uuid && !same_uuid)
            return refuse(has_failed(
                fmt::format("pool '{}' is already defined with uuid {}", name, to_text(pool->uuid))));
        if (!same_name && same_uuid)
            return refuse(
                has_failed(fmt::format("pool '{}' already has uuid {}", name, to_text(pool->uuid))));
        if (!same_name && pool->path == *path)
            return refuse(has_failed(fmt::format("storage pool '{}' has the same target path", name)));
    }
    if (house_.pools().size() >= k_pools_max)
        return refuse(has_failed("there are as many pools as there can be"));
    auto pool = std::make_shared<Pool>();
    pool->name = std::move(wanted->name);
    pool->uuid = wanted->uuid ? *wanted->uuid : make_uuid();
    pool->path = std::move(*path);
    pool->mode = wanted->mode;
    return pool;
}

Answer<PoolPtr> PoolDesk::find_idle(const remote::StoragePool& named) const {
    auto pool = house_.find(named.uuid, named.name);
    if (!pool) return pool;
    if (auto idle = House::check_idle(**pool); !idle) return refuse(idle.error());
    return pool;
}

Answer<PoolPtr> PoolDesk::find_inactive(const remote::StoragePool& named) const {
    auto pool = find_idle(named);
    if (pool && (*pool)->is_active())
        return refuse(is_invalid(fmt::format("storage pool '{}' is active", (*pool)->name)));
    return pool;
}

void PoolDesk::define(Client&, const remote::StoragePoolDefineXmlArgs& args, Call call) noexcept {
    if (args.flags != 0) return call.fail(has_unknown_flags(args.flags, "virStoragePoolDefineXML"));
    auto drafted = draft(args.xml);
    if (!drafted) return call.fail(drafted.error());
    PoolPtr pool = *drafted;
    const auto old = house_.pools().find(pool->name);
    const bool is_new = old == house_.pools().end();
    if (!is_new) {
        const Pool& before = *old->second;
        if (const auto idle = House::check_idle(before); !idle) return call.fail(idle.error());
        if (before.is_active() && before.path != pool->path)
            return call.fail(is_invalid(
                fmt::format("storage pool '{}' is active, and cannot get another directory", pool->name)));
        pool->uuid = before.uuid;
        pool->autostart = before.autostart;
        pool->directory = before.directory;
        pool->volumes = before.volumes;
    }
    const std::string text = house_.state.write(*pool, pool->is_active());
    // The name is taken from now on, by what was there before or by what is going to be there.
    const PoolPtr holder = is_new ? pool : old->second;
    if (is_new) house_.add(pool);
    ++holder->jobs;
    house_.swift.run(
        [&state = house_.state, uuid = pool->uuid, text] { return state.keep(uuid, text); },
        [this, pool, holder, is_new, call = std::move(call)](Answer<void> kept) mutable noexcept {
            --holder->jobs;
            if (!kept) {
                if (is_new) house_.remove(*pool);
                return call.fail(kept.error());
            }
            house_.add(pool);
            call.reply(remote::StoragePoolDefineXmlRet{.pool = name_of(*pool)});
            house_.announcer.tell(*pool, Happened::defined);
        });
}

// Opens the directory, looks what is in it, and keeps that it is active. A pool that is new is gone again if that fails.
void PoolDesk::start(PoolPtr pool, bool builds, Call call, bool is_new) noexcept {
    struct Started {
        Directory directory;
        Volumes volumes;
    };
    const std::string text = house_.state.write(*pool, true);
    if (is_new) house_.add(pool);
    ++pool->jobs;
    house_.slow.run(
        [this, path = pool->path, mode = pool->mode, uuid = pool->uuid, builds, text]() -> Answer<Started> {
            auto directory = house_.places.open(path, builds, mode);
            if (!directory) return refuse(directory.error());
            auto volumes = look_around((*directory)->get(), true);
            if (!volumes) return refuse(volumes.error());
            if (auto kept = house_.state.keep(uuid, text); !kept) return refuse(kept.error());
            return Started{std::move(*directory), std::move(*volumes)};
        },
        [this, pool, is_new, call = std::move(call)](Answer<Started> started) mutable noexcept {
            --pool->jobs;
            if (!started) {
                if (is_new) house_.remove(*pool);
                return call.fail(started.error());
            }
            pool->directory = std::move(started->directory);
            pool->volumes = std::move(started->volumes);
            if (is_new)
                call.reply(remote::StoragePoolCreateXmlRet{.pool = name_of(*pool)});
            else
                call.reply();
            house_.announcer.tell(*pool, Happened::started);
        });
}

void PoolDesk::create_xml(Client&, const remote::StoragePoolCreateXmlArgs& args, Call call) noexcept {
    if (const std::uint32_t unknown = args.flags & ~k_with_build; unknown != 0)
        return call.fail(has_unknown_flags(unknown, "virStoragePoolCreateXML"));
    auto drafted = draft(args.xml);
    if (!drafted) return call.fail(drafted.error());
    if (house_.pools().contains((*drafted)->name))
        return call.fail(has_failed(fmt::format("pool '{}' already exists", (*drafted)->name)));
    (*drafted)->persistent = false;
    start(std::move(*drafted), (args.flags & k_with_build) != 0, std::move(call), true);
}

void PoolDesk::create(Client&, const remote::StoragePoolCreateArgs& args, Call call) noexcept {
    if (const std::uint32_t unknown = args.flags & ~k_with_build; unknown != 0)
        return call.fail(has_unknown_flags(unknown, "virStoragePoolCreate"));
    auto pool = find_inactive(args.pool);
    if (!pool) return call.fail(pool.error());
    start(std::move(*pool), (args.flags & k_with_build) != 0, std::move(call), false);
}

void PoolDesk::build(Client&, const remote::StoragePoolBuildArgs& args, Call call) noexcept {
    if (args.flags != 0) return call.fail(has_unknown_flags(args.flags, "virStoragePoolBuild"));
    const auto pool = find_inactive(args.pool);
    if (!pool) return call.fail(pool.error());
    house_.have_done(
        house_.swift, *pool, std::move(call),
        [this, path = (*pool)->path, mode = (*pool)->mode] { return house_.places.open(path, true, mode); },
        [this, pool = *pool](Answer<Directory>, Call done) {
            done.reply();
            house_.announcer.tell(*pool, Happened::created);
        });
}

void PoolDesk::destroy(Client&, const remote::StoragePoolDestroyArgs& args, Call call) noexcept {
    const auto found = find_idle(args.pool);
    if (!found) return call.fail(found.error());
    const PoolPtr& pool = *found;
    if (const auto active = House::check_active(*pool); !active) return call.fail(active.error());
    house_.have_done(
        house_.swift, pool, std::move(call),
        [&state = house_.state, uuid = pool->uuid, persistent = pool->persistent,
         text = house_.state.write(*pool, false)] {
            return persistent ? state.keep(uuid, text) : state.forget(uuid);
        },
        [this, pool](Answer<void>, Call done) {
            pool->directory.reset();
            pool->volumes.clear();
            if (!pool->persistent) house_.remove(*pool);
            done.reply();
            house_.announcer.tell(*pool, Happened::stopped);
        });
}

void PoolDesk::remove(Client&, const remote::StoragePoolDeleteArgs& args, Call call) noexcept {
    if (args.flags != 0) return call.fail(has_unknown_flags(args.flags, "virStoragePoolDelete"));
    const auto pool = find_inactive(args.pool);
    if (!pool) return call.fail(pool.error());
    house_.have_done(
        house_.swift, *pool, std::move(call),
        [this, path = (*pool)->path] { return house_.places.remove(path); },
        [this, pool = *pool](Answer<void>, Call done) {
            done.reply();
            house_.announcer.tell(*pool, Happened::deleted);
        });
}

void PoolDesk::undefine(Client&, const remote::StoragePoolUndefineArgs& args, Call call) noexcept {
    const auto pool = find_inactive(args.pool);
    if (!pool) return call.fail(pool.error());
    house_.have_done(
        house_.swift, *pool, std::move(call),
        [&state = house_.state, uuid = (*pool)->uuid] { return state.forget(uuid); },
        [this, pool = *pool](Answer<void>, Call done) {
            house_.remove(*pool);
            done.reply();
            house_.announcer.tell(*pool, Happened::undefined);
        });
}

void PoolDesk::refresh(Client&, const remote::StoragePoolRefreshArgs& args, Call call) noexcept {
    if (args.flags != 0) return call.fail(has_unknown_flags(args.flags, "virStoragePoolRefresh"));
    const auto found = find_idle(args.pool);
    if (!found) return call.fail(found.error());
    const PoolPtr& pool = *found;
    if (const auto active = House::check_active(*pool); !active) return call.fail(active.error());
    pool->noted.emplace();
    house_.have_done(
        house_.slow, pool, std::move(call),
        [directory = pool->directory] { return look_around(directory->get(), false); },
        [this, pool](Answer<Volumes> volumes, Call done) {
            // What has changed meanwhile is known better here.
            for (const std::string& name : *pool->noted) {
                volumes->erase(name);
                if (const auto known = pool->volumes.find(name); known != pool->volumes.end())
                    volumes->emplace(name, known->second);
            }
            pool->noted.reset();
            pool->volumes = std::move(*volumes);
            done.reply();
            house_.announcer.tell_refreshed(*pool);
        });
}

void PoolDesk::set_autostart(Client&, const remote::StoragePoolSetAutostartArgs& args, Call call) noexcept {
    const auto found = find_idle(args.pool);
    if (!found) return call.fail(found.error());
    const PoolPtr& pool = *found;
    if (!pool->persistent) return call.fail(is_bad(fmt::format("pool '{}' is not persistent", pool->name)));
    Pool changed = *pool;
    changed.autostart = args.autostart != 0;
    house_.have_done(
        house_.swift, pool, std::move(call),
        [&state = house_.state, uuid = pool->uuid, text = house_.state.write(changed, pool->is_active())] {
            return state.keep(uuid, text);
        },
        [pool, autostart = changed.autostart](Answer<void>, Call done) {
            pool->autostart = autostart;
            done.reply();
        });
}

}  // namespace virtgate::workerd::store
