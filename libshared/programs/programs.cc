// SPDX-License-Identifier: LGPL-2.1-or-later
// programs - programs of others, as programs.d announces them.
#include "libshared/programs/programs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "libshared/base/fd.h"
#include "libshared/base/path_fault.h"
#include "libshared/config/document.h"
#include "proto/config.h"
#include "proto/programs.h"

namespace virtgate::programs {

namespace {

constexpr std::string_view k_suffix = ".toml";
constexpr std::size_t k_name_max = 32;
constexpr int k_threads = 4, k_threads_max = 64;

// The scheme of a URI, and what a log calls a process.
bool is_name(std::string_view name) noexcept {
    const auto is_lower = [](char c) { return c >= 'a' && c <= 'z'; };
    return !name.empty() && name.size() <= k_name_max && is_lower(name.front()) &&
           std::all_of(name.begin(), name.end(),
                       [&](char c) { return is_lower(c) || (c >= '0' && c <= '9') || c == '-'; });
}

struct DirectoryCloser {
    void operator()(DIR* directory) const noexcept { closedir(directory); }
};

// The names of its files that end in ".toml" and do not begin with a dot.
Result<std::vector<std::string>> list_files(const std::string& directory) {
    std::vector<std::string> names;
    const std::unique_ptr<DIR, DirectoryCloser> open{opendir(directory.c_str())};
    if (!open && errno == ENOENT) return names;
    if (!open) return path_fault(errno, "cannot read the directory", directory);
    errno = 0;
    while (const dirent* entry = readdir(open.get())) {
        const std::string_view name = entry->d_name;
        if (name.ends_with(k_suffix) && !name.starts_with('.')) names.emplace_back(name);
        errno = 0;
    }
    if (errno != 0) return path_fault(errno, "cannot read the directory", directory);
    std::sort(names.begin(), names.end());
    return names;
}

std::string read_path(config::Section& section, const char* key) {
    std::string path = section.text(key, "");
    if (path.empty() && !section.has(key))
        section.refuse(key, fmt::format("\"{}\" is missing", key));
    else if (!path.starts_with('/') || path.size() > proto::config::k_path_max_size)
        section.refuse(key, fmt::format("\"{}\" has to be an absolute path", key));
    return path;
}

// What is wrong with the file, or its bytes.
Result<ByteVector> read_schema(const std::string& path) {
    const UniqueFd file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    struct stat status {};
    if (!file || fstat(file.get(), &status) < 0) return path_fault(errno, "cannot open", path);
    if (!S_ISREG(status.st_mode)) return system_fault(0, fmt::format("{} is not a file", path));
    if (auto done = check_trusted(file.get(), path); !done) return tl::unexpected(std::move(done.error()));
    ByteVector bytes(proto::config::k_schema_size_max + 1);
    std::size_t size = 0;
    while (size < bytes.size()) {
        const ssize_t n = read(file.get(), bytes.data() + size, bytes.size() - size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return path_fault(errno, "cannot read", path);
        if (n == 0) break;
        size += static_cast<std::size_t>(n);
    }
    if (size == bytes.size())
        return system_fault(0,
                            fmt::format("{} has more than {} bytes", path, proto::config::k_schema_size_max));
    bytes.resize(size);
    return bytes;
}

// The reader of one file has to be a plain function: what it needs besides comes along.
struct Reading {
    proto::ProgramShelf& shelf;
    Announced announced;
};

Done read_file(config::Document& document, Reading& reading) {
    Announced& one = reading.announced;
    config::Section root = document.root();
    const std::string schema = read_path(root, "schema");
    one.executable = read_path(root, "executable");
    one.is_shared = root.boolean("shared", false);
    one.directories = root.texts("directories");
    if (one.directories.size() > proto::config::k_directories_max)
        root.refuse("directories", fmt::format("more than {} directories", proto::config::k_directories_max));
    for (const std::string& directory : one.directories)
        if (!directory.starts_with('/') || directory.size() > proto::config::k_path_max_size)
            root.refuse("directories", "a directory has to be an absolute path");
    one.user = root.text("user", "");
    one.threads = static_cast<std::uint32_t>(root.integer("threads", k_threads, 1, k_threads_max));
    if (schema.starts_with('/')) {
        auto bytes = read_schema(schema);
        if (!bytes) {
            root.refuse("schema", bytes.error().text);
        } else if (const auto put = reading.shelf.put(*bytes); !put) {
            root.refuse("schema", fmt::format("{}: {}", schema, put.error()));
        } else {
            one.number = put->front()->number;
            one.schema = std::move(*bytes);
        }
    }
    return document.finish();
}

}  // namespace

Result<std::vector<Announced>> read_programs(const std::string& directory) {
    auto names = list_files(directory);
    if (!names) return tl::unexpected(std::move(names.error()));
    proto::ProgramShelf shelf;
    std::vector<Announced> all;
    std::string complaints;
    const auto complain = [&](std::string_view text) {
        complaints += fmt::format("{}{}", complaints.empty() ? "" : "\n", text);
    };
    for (const std::string& name : *names) {
        Reading reading{.shelf = shelf, .announced = {}};
        Announced& one = reading.announced;
        one.name = name.substr(0, name.size() - k_suffix.size());
        one.file = fmt::format("{}/{}", directory, name);
        one.uri = one.name + ":///";
        if (!is_name(one.name)) {
            complain(fmt::format(
                "{}: the name of a program has to be 1 to {} lower-case letters, digits and \"-\", "
                "a letter first",
                escape(one.file), k_name_max));
            continue;
        }
        auto document = config::Document::load(one.file);
        const Done done = document ? read_file(**document, reading) : tl::unexpected(document.error());
        if (!done) {
            complain(done.error().text);
            continue;
        }
        all.push_back(std::move(reading.announced));
    }
    if (!complaints.empty()) return system_fault(0, std::move(complaints));
    return all;
}

std::vector<ByteVector> schemas_of(const std::vector<Announced>& programs) {
    std::vector<ByteVector> schemas;
    schemas.reserve(programs.size());
    for (const Announced& one : programs) schemas.push_back(one.schema);
    return schemas;
}

}  // namespace virtgate::programs
