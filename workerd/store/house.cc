// SPDX-License-Identifier: LGPL-2.1-or-later
// house - what all desks of the store share.
#include "workerd/store/house.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <cerrno>

#include "libshared/base/log.h"

namespace virtgate::workerd::store {

namespace {

Answer<void> start_now(const Places& places, Pool& pool) {
    auto path = places.check(pool.path);
    if (!path) return refuse(path.error());
    auto directory = places.open(*path);
    if (!directory) return refuse(directory.error());
    auto volumes = look_around((*directory)->get(), true);
    if (!volumes) return refuse(volumes.error());
    pool.directory = std::move(*directory);
    pool.volumes = std::move(*volumes);
    return {};
}

}  // namespace

void House::restore(const std::string& default_pool) {
    for (StateDirectory::Kept& kept : state.load()) {
        const auto pool = std::make_shared<Pool>(std::move(kept.pool));
        if (kept.was_active || pool->autostart) {
            if (const auto started = start_now(places, *pool); !started)
                Log{}.error("pool {} is not started: {}", escape(pool->name), started.error().message);
            const bool is_active = pool->is_active();
            if (is_active != kept.was_active)
                if (const auto done = state.keep(pool->uuid, state.write(*pool, is_active)); !done)
                    Log{}.error("pool {}: {}", escape(pool->name), done.error().message);
        }
        // One that lives as long as it is active has ended with the machine.
        if (pool->persistent || pool->is_active()) {
            add(pool);
        } else if (const auto done = state.forget(pool->uuid); !done) {
            Log{}.error("pool {}: {}", escape(pool->name), done.error().message);
        }
    }
    if (pools_.empty() && !default_pool.empty())
        if (const auto made = make_default(default_pool); !made)
            Log{}.error("no pool is made at {}: {}", default_pool, made.error().message);
    Log{}.info("has {} pools", pools_.size());
}

Answer<void> House::make_default(const std::string& path) {
    const auto pool = std::make_shared<Pool>();
    pool->name = "default";
    pool->uuid = make_uuid();
    pool->autostart = true;
    auto checked = places.check(path);
    if (!checked) return refuse(checked.error());
    pool->path = std::move(*checked);
    if (auto built = places.open(pool->path, true, pool->mode); !built) return refuse(built.error());
    if (auto started = start_now(places, *pool); !started) return started;
    if (auto kept = state.keep(pool->uuid, state.write(*pool, true)); !kept) return kept;
    Log{}.info("made the pool \"default\" at {}", pool->path);
    add(pool);
    return {};
}

Uuid make_uuid() {
    Uuid uuid{};
    require(getrandom(uuid.data(), uuid.size(), 0) == static_cast<ssize_t>(uuid.size()),
            "the kernel has no random numbers");
    // Version 4, and the usual variant.
    uuid[6] = (uuid[6] & std::byte{0x0f}) | std::byte{0x40};
    uuid[8] = (uuid[8] & std::byte{0x3f}) | std::byte{0x80};
    return uuid;
}

Answer<PoolPtr> House::find_named(std::string_view name) const {
    const auto found = pools_.find(name);
    if (found == pools_.end()) return refuse(no_pool_named(name));
    return found->second;
}

Answer<PoolPtr> House::find(const Uuid& uuid, std::string_view name) const {
    for (const auto& [each, pool] : pools_)
        if (pool->uuid == uuid) return pool;
    return refuse(no_pool_of(uuid, name));
}

Answer<PoolPtr> House::find_at(std::string_view path) const {
    const auto tidy = places.check(path);
    for (const auto& [name, pool] : pools_)
        if (tidy && pool->path == *tidy) return pool;
    return refuse(no_pool_at(path));
}

Answer<House::Place> House::find_volume(std::string_view pool, std::string_view name) const {
    auto found = find_named(pool);
    if (!found) return refuse(found.error());
    if (auto active = check_active(**found); !active) return refuse(active.error());
    const auto volume = (*found)->volumes.find(name);
    if (volume == (*found)->volumes.end()) return refuse(no_volume_named(name));
    return Place{std::move(*found), &volume->second};
}

House::Place House::find_path(std::string_view path) const {
    const auto slash = path.rfind('/');
    if (slash == path.npos) return {};
    for (const auto& [name, pool] : pools_) {
        if (!pool->is_active() || pool->path != path.substr(0, slash)) continue;
        const auto volume = pool->volumes.find(path.substr(slash + 1));
        if (volume != pool->volumes.end()) return {pool, &volume->second};
    }
    return {};
}

Answer<void> House::check_idle(const Pool& pool) {
    if (pool.jobs == 0) return {};
    return refuse(is_invalid(fmt::format("pool '{}' has jobs that are under way", pool.name)));
}

Answer<void> House::check_active(const Pool& pool) {
    if (pool.is_active()) return {};
    return refuse(is_invalid(fmt::format("storage pool '{}' is not active", pool.name)));
}

// A volume and its interrupted upload are one here: whichever is written first.
Answer<Writing> House::begin_writing(const PoolPtr& pool, const std::string& volume, std::string what) {
    std::string key = volume;
    if (key.ends_with(k_partial)) key.resize(key.size() - k_partial.size());
    if (const auto other = pool->writers.find(key); other != pool->writers.end())
        return refuse(is_busy(fmt::format("volume '{}' is being {}", key, other->second)));
    return Writing(pool, std::move(key), std::move(what));
}

bool House::is_no_file(const rpc::Failure& failure) noexcept {
    return failure.code == rpc::k_code_system && (failure.int1 == ENOENT || failure.int1 == ELOOP);
}

void House::note(const PoolPtr& pool, const std::string& name, std::optional<Volume> volume) noexcept {
    if (!pool->is_active()) return;
    if (pool->noted) pool->noted->insert(name);
    if (volume && (pool->volumes.size() < k_volumes_max || pool->volumes.contains(name)))
        pool->volumes.insert_or_assign(name, std::move(*volume));
    else
        pool->volumes.erase(name);
    announcer.tell_refreshed(*pool);
}

}  // namespace virtgate::workerd::store
