// SPDX-License-Identifier: LGPL-2.1-or-later
// transfer_desk - calls that open the streams by which the content of volumes comes and goes.
#include "workerd/store/transfer_desk.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "workerd/store/download.h"
#include "workerd/store/upload.h"

namespace virtgate::workerd::store {

namespace {

constexpr std::uint32_t k_sparse = 1;
constexpr std::uint64_t k_end_max = std::numeric_limits<std::int64_t>::max();
// An image of format qcow2 has, beside the guest's data, tables of at most that part of it, and some clusters.
constexpr std::uint64_t k_table_part = 8, k_tables_min = 64ULL << 20;

// How long the file of that volume may become.
std::uint64_t longest(const Volume& volume) noexcept {
    if (volume.format == Format::raw) return volume.capacity;
    const std::uint64_t capacity = std::min(volume.capacity, k_end_max / 2);
    return std::max(volume.physical, capacity + capacity / k_table_part + k_tables_min);
}

}  // namespace

TransferDesk::TransferDesk(server::Program& program, House& house) : house_(house) {
    program.serve<&TransferDesk::upload>(remote::Procedure::storage_vol_upload, *this);
    program.serve<&TransferDesk::download>(remote::Procedure::storage_vol_download, *this);
}

void TransferDesk::upload(server::Client& client, const remote::StorageVolUploadArgs& args,
                          server::Call call) noexcept {
    if (const std::uint32_t unknown = args.flags & ~k_sparse; unknown != 0)
        return call.fail(has_unknown_flags(unknown, "virStorageVolUpload"));
    const auto place = house_.find_volume(args.volume.pool, args.volume.name);
    if (!place) return call.fail(place.error());
    const std::string& name = args.volume.name;
    const bool resumes = name.ends_with(k_partial);
    Upload::Plan plan{.offset = args.offset, .is_sparse = (args.flags & k_sparse) != 0};
    if (resumes) {
        plan.file = name;
        plan.target = name.substr(0, name.size() - k_partial.size());
        // What it is a part of says how long it may become, if that is still there.
        const auto whole = place->pool->volumes.find(plan.target);
        if (whole == place->pool->volumes.end())
            return call.fail(is_invalid(fmt::format("there is no volume '{}' any more", plan.target)));
        plan.capacity = whole->second.format == Format::raw ? whole->second.capacity : 0;
        plan.end = longest(whole->second);
        plan.mode = whole->second.mode;
    } else {
        const std::uint64_t longest_file = longest(*place->volume);
        const bool is_whole =
            args.offset == 0 && (args.length == 0 || args.length >= place->volume->capacity);
        plan.file = is_whole ? name + std::string(k_partial) : name;
        plan.target = is_whole ? name : "";
        plan.starts_anew = is_whole;
        plan.capacity = place->volume->format == Format::raw ? place->volume->capacity : 0;
        plan.end = longest_file;
        plan.mode = place->volume->mode;
    }
    if (plan.offset > plan.end) return call.fail(is_bad("the offset is behind the end of the volume"));
    if (args.length != 0)
        plan.end = std::min(plan.end, plan.offset + std::min(args.length, plan.end - plan.offset));
    auto writing = House::begin_writing(place->pool, name, "uploaded");
    if (!writing) return call.fail(writing.error());
    plan.writing = std::move(*writing);
    plan.volume = plan.target.empty() ? plan.file : plan.target;
    const Pool& pool = *place->pool;
    const std::string volume = plan.volume;
    house_.have_locked(client, pool, volume, House::Use::written, std::move(call),
                       [this, plan = std::move(plan)](Lease lease, server::Call locked) mutable noexcept {
                           plan.lease = std::move(lease);
                           Upload::begin(std::make_shared<Upload>(house_, std::move(plan)),
                                         std::move(locked));
                       });
}

void TransferDesk::download(server::Client&, const remote::StorageVolDownloadArgs& args,
                            server::Call call) noexcept {
    if (const std::uint32_t unknown = args.flags & ~k_sparse; unknown != 0)
        return call.fail(has_unknown_flags(unknown, "virStorageVolDownload"));
    const auto place = house_.find_volume(args.volume.pool, args.volume.name);
    if (!place) return call.fail(place.error());
    Download::begin(
        std::make_shared<Download>(house_, Download::Plan{.directory = place->pool->directory,
                                                          .name = args.volume.name,
                                                          .offset = args.offset,
                                                          .length = args.length,
                                                          .is_sparse = (args.flags & k_sparse) != 0}),
        std::move(call));
}

}  // namespace virtgate::workerd::store
