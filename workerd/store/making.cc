// SPDX-License-Identifier: LGPL-2.1-or-later
// making - volumes made, copied, resized and wiped.
#include "workerd/store/making.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "workerd/store/places.h"
#include "workerd/store/qcow2.h"

namespace virtgate::workerd::store {

namespace {

constexpr std::size_t k_piece = 1U << 20;
constexpr unsigned k_private_mode = 0600;  // until it is finished

tl::unexpected<rpc::Failure> fail(std::string_view what, std::string_view name) {
    return refuse(system_failure(errno, fmt::format("{} '{}'", what, name)));
}

// A new file under a name that is no volume's; gone again if it is not given another one.
class Unfinished {
public:
    explicit Unfinished(int directory)
        : directory_(directory),
          name_(make_unfinished_name()),
          file_(open_file(directory, name_, O_RDWR | O_CREAT | O_EXCL, k_private_mode)) {}
    ~Unfinished() {
        if (file_ && !name_.empty()) unlinkat(directory_, name_.c_str(), 0);
    }
    Unfinished(const Unfinished&) = delete;
    Unfinished& operator=(const Unfinished&) = delete;

    explicit operator bool() const noexcept { return static_cast<bool>(file_); }
    [[nodiscard]] int file() const noexcept { return file_.get(); }
    // It is whole, and becomes the volume `name`.
    [[nodiscard]] Answer<Volume> finish(const std::string& name, unsigned mode) {
        if (fchmod(file(), mode) < 0 || fsync(file()) < 0) return fail("cannot write", name);
        if (!rename_new(directory_, name_, name))
            return errno == EEXIST ? Answer<Volume>(refuse(exists_already(fmt::format("'{}'", name))))
                                   : Answer<Volume>(fail("cannot make", name));
        name_.clear();
        if (!sync_directory(directory_)) return fail("cannot write the directory of", name);
        auto volume = look_at(directory_, name);
        if (!volume) return refuse(no_volume_named(name));
        return std::move(*volume);
    }

private:
    const int directory_;
    std::string name_;
    UniqueFd file_;
};

// Room on the disk from `offset` on. False: errno.
bool allocate_room(int file, std::uint64_t offset, std::uint64_t length, const Closing& closing) noexcept {
    if (length == 0) return true;
    if (fallocate(file, 0, static_cast<off_t>(offset), static_cast<off_t>(length)) == 0) return true;
    return errno == EOPNOTSUPP && write_zeros(file, offset, length, closing, false);
}

Answer<void> check_room(int directory, std::uint64_t wanted, std::string_view name) {
    const auto space = measure(directory);
    if (!space) return refuse(space.error());
    if (wanted <= space->available) return {};
    return refuse(
        system_failure(ENOSPC, fmt::format("cannot allocate {} bytes in volume '{}'", wanted, name)));
}

Answer<void> fill_raw(int file, const VolumeDescription& wanted, int directory, const Closing& closing) {
    const std::uint64_t allocation = std::min(wanted.allocation.value_or(wanted.capacity), wanted.capacity);
    if (auto room = check_room(directory, allocation, wanted.name); !room) return room;
    if (ftruncate(file, static_cast<off_t>(wanted.capacity)) < 0 ||
        !allocate_room(file, 0, allocation, closing))
        return fail("cannot allocate volume", wanted.name);
    return {};
}

Answer<void> fill_qcow2(int file, const VolumeDescription& wanted) {
    if (wanted.capacity > qcow2::k_capacity_max)
        return refuse(is_not_offered("an image of format qcow2 has at most 2 PiB"));
    const qcow2::Image image = qcow2::make_empty(wanted.capacity);
    if (!write_all(file, image.front, 0) || ftruncate(file, static_cast<off_t>(image.size)) < 0)
        return fail("cannot write volume", wanted.name);
    return {};
}

// The data between holes; false: errno. `size`: of both files.
bool copy_data(int from, int to, std::uint64_t size, const Closing& closing) {
    ByteVector buffer(k_piece);
    for (std::uint64_t at = 0; at < size;) {
        const off_t data = lseek(from, static_cast<off_t>(at), SEEK_DATA);
        if (data < 0 && errno == ENXIO) return true;  // nothing but a hole is left
        if (data < 0) return false;
        const off_t end = lseek(from, data, SEEK_HOLE);
        if (end < 0) return false;
        for (at = static_cast<std::uint64_t>(data); at < static_cast<std::uint64_t>(end) && at < size;) {
            if (closing) {
                errno = ECANCELED;
                return false;
            }
            const auto some =
                std::min<std::uint64_t>({k_piece, static_cast<std::uint64_t>(end) - at, size - at});
            const ssize_t n = pread(from, buffer.data(), some, static_cast<off_t>(at));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return false;
            if (n == 0) return true;  // it became shorter
            if (!write_all(to, ByteView(buffer).first(static_cast<std::size_t>(n)), at)) return false;
            at += static_cast<std::uint64_t>(n);
        }
    }
    return true;
}

Answer<Volume> look_again(int directory, const std::string& name) {
    auto volume = look_at(directory, name);
    if (!volume) return refuse(no_volume_named(name));
    return std::move(*volume);
}

}  // namespace

bool rename_new(int directory, const std::string& from, const std::string& to) noexcept {
    return renameat2(directory, from.c_str(), directory, to.c_str(), RENAME_NOREPLACE) == 0;
}

bool write_all(int file, ByteView bytes, std::uint64_t offset) noexcept {
    while (!bytes.empty()) {
        const ssize_t n = pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        offset += static_cast<std::uint64_t>(n);
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return true;
}

bool write_zeros(int file, std::uint64_t offset, std::uint64_t length, const Closing& closing,
                 bool as_hole) noexcept {
    if (as_hole && fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                             static_cast<off_t>(length)) == 0)
        return true;
    if (as_hole && errno != EOPNOTSUPP) return false;
    static const ByteVector zeros(k_piece);
    for (const std::uint64_t end = offset + length; offset < end;) {
        if (closing) {
            errno = ECANCELED;
            return false;
        }
        const auto some = std::min<std::uint64_t>(zeros.size(), end - offset);
        if (!write_all(file, ByteView(zeros).first(some), offset)) return false;
        offset += some;
    }
    return true;
}

Answer<Volume> make_volume(int directory, const VolumeDescription& wanted, const Closing& closing) {
    struct stat other {};
    if (fstatat(directory, wanted.name.c_str(), &other, AT_SYMLINK_NOFOLLOW) == 0)
        return refuse(exists_already(fmt::format("'{}'", wanted.name)));
    Unfinished file(directory);
    if (!file) return fail("cannot make", wanted.name);
    const auto filled = wanted.format == Format::qcow2 ? fill_qcow2(file.file(), wanted)
                                                       : fill_raw(file.file(), wanted, directory, closing);
    if (!filled) return refuse(filled.error());
    return file.finish(wanted.name, wanted.mode);
}

Answer<Volume> copy_volume(int directory, const VolumeDescription& wanted, int source_directory,
                           const std::string& source, const Closing& closing) {
    const auto original = look_again(source_directory, source);
    if (!original) return original;
    if (wanted.format != original->format || original->has_backing_file)
        return refuse(is_not_offered("a copy has the format of its original, which has no backing file"));
    if (wanted.format == Format::qcow2 && wanted.capacity > original->capacity)
        return refuse(is_not_offered("a copy of an image of format qcow2 has the size of its original"));
    const UniqueFd from = open_file(source_directory, source, O_RDONLY);
    if (!from) return fail("cannot open", source);
    Unfinished file(directory);
    if (!file) return fail("cannot make", wanted.name);
    const std::uint64_t size =
        wanted.format == Format::raw ? std::max(wanted.capacity, original->capacity) : original->physical;
    if (auto room = check_room(directory, std::min(original->allocation, size), wanted.name); !room)
        return refuse(room.error());
    if (ftruncate(file.file(), static_cast<off_t>(size)) < 0 ||
        !copy_data(from.get(), file.file(), original->physical, closing))
        return fail("cannot copy to", wanted.name);
    return file.finish(wanted.name, wanted.mode);
}

Answer<Volume> resize_volume(int directory, const std::string& name, std::uint64_t capacity, bool allocate,
                             const Closing& closing) {
    const auto before = look_again(directory, name);
    if (!before) return before;
    if (before->format != Format::raw)
        return refuse(is_not_offered("volumes of format raw can be resized, and no others"));
    const UniqueFd file = open_file(directory, name, O_RDWR);
    if (!file) return fail("cannot open", name);
    const bool grows = allocate && capacity > before->capacity;
    if (grows)
        if (auto room = check_room(directory, capacity - before->capacity, name); !room)
            return refuse(room.error());
    if (grows && !allocate_room(file.get(), before->capacity, capacity - before->capacity, closing))
        return fail("cannot allocate volume", name);
    if (ftruncate(file.get(), static_cast<off_t>(capacity)) < 0 || fsync(file.get()) < 0)
        return fail("cannot resize", name);
    return look_again(directory, name);
}

Answer<Volume> wipe_volume(int directory, const std::string& name, const Closing& closing) {
    const auto before = look_again(directory, name);
    if (!before) return before;
    const UniqueFd file = open_file(directory, name, O_RDWR);
    if (!file) return fail("cannot open", name);
    const bool has_holes = before->allocation < before->physical;
    const bool wiped = has_holes ? ftruncate(file.get(), 0) == 0 &&
                                       ftruncate(file.get(), static_cast<off_t>(before->physical)) == 0
                                 : write_zeros(file.get(), 0, before->physical, closing, false);
    if (!wiped || fsync(file.get()) < 0) return fail("cannot wipe", name);
    return look_again(directory, name);
}

}  // namespace virtgate::workerd::store
