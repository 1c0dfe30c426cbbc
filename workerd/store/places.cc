// SPDX-License-Identifier: LGPL-2.1-or-later
// places - the configured directories beneath which pools may be, and files in the directories of pools.
#include "workerd/store/places.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "libshared/base/log.h"

namespace virtgate::workerd::store {

namespace {

// Room for what is put behind it: a file's name has at most 255 bytes.
constexpr std::size_t k_name_max = 200;
constexpr std::size_t k_path_max = 1024;
constexpr unsigned k_between_mode = 0711;  // of directories on the way

UniqueFd open_beneath(int directory, const std::string& name, int flags, unsigned mode = 0) noexcept {
    open_how how{};
    how.flags = static_cast<unsigned>(flags) | O_CLOEXEC;
    how.mode = mode;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    for (;;) {
        const long fd = syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how);
        // EAGAIN: something was renamed while the kernel looked whether the way leads out.
        if (fd >= 0 || (errno != EINTR && errno != EAGAIN)) return UniqueFd{static_cast<int>(fd)};
    }
}

std::string tidy(std::string_view path) {
    std::string tidy;
    for (const char c : path)
        if (c != '/' || tidy.empty() || tidy.back() != '/') tidy += c;
    if (tidy.size() > 1 && tidy.back() == '/') tidy.pop_back();
    return tidy;
}

// The part before the next slash, which is taken from `rest`.
std::string_view take_part(std::string_view& rest) noexcept {
    const std::string_view part = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    return part;
}

}  // namespace

Places::Places(const std::vector<std::string>& directories) {
    for (const std::string& directory : directories) {
        const std::string path = tidy(directory);
        if (mkdir(path.c_str(), k_between_mode) == 0) Log{}.info("made {}", path);
        UniqueFd fd{::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
        if (fd)
            roots_.push_back({path, std::move(fd)});
        else
            Log{}.error("{}: {}; no pool can be there before a restart", path, std::strerror(errno));
    }
}

Places::Found Places::find(std::string_view path) const noexcept {
    Found best;
    for (const Root& root : roots_) {
        if (!path.starts_with(root.path) || (best.root && best.root->path.size() >= root.path.size()))
            continue;
        std::string_view rest = path.substr(root.path.size());
        if (root.path != "/" && !rest.empty() && rest.front() != '/') continue;
        if (rest.starts_with('/')) rest.remove_prefix(1);
        best = {&root, rest};
    }
    return best;
}

Answer<std::string> Places::check(std::string_view path) const {
    if (!path.starts_with('/') || path.size() > k_path_max || !is_plain_text(path))
        return refuse(is_bad_xml("the target path has to be an absolute path"));
    std::string made = tidy(path);
    for (std::string_view rest = made; !rest.empty();)
        if (const std::string_view part = take_part(rest); part == "." || part == "..")
            return refuse(is_bad_xml("the target path has a part that is . or .."));
    if (find(made).root == nullptr)
        return refuse(is_not_offered(
            fmt::format("the target path {} is beneath no directory that is configured for pools", made)));
    return made;
}

Answer<Directory> Places::open(const std::string& path, bool make, unsigned mode) const {
    const Found found = find(path);
    const auto fail = [&](int number) {
        return refuse(system_failure(number, fmt::format("cannot open directory '{}'", path)));
    };
    if (found.root == nullptr) return fail(ENOENT);
    UniqueFd here = open_beneath(found.root->directory.get(), ".", O_RDONLY | O_DIRECTORY);
    if (!here) return fail(errno);
    for (std::string_view rest = found.rest; !rest.empty();) {
        const std::string step(take_part(rest));
        UniqueFd next = open_beneath(here.get(), step, O_RDONLY | O_DIRECTORY);
        if (!next && errno == ENOENT && make) {
            if (mkdirat(here.get(), step.c_str(), rest.empty() ? mode : k_between_mode) < 0 &&
                errno != EEXIST)
                return fail(errno);
            next = open_beneath(here.get(), step, O_RDONLY | O_DIRECTORY);
        }
        if (!next) return fail(errno);
        here = std::move(next);
    }
    return std::make_shared<const UniqueFd>(std::move(here));
}

Answer<void> Places::remove(const std::string& path) const {
    const Found found = find(path);
    if (found.root == nullptr || found.rest.empty())
        return refuse(is_invalid(fmt::format("{} is a configured directory, and stays", path)));
    const auto slash = path.rfind('/');
    const auto parent = find(path.substr(0, slash)).root != nullptr
                            ? open(slash == 0 ? "/" : path.substr(0, slash))
                            : Answer<Directory>(refuse(system_failure(ENOENT, path)));
    if (!parent) return refuse(parent.error());
    if (unlinkat((*parent)->get(), path.c_str() + slash + 1, AT_REMOVEDIR) < 0)
        return refuse(system_failure(errno, fmt::format("failed to remove pool '{}'", path)));
    return {};
}

UniqueFd open_file(int directory, const std::string& name, int flags, unsigned mode) noexcept {
    UniqueFd file = open_beneath(directory, name, flags | O_NONBLOCK | O_NOCTTY, mode);
    if (!file) return file;
    struct stat status {};
    if (fstat(file.get(), &status) < 0 || !S_ISREG(status.st_mode)) {
        file.reset();
        errno = EINVAL;
    }
    return file;
}

bool sync_directory(int directory) noexcept {
    // Some file systems have nothing to do there, and say so.
    return fsync(directory) == 0 || errno == EINVAL;
}

std::string_view flaw_of_name(std::string_view name) noexcept {
    if (name.empty()) return "a name is missing";
    if (name.size() > k_name_max) return "a name is too long";
    if (!is_plain_text(name)) return "a name has characters that are not text";
    if (name.find('/') != name.npos) return "a name has a slash in it";
    if (name == "." || name == "..") return "a name is . or ..";
    if (name.starts_with(k_unfinished)) return "a name is one that the store keeps for itself";
    return {};
}

std::string make_unfinished_name() {
    std::array<std::byte, 12> bytes{};
    require(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
            "the kernel has no random numbers");
    return std::string(k_unfinished) + to_hex(bytes);
}

}  // namespace virtgate::workerd::store
