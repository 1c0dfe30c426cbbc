// SPDX-License-Identifier: LGPL-2.1-or-later
// files - which policy files there are.
#include "policy/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"
#include "libshared/base/handle.h"

namespace virtgate::policy {

namespace {

using Directory = std::unique_ptr<DIR, FreeWith<closedir>>;

constexpr std::string_view k_suffix = ".toml";
constexpr std::string_view k_test_suffix = ".policytest.toml";
constexpr std::string_view k_switched_off = "/dev/null";

std::string error_text(std::string_view what, int number) {
    return fmt::format("{}: {}", what, strerror(number));
}

// Why nobody can be sure who wrote it; empty if it is safe.
std::string_view flaw_of_owner(const struct stat& status) noexcept {
    if (status.st_uid != 0 && status.st_uid != geteuid())
        return "it belongs neither to root nor to the user that reads it";
    if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) return "its group or others may write to it";
    return {};
}

class Reader {
public:
    explicit Reader(Complaints& complaints) : complaints_(complaints) {}

    void read_directory(const std::string& path) {
        Directory directory{opendir(path.c_str())};
        struct stat status {};
        if (directory == nullptr) {
            if (errno != ENOENT)
                complaints_.error({.file = path}, error_text("cannot read the directory", errno));
            return;
        }
        if (fstat(dirfd(directory.get()), &status) != 0 || !flaw_of_owner(status).empty())
            return complaints_.error({.file = path}, fmt::format("not used: {}", flaw_of_owner(status)));
        // In one order, so that the same directory always gets the same messages.
        std::set<std::string> names;
        while (const dirent* entry = readdir(directory.get())) names.insert(entry->d_name);
        for (const std::string& name : names) add(dirfd(directory.get()), path, name);
    }

    std::vector<PolicyFile> take() {
        std::vector<PolicyFile> files;
        for (auto& [name, file] : files_)
            if (file) files.push_back(std::move(*file));
        return files;
    }

private:
    void add(int directory, const std::string& path, const std::string& name) {
        if (name == "." || name == "..") return;
        const std::string full = path + "/" + name;
        if (name.ends_with(k_test_suffix)) return;  // for "virtgate policy test"
        if (name.front() == '.' || !name.ends_with(k_suffix))
            return complaints_.warning({.file = full},
                                       "passed over: it is hidden or its name does not end in .toml");
        std::string target = name;
        std::array<char, 4096> link;
        if (const ssize_t n = readlinkat(directory, name.c_str(), link.data(), link.size()); n >= 0)
            target.assign(link.data(), static_cast<std::size_t>(n));
        if (target == k_switched_off) {
            files_[name] = std::nullopt;
            return;
        }
        if (target.find('/') != target.npos)
            return complaints_.error({.file = full}, "it is a link out of its directory");
        if (files_.size() >= k_files_max && !files_.contains(name))
            return complaints_.error({.file = full}, fmt::format("more than {} policy files", k_files_max));
        if (auto text = read(directory, target, full)) files_[name] = PolicyFile{full, std::move(*text)};
    }

    std::optional<std::string> read(int directory, const std::string& name, const std::string& full) {
        const UniqueFd file{openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
        struct stat status {};
        std::string flaw;
        if (!file || fstat(file.get(), &status) != 0)
            flaw = error_text("cannot be read", errno);
        else if (!S_ISREG(status.st_mode))
            flaw = "it is not a file";
        else if (static_cast<std::size_t>(status.st_size) > k_size_max)
            flaw = fmt::format("it is larger than {} bytes", k_size_max);
        else
            flaw = flaw_of_owner(status);
        std::string text(flaw.empty() ? static_cast<std::size_t>(status.st_size) : 0, '\0');
        for (std::size_t done = 0; flaw.empty() && done < text.size();) {
            const ssize_t n = ::read(file.get(), text.data() + done, text.size() - done);
            if (n < 0 && errno != EINTR) flaw = error_text("cannot be read", errno);
            if (n == 0) flaw = "it changed while it was read";
            done += n > 0 ? static_cast<std::size_t>(n) : 0;
        }
        if (flaw.empty()) return text;
        complaints_.error({.file = full}, flaw);
        return std::nullopt;
    }

    Complaints& complaints_;
    std::map<std::string, std::optional<PolicyFile>> files_;  // by name; none: switched off
};

}  // namespace

std::vector<PolicyFile> read_files(const std::vector<std::string>& directories, Complaints& complaints) {
    Reader reader(complaints);
    for (const std::string& directory : directories) reader.read_directory(directory);
    return reader.take();
}

}  // namespace virtgate::policy
