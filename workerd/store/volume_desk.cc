// SPDX-License-Identifier: LGPL-2.1-or-later
// volume_desk - calls about volumes, apart from those that open streams.
#include "workerd/store/volume_desk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

namespace virtgate::workerd::store {

using remote::Procedure;

namespace {

// Flags of libvirt's.
constexpr std::uint32_t k_allocate = 1, k_delta = 2, k_shrink = 4;
constexpr std::uint32_t k_physical = 1;  // of the information: where the file ends, for its allocation
constexpr std::uint32_t k_zeros = 0;     // the one way to wipe
constexpr char k_type_file = 0;

remote::StorageVol name_of(const Pool& pool, std::string_view volume) {
    return {.pool = pool.name, .name = std::string(volume), .key = pool.path_of(volume)};
}

}  // namespace

VolumeDesk::VolumeDesk(server::Program& program, House& house) : house_(house) {
    program.serve<&VolumeDesk::count>(Procedure::storage_pool_num_of_volumes, *this);
    program.serve<&VolumeDesk::list>(Procedure::storage_pool_list_volumes, *this);
    program.serve<&VolumeDesk::list_all>(Procedure::storage_pool_list_all_volumes, *this);
    program.serve<&VolumeDesk::find_by_name>(Procedure::storage_vol_lookup_by_name, *this);
    program.serve<&VolumeDesk::find_by_key>(Procedure::storage_vol_lookup_by_key, *this);
    program.serve<&VolumeDesk::find_by_path>(Procedure::storage_vol_lookup_by_path, *this);
    program.serve<&VolumeDesk::get_info>(Procedure::storage_vol_get_info, *this);
    program.serve<&VolumeDesk::get_info_flags>(Procedure::storage_vol_get_info_flags, *this);
    program.serve<&VolumeDesk::get_xml>(Procedure::storage_vol_get_xml_desc, *this);
    program.serve<&VolumeDesk::get_path>(Procedure::storage_vol_get_path, *this);
    program.serve<&VolumeDesk::create>(Procedure::storage_vol_create_xml, *this);
    program.serve<&VolumeDesk::create_from>(Procedure::storage_vol_create_xml_from, *this);
    program.serve<&VolumeDesk::remove>(Procedure::storage_vol_delete, *this);
    program.serve<&VolumeDesk::wipe>(Procedure::storage_vol_wipe, *this);
    program.serve<&VolumeDesk::wipe_pattern>(Procedure::storage_vol_wipe_pattern, *this);
    program.serve<&VolumeDesk::resize>(Procedure::storage_vol_resize, *this);
}

Answer<PoolPtr> VolumeDesk::find_active(const remote::StoragePool& named) const {
    auto pool = house_.find(named.uuid, named.name);
    if (!pool) return pool;
    if (auto active = House::check_active(**pool); !active) return refuse(active.error());
    return pool;
}

// ---- looking ----------------------------------------

void VolumeDesk::count(Client&, const remote::StoragePoolNumOfVolumesArgs& args, Call call) noexcept {
    const auto pool = find_active(args.pool);
    if (!pool) return call.fail(pool.error());
    call.reply(
        remote::StoragePoolNumOfVolumesRet{.count = static_cast<std::int32_t>((*pool)->volumes.size())});
}

void VolumeDesk::list(Client&, const remote::StoragePoolListVolumesArgs& args, Call call) noexcept {
    const auto pool = find_active(args.pool);
    if (!pool) return call.fail(pool.error());
    remote::StoragePoolListVolumesRet ret;
    for (const auto& [name, volume] : (*pool)->volumes)
        if (ret.names.size() < static_cast<std::size_t>(args.max_names)) ret.names.push_back(name);
    call.reply(ret);
}

void VolumeDesk::list_all(Client&, const remote::StoragePoolListAllVolumesArgs& args, Call call) noexcept {
    if (args.flags != 0) return call.fail(has_unknown_flags(args.flags, "virStoragePoolListAllVolumes"));
    const auto pool = find_active(args.pool);
    if (!pool) return call.fail(pool.error());
    remote::StoragePoolListAllVolumesRet ret;
    ret.result = static_cast<std::uint32_t>((*pool)->volumes.size());
    if (args.need_results != 0)
        for (const auto& [name, volume] : (*pool)->volumes) ret.volumes.push_back(name_of(**pool, name));
    call.reply(ret);
}

void VolumeDesk::find_by_name(Client&, const remote::StorageVolLookupByNameArgs& args, Call call) noexcept {
    const auto pool = find_active(args.pool);
    if (!pool) return call.fail(pool.error());
    if (!(*pool)->volumes.contains(args.name)) return call.fail(no_volume_named(args.name));
    call.reply(remote::StorageVolLookupByNameRet{.volume = name_of(**pool, args.name)});
}

void VolumeDesk::find_by_key(Client&, const remote::StorageVolLookupByKeyArgs& args, Call call) noexcept {
    const auto place = house_.find_path(args.key);
    if (place.volume == nullptr) return call.fail(no_volume_with_key(args.key));
    call.reply(remote::StorageVolLookupByKeyRet{.volume = name_of(*place.pool, place.volume->name)});
}

void VolumeDesk::find_by_path(Client&, const remote::StorageVolLookupByPathArgs& args, Call call) noexcept {
    const auto place = house_.find_path(args.path);
    if (place.volume == nullptr) return call.fail(no_volume_at(args.path));
    call.reply(remote::StorageVolLookupByPathRet{.volume = name_of(*place.pool, place.volume->name)});
}

// Has the volume looked at as it is now, and reply(volume, call) answer.
template <class Reply>
void VolumeDesk::look(const remote::StorageVol& named, Call call, Reply reply) noexcept {
    const auto place = house_.find_volume(named.pool, named.name);
    if (!place) return call.fail(place.error());
    house_.have_looked(
        std::move(call),
        [directory = place->pool->directory, name = named.name]() -> Answer<Volume> {
            auto volume = look_at(directory->get(), name);
            if (!volume) return refuse(no_volume_named(name));
            return std::move(*volume);
        },
        [pool = place->pool, reply](Answer<Volume> volume, Call done) { reply(*pool, *volume, done); });
}

void VolumeDesk::get_info(Client&, const remote::StorageVolGetInfoArgs& args, Call call) noexcept {
    look(args.volume, std::move(call), [](const Pool&, const Volume& volume, Call& done) {
        done.reply(remote::StorageVolGetInfoRet{
            .type = k_type_file, .capacity = volume.capacity, .allocation = volume.allocation});
    });
}

void VolumeDesk::get_info_flags(Client&, const remote::StorageVolGetInfoFlagsArgs& args, Call call) noexcept {
    if (const std::uint32_t unknown = args.flags & ~k_physical; unknown != 0)
        return call.fail(has_unknown_flags(unknown, "virStorageVolGetInfoFlags"));
    const bool physical = (args.flags & k_physical) != 0;
    look(args.volume, std::move(call), [physical](const Pool&, const Volume& volume, Call& done) {
        done.reply(
            remote::StorageVolGetInfoFlagsRet{.type = k_type_file,
                                              .capacity = volume.capacity,
                                              .allocation = physical ? volume.physical : volume.allocation});
    });
}

void VolumeDesk::get_xml(Client&, const remote::StorageVolGetXmlDescArgs& args, Call call) noexcept {
    if (args.flags != 0) return call.fail(has_unknown_flags(args.flags, "virStorageVolGetXMLDesc"));
    look(args.volume, std::move(call), [](const Pool& pool, const Volume& volume, Call& done) {
        done.reply(remote::StorageVolGetXmlDescRet{.xml = write_volume(volume, pool.path)});
    });
}

void VolumeDesk::get_path(Client&, const remote::StorageVolGetPathArgs& args, Call call) noexcept {
    const auto place = house_.find_volume(args.volume.pool, args.volume.name);
    if (!place) return call.fail(place.error());
    call.reply(remote::StorageVolGetPathRet{.name = place->pool->path_of(args.volume.name)});
}

// ---- changing ----------------------------------------

// Has `work` done, which returns what became of the volume (an Answer<Volume>), and reply(pool, name, call) answer.
template <class Work, class Reply>
void VolumeDesk::change(Writing writing, Lease lease, Call call, Work work, Reply reply) noexcept {
    house_.slow.run(std::move(work), [this, writing = std::move(writing), lease = std::move(lease),
                                      call = std::move(call), reply](Answer<Volume> volume) mutable noexcept {
        const PoolPtr pool = writing.pool();
        const std::string worked_on = writing.volume();
        writing.end();
        const bool is_lost = lease.is_lost();
        lease.end();
        if (!volume) return call.fail(is_lost ? has_lost_lock(worked_on) : volume.error());
        const std::string name = volume->name;
        house_.note(pool, name, std::move(*volume));
        reply(*pool, name, call);
    });
}

void VolumeDesk::create(Client& client, const remote::StorageVolCreateXmlArgs& args, Call call) noexcept {
    if (args.flags != 0) return call.fail(has_unknown_flags(args.flags, "virStorageVolCreateXML"));
    const auto pool = find_active(args.pool);
    if (!pool) return call.fail(pool.error());
    auto wanted = read_volume(args.xml, false);
    if (!wanted) return call.fail(wanted.error());
    if ((*pool)->volumes.contains(wanted->name))
        return call.fail(exists_already(fmt::format("'{}'", wanted->name)));
    auto writing = House::begin_writing(*pool, wanted->name, "made");
    if (!writing) return call.fail(writing.error());
    const std::string name = wanted->name;
    house_.have_locked(
        client, **pool, name, House::Use::made, std::move(call),
        [this, writing = std::move(*writing), directory = (*pool)->directory, wanted = std::move(*wanted)](
            Lease lease, Call locked) mutable noexcept {
            const Closing closing(house_.slow.is_closing(), lease.loss());
            change(
                std::move(writing), std::move(lease), std::move(locked),
                [directory, wanted, closing] { return make_volume(directory->get(), wanted, closing); },
                [](const Pool& in, const std::string& made, Call& done) {
                    done.reply(remote::StorageVolCreateXmlRet{.volume = name_of(in, made)});
                });
        });
}

void VolumeDesk::create_from(Client& client, const remote::StorageVolCreateXmlFromArgs& args,
                             Call call) noexcept {
    if (args.flags != 0) return call.fail(has_unknown_flags(args.flags, "virStorageVolCreateXMLFrom"));
    const auto pool = find_active(args.pool);
    if (!pool) return call.fail(pool.error());
    const auto source = house_.find_volume(args.source.pool, args.source.name);
    if (!source) return call.fail(source.error());
    auto wanted = read_volume(args.xml, true);
    if (!wanted) return call.fail(wanted.error());
    if ((*pool)->volumes.contains(wanted->name))
        return call.fail(exists_already(fmt::format("'{}'", wanted->name)));
    auto reading = House::begin_writing(source->pool, args.source.name, "copied");
    if (!reading) return call.fail(reading.error());
    auto writing = House::begin_writing(*pool, wanted->name, "made");
    if (!writing) return call.fail(writing.error());
    // The original is not written meanwhile, by nobody: neither here nor by a machine.
    struct Copying {
        Writing reading, writing;
        PoolPtr pool;
        Directory from;
        std::string source;
        VolumeDescription wanted;
    };
    auto copying =
        std::make_shared<Copying>(Copying{std::move(*reading), std::move(*writing), *pool,
                                          source->pool->directory, args.source.name, std::move(*wanted)});
    house_.have_locked(
        client, *source->pool, args.source.name, House::Use::read, std::move(call),
        [this, copying](Lease read, Call locked) mutable noexcept {
            const Client* const who = locked.client();
            if (who == nullptr) return;
            house_.have_locked(
                *who, *copying->pool, copying->wanted.name, House::Use::made, std::move(locked),
                [this, copying, read = std::make_shared<Lease>(std::move(read))](Lease lease,
                                                                                 Call both) mutable noexcept {
                    // What is lost first is the line that both have.
                    const Closing closing(house_.slow.is_closing(), read->loss());
                    change(
                        std::move(copying->writing), std::move(lease), std::move(both),
                        [copying, closing] {
                            return copy_volume(copying->pool->directory->get(), copying->wanted,
                                               copying->from->get(), copying->source, closing);
                        },
                        [copying, read](const Pool& in, const std::string& name, Call& done) {
                            copying->reading.end();
                            read->end();
                            done.reply(remote::StorageVolCreateXmlFromRet{.volume = name_of(in, name)});
                        });
                });
        });
}

void VolumeDesk::remove(Client& client, const remote::StorageVolDeleteArgs& args, Call call) noexcept {
    if (args.flags != 0) return call.fail(has_unknown_flags(args.flags, "virStorageVolDelete"));
    const auto place = house_.find_volume(args.volume.pool, args.volume.name);
    if (!place) return call.fail(place.error());
    auto writing = House::begin_writing(place->pool, args.volume.name, "removed");
    if (!writing) return call.fail(writing.error());
    house_.have_locked(
        client, *place->pool, args.volume.name, House::Use::removed, std::move(call),
        [this, writing = std::move(*writing), directory = place->pool->directory, name = args.volume.name](
            Lease lease, Call locked) mutable noexcept {
            auto work = [directory, name]() -> Answer<UniqueFd> {
                UniqueFd file = open_file(directory->get(), name, O_RDONLY);
                const bool is_gone = unlinkat(directory->get(), name.c_str(), 0) == 0 || errno == ENOENT;
                if (!is_gone || !sync_directory(directory->get()))
                    return refuse(system_failure(errno, fmt::format("cannot remove volume '{}'", name)));
                return file;
            };
            house_.slow.run(std::move(work),
                            [this, writing = std::move(writing), lease = std::move(lease), name,
                             done = std::move(locked)](Answer<UniqueFd> removed) mutable noexcept {
                                const PoolPtr pool = writing.pool();
                                writing.end();
                                lease.end();
                                if (!removed) return done.fail(removed.error());
                                house_.locks.linger(std::move(*removed), house_.slow);
                                house_.note(pool, name, std::nullopt);
                                done.reply();
                            });
        });
}

void VolumeDesk::wipe(Client& client, const remote::StorageVolWipeArgs& args, Call call) noexcept {
    if (args.flags != 0) return call.fail(has_unknown_flags(args.flags, "virStorageVolWipe"));
    wipe_all(client, args.volume, std::move(call));
}

void VolumeDesk::wipe_pattern(Client& client, const remote::StorageVolWipePatternArgs& args,
                              Call call) noexcept {
    if (args.flags != 0) return call.fail(has_unknown_flags(args.flags, "virStorageVolWipePattern"));
    if (args.algorithm != k_zeros)
        return call.fail(is_not_offered("volumes are wiped with zeros, and in no other way"));
    wipe_all(client, args.volume, std::move(call));
}

void VolumeDesk::wipe_all(const Client& client, const remote::StorageVol& volume, Call call) noexcept {
    const auto place = house_.find_volume(volume.pool, volume.name);
    if (!place) return call.fail(place.error());
    auto writing = House::begin_writing(place->pool, volume.name, "wiped");
    if (!writing) return call.fail(writing.error());
    house_.have_locked(
        client, *place->pool, volume.name, House::Use::written, std::move(call),
        [this, writing = std::move(*writing), directory = place->pool->directory, name = volume.name](
            Lease lease, Call locked) mutable noexcept {
            const Closing closing(house_.slow.is_closing(), lease.loss());
            change(
                std::move(writing), std::move(lease), std::move(locked),
                [directory, name, closing] { return wipe_volume(directory->get(), name, closing); },
                [](const Pool&, const std::string&, Call& done) { done.reply(); });
        });
}

void VolumeDesk::resize(Client& client, const remote::StorageVolResizeArgs& args, Call call) noexcept {
    if (const std::uint32_t unknown = args.flags & ~(k_allocate | k_delta | k_shrink); unknown != 0)
        return call.fail(has_unknown_flags(unknown, "virStorageVolResize"));
    const auto place = house_.find_volume(args.volume.pool, args.volume.name);
    if (!place) return call.fail(place.error());
    const std::uint64_t before = place->volume->capacity;
    const bool shrinks = (args.flags & k_shrink) != 0;
    std::uint64_t capacity = args.capacity;
    if ((args.flags & k_delta) != 0) {
        constexpr std::uint64_t k_max = std::numeric_limits<std::int64_t>::max();
        if (!shrinks && capacity > k_max - std::min(before, k_max))
            return call.fail(is_bad("the new capacity is too large"));
        capacity = shrinks ? before - std::min(before, capacity) : before + capacity;
    }
    if (capacity > std::numeric_limits<std::int64_t>::max())
        return call.fail(is_bad("the new capacity is too large"));
    if (capacity < before && !shrinks)
        return call.fail(is_bad("the capacity becomes smaller only with the flag that says so"));
    auto writing = House::begin_writing(place->pool, args.volume.name, "resized");
    if (!writing) return call.fail(writing.error());
    house_.have_locked(
        client, *place->pool, args.volume.name, House::Use::written, std::move(call),
        [this, writing = std::move(*writing), directory = place->pool->directory, name = args.volume.name,
         capacity, allocate = (args.flags & k_allocate) != 0](Lease lease, Call locked) mutable noexcept {
            const Closing closing(house_.slow.is_closing(), lease.loss());
            change(
                std::move(writing), std::move(lease), std::move(locked),
                [directory, name, capacity, allocate, closing] {
                    return resize_volume(directory->get(), name, capacity, allocate, closing);
                },
                [](const Pool&, const std::string&, Call& done) { done.reply(); });
        });
}

}  // namespace virtgate::workerd::store
