// SPDX-License-Identifier: LGPL-2.1-or-later
// settings - what lockd.toml says.
#include "lockd/holder/settings.h"

#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "config.h"
#include "libshared/config/document.h"
#include "libshared/confine/plan.h"
#include "libshared/spawn/user.h"

namespace virtgate::lockd::holder {

namespace {

// Whose level can be set by itself.
constexpr std::string_view k_log_names[] = {"lockd", "locker", "leaser"};
constexpr const char* k_socket = VIRTGATE_RUNDIR "/lockd.sock";
constexpr const char* k_state_directory = VIRTGATE_RUNDIR "/lockd";
constexpr const char* k_lock_spaces[] = {VIRTGATE_STATEDIR "/lockspaces", "/var/lib/libvirt/lockd"};
constexpr const char* k_direct[] = {"/var/lib/libvirt/images"};
constexpr const char* k_users[] = {"root"};
constexpr const char* k_session_users[] = {VIRTGATE_WORK_USER};
constexpr std::int64_t k_clients_max = 65'536;
constexpr std::int64_t k_locks_max = 32'768;  // slots of the holder
constexpr std::size_t k_socket_path_max = sizeof(sockaddr_un::sun_path) - 1;

// Nothing that a name could lead out of, or that would be compared wrongly with another name of the same directory.
bool is_clean(std::string_view path) {
    const std::string closed = std::string(path) + "/";
    return path.starts_with('/') && path.size() <= proto::config::k_path_max_size &&
           path.find("//") == path.npos && closed.find("/../") == closed.npos &&
           closed.find("/./") == closed.npos;
}

std::string read_path(config::Section& section, std::string_view key, std::string_view fallback) {
    std::string path = section.text(key, fallback);
    if (!path.empty() && !is_clean(path))
        section.refuse(key, fmt::format("\"{}\" has to be an absolute path without \"..\"", key));
    return path;
}

std::string read_socket(config::Section& section, std::string_view key, std::string_view fallback) {
    std::string path = read_path(section, key, fallback);
    if (path.size() > k_socket_path_max)
        section.refuse(key, fmt::format("\"{}\" is longer than a socket's path can be ({} bytes)", key,
                                        k_socket_path_max));
    return path;
}

template <class Defaults>
std::vector<std::string> read_directories(config::Section& section, std::string_view key,
                                          const Defaults& defaults) {
    std::vector<std::string> directories = section.texts(key, {std::begin(defaults), std::end(defaults)});
    if (directories.size() > proto::config::k_directories_max)
        section.refuse(key, fmt::format("more than {} directories", proto::config::k_directories_max));
    for (std::string& directory : directories) {
        while (directory.size() > 1 && directory.ends_with('/')) directory.pop_back();
        if (!is_clean(directory))
            section.refuse(key, fmt::format("\"{}\" has to be an absolute path without \"..\"", directory));
    }
    return directories;
}

// A number as it is, a name by the user database.
std::optional<uid_t> find_uid(config::Section& section, std::string_view key, const std::string& name) {
    uid_t uid = 0;
    const auto [rest, failure] = std::from_chars(name.data(), name.data() + name.size(), uid);
    if (failure == std::errc{} && rest == name.data() + name.size()) return uid;
    const auto user = spawn::find_user(name);
    if (!user)
        section.refuse(key, user.error().text);
    else if (!*user && section.has(key))
        section.refuse(key, fmt::format("there is no user \"{}\"", name));
    else if (!*user)
        return std::nullopt;
    else
        return (*user)->uid;
    return std::nullopt;
}

// The daemon's own user always may.
template <class Defaults>
std::vector<uid_t> read_users(config::Section& section, std::string_view key, const Defaults& defaults) {
    const std::vector<std::string> names = section.texts(key, {std::begin(defaults), std::end(defaults)});
    std::vector<uid_t> uids{geteuid()};
    for (const std::string& name : names)
        if (const auto uid = find_uid(section, key, name);
            uid && std::find(uids.begin(), uids.end(), *uid) == uids.end())
            uids.push_back(*uid);
    if (uids.size() > proto::config::k_lock_users_max)
        section.refuse(key, fmt::format("more than {} users", proto::config::k_lock_users_max));
    return uids;
}

Result<Settings> read(config::Document& document) {
    Settings settings;
    config::Section root = document.root();
    settings.log = logging::read_log(root, "virtgate-lockd", k_log_names);
    confine::Mode sandbox{};
    if (!confine::parse_mode(root.text("sandbox", "best-effort"), sandbox))
        root.refuse("sandbox", "\"sandbox\" has to be \"best-effort\", \"strict\", \"report\" or \"off\"");
    settings.sandbox = static_cast<proto::config::SandboxMode>(sandbox);
    settings.socket = read_socket(root, "socket", k_socket);
    settings.libvirt_socket = read_socket(root, "libvirt_socket", "");
    if (settings.socket.empty()) root.refuse("socket", "\"socket\" is empty");
    if (settings.socket == settings.libvirt_socket)
        root.refuse("libvirt_socket", "\"libvirt_socket\" is the same as \"socket\"");
    settings.users = read_users(root, "users", k_users);
    settings.session_users = read_users(root, "session_users", k_session_users);
    settings.max_clients =
        static_cast<std::uint32_t>(root.integer("max_clients", settings.max_clients, 1, k_clients_max));
    settings.locks_per_identity = static_cast<std::uint32_t>(
        root.integer("locks_per_identity", settings.locks_per_identity, 1, k_locks_max));
    settings.lock_spaces = read_directories(root, "lock_spaces", k_lock_spaces);
    settings.direct = read_directories(root, "direct", k_direct);
    settings.fencing = root.boolean("fencing", settings.fencing);
    settings.state_directory = read_path(root, "state_directory", k_state_directory);
    if (settings.state_directory.empty()) root.refuse("state_directory", "\"state_directory\" is empty");
    settings.etcd = read_etcd(root);
    if (auto done = document.finish(); !done) return tl::unexpected(std::move(done.error()));
    return settings;
}

}  // namespace

Result<Settings> load_settings(const std::string& path) {
    return config::read_with(config::Document::load(path), read);
}

Result<std::string> list_settings(const std::string& path) {
    return config::list_with(config::Document::load(path), read);
}

Result<Settings> parse_settings(std::string_view text, std::string file) {
    return config::read_with(config::Document::parse(text, std::move(file)), read);
}

proto::config::LockerConfig make_locker_config(const Settings& settings) {
    proto::config::LockerConfig config{
        .log_level = static_cast<std::uint32_t>(settings.log.of("locker")),
        .users = {settings.users.begin(), settings.users.end()},
        .session_users = {settings.session_users.begin(), settings.session_users.end()},
        .max_clients = settings.max_clients,
        .lock_spaces = {settings.lock_spaces.begin(), settings.lock_spaces.end()},
        .direct = {settings.direct.begin(), settings.direct.end()},
        .fencing = settings.fencing,
        .locks_per_identity = settings.locks_per_identity,
        .sandbox = settings.sandbox,
        .etcd = {}};
    for (const EtcdSettings& one : settings.etcd) config.etcd.push_back({.path = one.path});
    return config;
}

}  // namespace virtgate::lockd::holder
