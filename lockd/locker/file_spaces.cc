// SPDX-License-Identifier: LGPL-2.1-or-later
// file_spaces - the lock spaces that are in files: a directory of lock files, and the files themselves.
#include "lockd/locker/file_spaces.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

namespace virtgate::lockd::locker {

namespace {

constexpr std::size_t k_name_max = 255;
constexpr std::size_t k_path_max = 4095;

}  // namespace

void FileSpace::take(const std::string& name, bool shared, bool create, Ticket ticket, LockSpaceUser& user) {
    auto found = find(name, For::taking);
    user.on_taken(ticket, found ? take_lock(found->place, shared, create)
                                : tl::make_unexpected(std::move(found.error())));
}

void FileSpace::let_go(const std::string& name, UniqueFd file, bool remove, Ticket ticket,
                       LockSpaceUser& user) {
    // Where the place cannot be found any more, there is nothing to remove, and the lock ends all the same.
    if (const auto found = remove ? find(name, For::letting_go) : tl::make_unexpected(rpc::Failure{}); found)
        give_back(std::move(file), found->place, true);
    else
        give_back(std::move(file), {}, false);
    user.on_done(ticket, {});
}

void FileSpace::create(const std::string& name, Ticket ticket, LockSpaceUser& user) {
    auto found = find(name, For::taking);
    user.on_done(ticket, found ? create_file(found->place) : tl::make_unexpected(std::move(found.error())));
}

void FileSpace::remove(const std::string& name, Ticket ticket, LockSpaceUser& user) {
    auto found = find(name, For::taking);
    user.on_done(ticket, found ? remove_file(found->place) : tl::make_unexpected(std::move(found.error())));
}

DirectorySpace::DirectorySpace(std::string path, UniqueFd directory)
    : path_(std::move(path)), directory_(std::move(directory)) {
    struct stat about {};
    if (fstat(directory_.get(), &about) < 0) return;  // no path leads to a directory without a number
    device_ = about.st_dev;
    inode_ = about.st_ino;
}

bool FileSpace::confirm(const std::string&, int file, bool shared) { return confirm_lock(file, shared); }

bool DirectorySpace::is_current() const noexcept {
    struct stat there {};
    return stat(path_.c_str(), &there) == 0 && there.st_dev == device_ && there.st_ino == inode_;
}

Answer<FileSpace::Found> DirectorySpace::find(const std::string& name, For purpose) {
    const auto fail = [&](int number, std::string_view reason) {
        return tl::make_unexpected(
            system_failure(number, fmt::format("Unable to open resource {}/{}", path_, name), reason));
    };
    if (name.size() > k_name_max) return fail(ENAMETOOLONG, "the name is longer than 255 bytes");
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos)
        return fail(EINVAL, "the name is not that of a file in the lock space");
    if (purpose == For::taking && !is_current())
        return fail(ESTALE, "the directory of the lock space was removed or replaced");
    return Found{.directory = {},
                 .place = {.directory = directory_.get(),
                           .name = name,
                           .path = fmt::format("{}/{}", path_, name),
                           .resource = name}};
}

bool DirectSpace::is_plain(const std::string& name) const noexcept {
    const auto root = roots_.find(name);
    return name.size() <= k_path_max && root && !root->rest.empty() &&
           root->rest.find("..") == std::string_view::npos;
}

// Nearly all are disks that are there, beneath a directory with a plain path. Whatever is in the way of that is looked at
// step by step.
void DirectSpace::take(const std::string& name, bool shared, bool create, Ticket ticket, LockSpaceUser& user) {
    if (!create && is_plain(name))
        if (auto file = take_lock_at(name, shared)) return user.on_taken(ticket, std::move(*file));
    FileSpace::take(name, shared, create, ticket, user);
}

Answer<FileSpace::Found> DirectSpace::find(const std::string& name, For) {
    const std::string what = fmt::format("Unable to open resource {}", name);
    if (name.size() > k_path_max)
        return tl::make_unexpected(system_failure(ENAMETOOLONG, what, "the path is longer than 4095 bytes"));
    const auto root = roots_.find(name);
    if (!root || root->rest.empty())
        return tl::make_unexpected(
            forbidden(fmt::format("{}: not beneath any directory of `direct` in lockd.toml", what),
                      rpc::k_domain_lock_space));
    const std::size_t slash = root->rest.rfind('/');
    const bool is_in_root = slash == std::string_view::npos;
    const std::string leaf(is_in_root ? root->rest : root->rest.substr(slash + 1));
    const std::string_view way = is_in_root ? std::string_view{} : root->rest.substr(0, slash);
    if (leaf.empty() || leaf == "." || leaf == "..") return tl::make_unexpected(system_failure(EISDIR, what));
    auto directory = open_directory({root->root, way}, false, what);
    if (!directory) return tl::make_unexpected(std::move(directory.error()));
    const int borrowed = directory->get();
    return Found{.directory = std::move(*directory),
                 .place = {.directory = borrowed, .name = leaf, .path = name, .resource = name}};
}

}  // namespace virtgate::lockd::locker
