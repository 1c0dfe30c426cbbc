// SPDX-License-Identifier: LGPL-2.1-or-later
// volume - a file in a pool's directory, as a volume.
#include "workerd/store/volume.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>

#include "libshared/base/handle.h"
#include "workerd/store/places.h"
#include "workerd/store/qcow2.h"

namespace virtgate::workerd::store {

namespace {

constexpr std::uint64_t k_stat_block = 512;  // of st_blocks, whatever the file system's are
constexpr unsigned k_mode_bits = 07777;

void add_format(int file, Volume& volume) {
    std::array<std::byte, qcow2::k_header_size> bytes{};
    const ssize_t n = pread(file, bytes.data(), bytes.size(), 0);
    if (n <= 0) return;
    const auto header = qcow2::read_header(ByteView(bytes).first(static_cast<std::size_t>(n)));
    if (!header) return;
    volume.format = Format::qcow2;
    volume.capacity = header->capacity;
    volume.compat = header->version == 2 ? "0.10" : "1.1";
    volume.has_backing_file = header->has_backing_file;
}

}  // namespace

std::string_view to_text(Format format) noexcept { return format == Format::qcow2 ? "qcow2" : "raw"; }

std::optional<Volume> look_at(int directory, const std::string& name) {
    if (!flaw_of_name(name).empty() && !name.ends_with(k_partial)) return std::nullopt;
    // A file that this user may not read is a volume too, with what its name tells.
    const UniqueFd file = open_file(directory, name, O_RDONLY);
    struct stat status {};
    if (file ? fstat(file.get(), &status) < 0
             : errno != EACCES || fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0)
        return std::nullopt;
    if (!S_ISREG(status.st_mode)) return std::nullopt;
    Volume volume{.name = name,
                  .capacity = static_cast<std::uint64_t>(status.st_size),
                  .allocation = static_cast<std::uint64_t>(status.st_blocks) * k_stat_block,
                  .physical = static_cast<std::uint64_t>(status.st_size),
                  .mode = status.st_mode & k_mode_bits,
                  .uid = status.st_uid,
                  .gid = status.st_gid,
                  .read = status.st_atim,
                  .written = status.st_mtim,
                  .changed = status.st_ctim};
    // Half an image is no image.
    if (file && !name.ends_with(k_partial)) add_format(file.get(), volume);
    return volume;
}

Answer<Volumes> look_around(int directory, bool tidies) {
    // A descriptor of its own: the place in the list belongs to the open file, and threads share that.
    const int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) return refuse(system_failure(errno, "cannot read the directory of the pool"));
    const std::unique_ptr<DIR, FreeWith<closedir>> list(fdopendir(copy));
    if (!list) {
        close(copy);
        return refuse(system_failure(errno, "cannot read the directory of the pool"));
    }
    Volumes volumes;
    for (errno = 0; const dirent* entry = readdir(list.get()); errno = 0) {
        const std::string name = entry->d_name;
        if (name.starts_with(k_unfinished)) {
            if (tidies) unlinkat(directory, name.c_str(), 0);
            continue;
        }
        if (volumes.size() >= k_volumes_max) break;
        if (auto volume = look_at(directory, name)) volumes.emplace(name, std::move(*volume));
    }
    return volumes;
}

Answer<Space> measure(int directory) {
    struct statvfs status {};
    if (fstatvfs(directory, &status) < 0)
        return refuse(system_failure(errno, "cannot ask for the space of the pool"));
    const std::uint64_t unit = status.f_frsize;
    return Space{.capacity = unit * status.f_blocks,
                 .allocation = unit * (status.f_blocks - status.f_bfree),
                 .available = unit * status.f_bavail};
}

}  // namespace virtgate::workerd::store
