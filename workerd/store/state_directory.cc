// SPDX-License-Identifier: LGPL-2.1-or-later
// state_directory - the descriptions of pools, as they have to be there after a restart.
#include "workerd/store/state_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "libshared/base/handle.h"
#include "libshared/base/log.h"
#include "libshared/spawn/self.h"
#include "libshared/xml/document.h"
#include "workerd/store/making.h"
#include "workerd/store/xml.h"

namespace virtgate::workerd::store {

namespace {

constexpr std::string_view k_ending = ".xml";
constexpr std::size_t k_file_max = 16384;
constexpr mode_t k_mode = 0600;

std::string yes_or_no(bool yes) { return yes ? "yes" : "no"; }

std::string file_of(const Uuid& uuid) { return to_text(uuid) + std::string(k_ending); }

Result<StateDirectory::Kept> read_kept(int file, std::string_view boot) {
    auto bytes = spawn::read_file(file, k_file_max);
    if (!bytes) return tl::make_unexpected(std::move(bytes.error()));
    const auto document = xml::XmlDocument::parse(as_text(*bytes));
    if (!document) return tl::make_unexpected(document.error());
    const xmlNode* const root = document->root();
    const auto word = [&](std::string_view name) { return xml::value_of(root, name); };
    const auto uuid = read_uuid(word("uuid"));
    StateDirectory::Kept kept;
    kept.pool.name = word("name");
    kept.pool.path = word("path");
    kept.pool.mode = static_cast<unsigned>(std::strtoul(word("mode").c_str(), nullptr, 8)) & 0777U;
    kept.pool.persistent = word("persistent") == "yes";
    kept.pool.autostart = word("autostart") == "yes";
    kept.was_active = word("active") == boot;
    if (!uuid || !flaw_of_name(kept.pool.name).empty() || kept.pool.path.empty())
        return system_fault(0, "it does not describe a pool");
    kept.pool.uuid = *uuid;
    return kept;
}

}  // namespace

Result<StateDirectory> StateDirectory::open(const std::string& path, std::string boot) {
    if (mkdir(path.c_str(), S_IRWXU) < 0 && errno != EEXIST)
        return system_fault(errno, "cannot make the state directory " + path);
    UniqueFd directory{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!directory) return system_fault(errno, "cannot open the state directory " + path);
    return StateDirectory(std::move(directory), std::move(boot));
}

std::vector<StateDirectory::Kept> StateDirectory::load() const {
    std::vector<Kept> all;
    const int copy = openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, FreeWith<closedir>> list(copy < 0 ? nullptr : fdopendir(copy));
    if (!list) {
        Log{}.error("cannot read the state directory: {}", std::strerror(errno));
        return all;
    }
    while (const dirent* entry = readdir(list.get())) {
        const std::string name = entry->d_name;
        if (name.starts_with(k_unfinished)) unlinkat(directory_.get(), name.c_str(), 0);
        if (!name.ends_with(k_ending) || all.size() >= k_pools_max) continue;
        const UniqueFd file = open_file(directory_.get(), name, O_RDONLY);
        auto kept = file ? read_kept(file.get(), boot_) : Result<Kept>(system_fault(errno, "cannot open it"));
        if (kept)
            all.push_back(std::move(*kept));
        else
            Log{}.error("the state of pool {} is passed over: {}", name, kept.error().text);
    }
    return all;
}

std::string StateDirectory::write(const Pool& pool, bool is_active) const {
    return fmt::format(
        "<kept name='{}' uuid='{}' path='{}' mode='{:o}' persistent='{}' autostart='{}' active='{}'/>\n",
        escape_xml(pool.name), to_text(pool.uuid), escape_xml(pool.path), pool.mode,
        yes_or_no(pool.persistent), yes_or_no(pool.autostart), is_active ? boot_ : "");
}

Answer<void> StateDirectory::keep(const Uuid& uuid, const std::string& text) const {
    const auto fail = [] { return refuse(system_failure(errno, "cannot keep the description of the pool")); };
    const std::string name = make_unfinished_name();
    const UniqueFd file = open_file(directory_.get(), name, O_WRONLY | O_CREAT | O_EXCL, k_mode);
    if (!file) return fail();
    if (!write_all(file.get(), as_bytes(text), 0) || fsync(file.get()) < 0 ||
        renameat(directory_.get(), name.c_str(), directory_.get(), file_of(uuid).c_str()) < 0) {
        const int number = errno;
        unlinkat(directory_.get(), name.c_str(), 0);
        errno = number;
        return fail();
    }
    if (!sync_directory(directory_.get())) return fail();
    return {};
}

Answer<void> StateDirectory::forget(const Uuid& uuid) const {
    if ((unlinkat(directory_.get(), file_of(uuid).c_str(), 0) < 0 && errno != ENOENT) ||
        !sync_directory(directory_.get()))
        return refuse(system_failure(errno, "cannot forget the description of the pool"));
    return {};
}

}  // namespace virtgate::workerd::store
