// SPDX-License-Identifier: LGPL-2.1-or-later
// edit_command - "virtgate policy edit": a policy file is replaced by a good one, or not at all.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "ctl/files.h"
#include "ctl/policy/commands.h"
#include "ctl/policy/complaint_listing.h"
#include "ctl/policy/edited_copy.h"
#include "ctl/policy/test_cases.h"
#include "libshared/base/path_fault.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::policy {

namespace {

constexpr std::string_view k_suffix = ".toml";

struct Target {
    std::string directory{};
    std::string name{};  // as the policy knows it
    std::string file{};  // the same, or what it is a link to
    struct stat status {};
    std::string text{};
    [[nodiscard]] std::string path() const { return directory + "/" + file; }
};

// The name that a link in `directory` leads to. A policy file may be a link to another name beside it, and to
// nothing else (policy/files.h); what is elsewhere is not ours to replace.
Result<std::string> follow(const std::string& directory, const std::string& name) {
    std::array<char, 4096> link{};
    const ssize_t size = readlink((directory + "/" + name).c_str(), link.data(), link.size());
    if (size < 0) return name;
    std::string target(link.data(), static_cast<std::size_t>(size));
    if (target == "/dev/null")
        return peer_fault(fmt::format("{}/{} is switched off: it is a link to /dev/null", directory, name));
    if (target.find('/') != target.npos)
        return peer_fault(fmt::format("{}/{} is a link out of its directory", directory, name));
    return target;
}

Result<Target> find_target(const std::string& file) {
    const auto slash = file.rfind('/');
    const std::string name = slash == file.npos ? file : file.substr(slash + 1);
    if (!name.ends_with(k_suffix) || name.ends_with(k_test_suffix) || name == k_suffix)
        return peer_fault("the name of a policy file ends in .toml");
    // Links on the way are followed, the file itself is looked at first.
    const auto directory = absolute_path(slash == file.npos ? "." : file.substr(0, slash + 1));
    if (!directory) return tl::unexpected(directory.error());
    Target target{.directory = *directory, .name = name};
    auto followed = follow(*directory, name);
    if (!followed) return tl::unexpected(followed.error());
    target.file = std::move(*followed);
    if (lstat(target.path().c_str(), &target.status) != 0)
        return path_fault(errno, "cannot read", target.path());
    if (!S_ISREG(target.status.st_mode)) return peer_fault(fmt::format("{} is not a file", target.path()));
    auto text = read_file(target.path());
    if (!text) return tl::unexpected(text.error());
    target.text = std::move(*text);
    return target;
}

// The policy as it would be with the copy in the place of the file.
Loaded load_with(const Target& target, const EditedCopy& copy) {
    std::vector<std::string> directories = default_directories();
    if (std::find(directories.begin(), directories.end(), target.directory) == directories.end())
        directories = {target.directory};
    directories.push_back(copy.directory());
    return load(directories);
}

// True if nobody else has changed the file while it was edited.
bool is_as_before(const Target& target) {
    const auto now = read_file(target.path());
    return now.has_value() && *now == target.text;
}

// Succeeds with the text that shall replace the file; without one, if it is to stay. Error: as the command.
Result<std::optional<std::string>> edit_copy(const Target& target, EditedCopy& copy) {
    const Done edited = copy.edit();
    const Result<std::string> text = read_file(copy.path());
    const bool is_changed = text.has_value() && *text != target.text;
    if (!edited) {
        if (!is_changed) return tl::unexpected(edited.error());
        copy.keep();
        return system_fault(0, fmt::format("{}; what you wrote is {}", edited.error().text, copy.path()));
    }
    if (!text) return tl::unexpected(text.error());
    if (!is_changed) return std::optional<std::string>{};
    const Loaded loaded = load_with(target, copy);
    fmt::print(stderr, "{}", list_complaints(loaded));
    if (loaded.complaints.errors() == 0 && is_as_before(target)) return std::optional{*text};
    copy.keep();
    return peer_fault(fmt::format("{}; what you wrote is {}",
                                  loaded.complaints.errors() != 0
                                      ? "the policy was not changed"
                                      : "the policy was not changed: somebody else has changed it meanwhile",
                                  copy.path()));
}

}  // namespace

int run_edit(const Options& options) {
    const Result<Target> target = find_target(options.file);
    if (!target)
        return say(target.error().text,
                   target.error().fault == Fault::peer ? spawn::k_exit_usage : spawn::k_exit_system);
    Result<EditedCopy> copy = EditedCopy::make(target->name, target->text);
    if (!copy) return say(copy.error(), spawn::k_exit_system);
    const auto text = edit_copy(*target, *copy);
    if (!text)
        return say(text.error().text, text.error().fault == Fault::peer ? k_exit_no : spawn::k_exit_system);
    if (!*text) {
        fmt::print("{} is as it was.\n", target->path());
        return 0;
    }
    if (const Done done = replace_file(target->path(), **text, target->status); !done) {
        copy->keep();
        return say(fmt::format("{}; what you wrote is {}", done.error().text, copy->path()),
                   spawn::k_exit_system);
    }
    fmt::print("Replaced {}. \"systemctl reload virtgate-workerd\" puts it into force.\n", target->path());
    return 0;
}

}  // namespace virtgate::ctl::policy
