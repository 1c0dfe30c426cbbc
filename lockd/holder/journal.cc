// SPDX-License-Identifier: LGPL-2.1-or-later
// journal - the records of what is kept, in a file that outlives this process.
#include "lockd/holder/journal.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>
#include <string_view>

#include "libshared/base/log.h"
#include "libshared/base/path_fault.h"
#include "libshared/spawn/self.h"
#include "lockd/holder/crc32c.h"

namespace virtgate::lockd::holder {

namespace {

constexpr std::string_view k_magic = "vg-kept\n";
constexpr std::uint32_t k_version = 1;
constexpr std::size_t k_version_at = 8, k_boot_at = 12, k_sum_at = 28;
constexpr std::size_t k_header_size = 32;
constexpr std::size_t k_head_size = 16;       // of an entry
constexpr std::size_t k_checked_from = 8;     // behind the mark and the sum
constexpr std::uint32_t k_live = 0x4c495645;  // "LIVE"
constexpr std::uint32_t k_dead = 0x44495645;  // "DIVE": the first byte alone differs
constexpr mode_t k_mode = 0600;
// Far above what compaction leaves: only somebody else can have made such a file.
constexpr std::size_t k_file_max = 8 * Journal::k_bytes_max;

std::array<std::byte, k_header_size> make_header(const BootId& boot) {
    std::array<std::byte, k_header_size> header{};
    std::copy_n(as_bytes(k_magic).begin(), k_magic.size(), header.begin());
    store_be32(&header.at(k_version_at), k_version);
    std::copy(boot.begin(), boot.end(), header.begin() + k_boot_at);
    store_be32(&header.at(k_sum_at), crc32c(ByteView(header).first(k_sum_at)));
    return header;
}

ByteVector make_entry(Slot slot, ByteView record) {
    ByteVector entry(k_head_size);
    entry.insert(entry.end(), record.begin(), record.end());
    store_be32(&entry[0], k_live);
    store_be32(&entry[8], slot);
    store_be32(&entry[12], static_cast<std::uint32_t>(record.size()));
    store_be32(&entry[4], crc32c(ByteView(entry).subspan(k_checked_from)));
    return entry;
}

// The whole entry that `bytes` begin with; empty if there is none.
ByteView first_entry(ByteView bytes) noexcept {
    if (bytes.size() < k_head_size) return {};
    const std::uint32_t mark = load_be32(bytes.data());
    const std::size_t size = k_head_size + load_be32(bytes.data() + 12);
    if ((mark != k_live && mark != k_dead) || size > bytes.size()) return {};
    const bool whole = crc32c(bytes.first(size).subspan(k_checked_from)) == load_be32(bytes.data() + 4);
    return whole ? bytes.first(size) : ByteView{};
}

// Error: what is wrong with the header of a file that is long enough for one. False: it is of another boot.
Result<bool> judge_header(ByteView file, const BootId& boot) {
    if (as_text(file.first(k_magic.size())) != k_magic)
        return system_fault(0, "it is not a journal of the lock daemon");
    const std::uint32_t version = load_be32(file.data() + k_version_at);
    if (version != k_version)
        return system_fault(
            0, fmt::format("it has version {}, this program knows version {}", version, k_version));
    if (crc32c(file.first(k_sum_at)) != load_be32(file.data() + k_sum_at))
        return system_fault(0, "its header is spoilt");
    return std::equal(boot.begin(), boot.end(), file.begin() + k_boot_at);
}

std::string name_of_next(const std::string& path) { return path + ".new"; }

}  // namespace

const FileCalls& system_file_calls() noexcept {
    static constexpr FileCalls k_calls{::pwrite, ::ftruncate, std::rename, ::fallocate};
    return k_calls;
}

Result<BootId> find_boot_id(const std::string& directory) {
    struct statfs about {};
    if (statfs(directory.c_str(), &about) < 0)
        return system_fault(errno, fmt::format("cannot ask for the file system of {}", directory));
    if (about.f_type == TMPFS_MAGIC || about.f_type == RAMFS_MAGIC) return BootId{};
    constexpr const char* k_file = "/proc/sys/kernel/random/boot_id";
    constexpr std::size_t k_size_max = 64;
    const UniqueFd file{::open(k_file, O_RDONLY | O_CLOEXEC)};
    if (!file)
        return system_fault(
            errno, fmt::format("cannot open {}, which a journal in {} needs: it outlives the machine's "
                               "memory",
                               k_file, directory));
    const auto bytes = spawn::read_file(file.get(), k_size_max);
    if (!bytes) return wrap(bytes.error(), k_file);
    // Hexadecimal digits in groups.
    BootId boot{};
    std::size_t digits = 0;
    for (const char c : as_text(*bytes)) {
        constexpr std::string_view k_digits = "0123456789abcdef";
        const auto value = k_digits.find(c);
        if (value == k_digits.npos || digits >= 2 * boot.size()) continue;
        std::byte& byte = boot.at(digits++ / 2);
        byte = (byte << 4) | static_cast<std::byte>(value);
    }
    if (digits != 2 * boot.size()) return system_fault(0, fmt::format("{} has no boot id", k_file));
    return boot;
}

Result<Journal::Opened> Journal::open(const std::string& path, const BootId& boot, const FileCalls& calls) {
    const auto fail = [&](Error error) {
        return wrap(std::move(error), fmt::format("the journal {}", path));
    };
    UniqueFd file{::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, k_mode)};
    struct stat about {};
    if (!file || fstat(file.get(), &about) < 0) return path_fault(errno, "cannot open the journal", path);
    if (!S_ISREG(about.st_mode)) return system_fault(0, fmt::format("the journal {} is not a file", path));
    unlink(name_of_next(path).c_str());  // left by a process that was killed while it made one
    Journal journal(path, std::move(file), boot, calls);
    std::size_t cut = 0;
    auto entries = journal.read(cut);
    if (!entries) return fail(std::move(entries.error()));
    return Opened{std::move(journal), std::move(*entries), cut};
}

// Reads the file; makes it whole if it is not. `tail`: how much at its end was no entry.
Result<std::vector<Journal::Entry>> Journal::read(std::size_t& tail) {
    const auto file = spawn::read_file(file_.get(), k_file_max);
    if (!file) return tl::unexpected<Error>(file.error());
    // A file that is shorter was being made when its process was killed.
    if (file->size() >= k_header_size) {
        const auto judged = judge_header(*file, boot_);
        if (!judged) return tl::unexpected<Error>(judged.error());
        if (*judged) end_ = k_header_size;
    }
    if (end_ == 0) {
        if (auto done = begin(); !done) return tl::unexpected(std::move(done.error()));
        return std::vector<Entry>{};
    }
    for (;;) {
        const ByteView entry = first_entry(ByteView(*file).subspan(end_));
        if (entry.empty()) break;
        const Place place{end_, entry.size()};
        end_ += entry.size();
        if (load_be32(entry.data()) == k_dead) continue;
        Place& known = places_[load_be32(entry.data() + 8)];
        // The process was killed between writing the new one and marking the old one.
        if (known.size != 0)
            if (auto done = mark(known.offset, false); !done) return tl::unexpected(std::move(done.error()));
        live_ += place.size - known.size;
        known = place;
    }
    tail = file->size() - end_;
    if (tail != 0)
        if (auto done = cut(end_); !done) return tl::unexpected(std::move(done.error()));
    std::vector<Entry> entries;
    for (const auto& [slot, place] : places_) {
        const ByteView record = ByteView(*file).subspan(place.offset, place.size).subspan(k_head_size);
        entries.push_back({slot, ByteVector(record.begin(), record.end())});
    }
    return entries;
}

Done Journal::begin() {
    if (auto done = cut(0); !done) return done;
    if (auto done = write(file_.get(), make_header(boot_), 0); !done) return done;
    end_ = k_header_size;
    return {};
}

Done Journal::write(int file, ByteView bytes, std::size_t offset) const {
    while (!bytes.empty()) {
        const ssize_t n = calls_->pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return system_fault(n < 0 ? errno : ENOSPC, fmt::format("cannot write to {}", path_));
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::size_t>(n);
    }
    return {};
}

// One byte: it is there or it is not.
Done Journal::mark(std::size_t offset, bool live) const {
    std::array<std::byte, 4> word{};
    store_be32(word.data(), live ? k_live : k_dead);
    return write(file_.get(), ByteView(word).first(1), offset);
}

Done Journal::cut(std::size_t size) {
    has_tail_ = true;
    if (calls_->ftruncate(file_.get(), static_cast<off_t>(size)) < 0)
        return system_fault(errno, fmt::format("cannot cut {}", path_));
    has_tail_ = false;
    // What was reserved behind that is gone, too.
    const std::size_t reserved = std::exchange(reserved_, 0);
    if (reserved > size && allocate(file_.get(), size, reserved)) reserved_ = reserved;
    return {};
}

// Beyond the end of the file, which stays where it is.
Done Journal::allocate(int file, std::size_t from, std::size_t to) const {
    if (calls_->fallocate(file, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(from),
                          static_cast<off_t>(to - from)) == 0 ||
        errno == EOPNOTSUPP)
        return {};
    return system_fault(errno, fmt::format("no room for {}", path_));
}

Done Journal::reserve(std::size_t bytes) {
    if (live_ + bytes > k_bytes_max)
        return system_fault(0, fmt::format("more than {} bytes would be kept", k_bytes_max));
    if (end_ + bytes <= reserved_) return {};
    if (auto done = allocate(file_.get(), end_, end_ + bytes); !done) return done;
    reserved_ = end_ + bytes;
    return {};
}

Done Journal::put(Slot slot, ByteView record) {
    const ByteVector entry = make_entry(slot, record);
    const auto known = places_.find(slot);
    const Place old = known != places_.end() ? known->second : Place{};
    if (live_ - old.size + entry.size() > k_bytes_max)
        return system_fault(0, fmt::format("more than {} bytes would be kept", k_bytes_max));
    if (has_tail_)
        if (auto done = cut(end_); !done) return done;
    Done done = write(file_.get(), entry, end_);
    if (done && old.size != 0) done = mark(old.offset, false);
    if (!done) {
        // What was written goes; if it cannot, nothing is written any more until it does.
        static_cast<void>(cut(end_));
        return done;
    }
    places_[slot] = {end_, entry.size()};
    end_ += entry.size();
    live_ += entry.size() - old.size;
    // It only saves room: without it all goes on.
    static_cast<void>(compact());
    return {};
}

Done Journal::erase(const std::vector<Slot>& slots) {
    for (std::size_t i = 0; i < slots.size(); ++i) {
        auto done = mark(places_.at(slots[i]).offset, false);
        if (done) continue;
        while (i-- > 0)
            if (auto undone = mark(places_.at(slots[i]).offset, true); !undone)
                Log{}.error("the journal has lost the record of {}: {}", slots[i], undone.error().text);
        return done;
    }
    for (const Slot slot : slots) {
        live_ -= places_.at(slot).size;
        places_.erase(slot);
    }
    static_cast<void>(compact());
    return {};
}

Done Journal::compact() {
    if (end_ < k_compact_min || 2 * live_ > end_) return {};
    const std::string name = name_of_next(path_);
    UniqueFd file{::open(name.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, k_mode)};
    if (!file) return path_fault(errno, "cannot make", name);
    const auto fail = [&](Error error) {
        unlink(name.c_str());
        return tl::unexpected(std::move(error));
    };
    if (auto done = write(file.get(), make_header(boot_), 0); !done) return fail(std::move(done.error()));
    std::map<Slot, Place> places;
    std::size_t end = k_header_size;
    ByteVector entry;
    for (const auto& [slot, place] : places_) {
        entry.resize(place.size);
        const ssize_t n = pread(file_.get(), entry.data(), entry.size(), static_cast<off_t>(place.offset));
        if (n != static_cast<ssize_t>(entry.size()) || first_entry(entry).size() != entry.size())
            return fail({.number = 0, .text = fmt::format("{} has changed under us", path_)});
        if (auto done = write(file.get(), entry, end); !done) return fail(std::move(done.error()));
        places[slot] = {end, entry.size()};
        end += entry.size();
    }
    const std::size_t reserved = reserved_ > end_ ? end + (reserved_ - end_) : 0;
    if (reserved != 0)
        if (auto done = allocate(file.get(), end, reserved); !done) return fail(std::move(done.error()));
    if (calls_->rename(name.c_str(), path_.c_str()) < 0)
        return fail({.number = errno, .text = fmt::format("cannot rename {}", name)});
    reserved_ = reserved;
    file_ = std::move(file);
    places_ = std::move(places);
    end_ = end;
    has_tail_ = false;
    return {};
}

}  // namespace virtgate::lockd::holder
