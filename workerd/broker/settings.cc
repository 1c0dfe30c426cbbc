// SPDX-License-Identifier: LGPL-2.1-or-later
// settings - what workerd.toml says.
#include "workerd/broker/settings.h"

#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

#include "config.h"
#include "libshared/config/document.h"
#include "libshared/confine/plan.h"
#include "proto/config.h"
#include "workerd/broker/program_posts.h"
#include "workerd/broker/store_post.h"

namespace virtgate::workerd::broker {

namespace {

constexpr const char* k_socket = VIRTGATE_RUNDIR "/broker.sock";
constexpr const char* k_lockd_socket = VIRTGATE_RUNDIR "/lockd.sock";
constexpr const char* k_vendor_policy = "/usr/lib/virtgate/policy.d";
constexpr const char* k_journal = "/run/systemd/journal/socket";
constexpr const char* k_audit_file = VIRTGATE_LOGDIR "/audit.jsonl";
constexpr const char* k_local_policy = VIRTGATE_SYSCONFDIR "/policy.d";
constexpr const char* k_programs = VIRTGATE_SYSCONFDIR "/programs.d";
constexpr const char* k_store_state = VIRTGATE_STATEDIR "/store";
constexpr Milliseconds k_timeout_min{100};
constexpr Milliseconds k_timeout_max{600'000};
constexpr std::int64_t k_sessions_max = 1'000'000;
constexpr std::size_t k_socket_path_max = sizeof(sockaddr_un::sun_path) - 1;

bool is_absolute(std::string_view path) noexcept { return path.starts_with('/'); }

std::string read_socket_path(config::Section& section, std::string_view key, std::string_view fallback) {
    std::string path = section.text(key, fallback);
    if (!path.empty() && !is_absolute(path))
        section.refuse(key, fmt::format("\"{}\" has to be an absolute path", key));
    else if (path.size() > k_socket_path_max)
        section.refuse(key, fmt::format("\"{}\" is longer than a socket's path can be ({} bytes)", key,
                                        k_socket_path_max));
    return path;
}

// The user `name`; none if there is none, which is a mistake only where the file names it.
std::optional<spawn::User> look_up(config::Section& section, std::string_view key, const std::string& name) {
    auto user = spawn::find_user(name);
    if (!user)
        section.refuse(key, user.error().text);
    else if (!*user && section.has(key))
        section.refuse(key, fmt::format("there is no user \"{}\"", name));
    else
        return *user;
    return std::nullopt;
}

// Doorman's user, however netd was started, and our own for suites that one user runs.
void read_allowed(config::Section section, Settings& settings) {
    settings.allowed_uids.push_back(geteuid());
    std::vector<std::string> names{VIRTGATE_AUTH_USER, VIRTGATE_NET_USER};
    if (section.has("allowed_user"))
        names = {section.text("allowed_user", "")};
    else
        static_cast<void>(section.text("allowed_user", ""));  // a key that is known
    for (const std::string& name : names) {
        if (const auto user = look_up(section, "allowed_user", name)) {
            settings.allowed_uids.push_back(user->uid);
            if (settings.user_switch && !settings.socket_group) settings.socket_group = user->gid;
        }
    }
    settings.socket = read_socket_path(section, "socket", k_socket);
}

void read_limits(config::Section section, Settings& settings) {
    const auto read = [&](std::string_view key, std::size_t fallback) {
        return static_cast<std::size_t>(
            section.integer(key, static_cast<std::int64_t>(fallback), 1, k_sessions_max));
    };
    settings.sessions_max = read("sessions", settings.sessions_max);
    settings.sessions_per_identity_max = read("sessions_per_identity", settings.sessions_per_identity_max);
}

void read_policy(config::Section section, Settings& settings) {
    settings.policy_directories = section.texts("directories", {k_vendor_policy, k_local_policy});
    if (settings.policy_directories.size() > proto::config::k_directories_max)
        section.refuse("directories",
                       fmt::format("more than {} directories", proto::config::k_directories_max));
    for (const std::string& directory : settings.policy_directories)
        if (!is_absolute(directory) || directory.size() > proto::config::k_path_max_size)
            section.refuse("directories", "a directory has to be an absolute path");
}

void read_audit(config::Section section, Settings& settings) {
    settings.audit_journal = section.boolean("journal", settings.audit_journal);
    settings.journal_socket = read_socket_path(section, "journal_socket", k_journal);
    settings.audit_file = section.text("file", k_audit_file);
    if (!settings.audit_file.empty() &&
        (!is_absolute(settings.audit_file) || settings.audit_file.size() > proto::config::k_path_max_size))
        section.refuse("file", "\"file\" has to be an absolute path");
    const std::string user = section.text("user", VIRTGATE_AUDIT_USER);
    if (settings.user_switch) settings.audit_user = look_up(section, "user", user);
}

void read_store(config::Section section, Settings& settings) {
    proto::config::StoreConfig& store = settings.store;
    store.log_level = static_cast<std::uint32_t>(settings.log.of("store"));
    store.sandbox = settings.sandbox;
    store.directories = section.texts("directories");
    store.state_directory = section.text("state_directory", k_store_state);
    const auto is_path = [](const std::string& path) {
        return is_absolute(path) && path.size() <= proto::config::k_path_max_size;
    };
    if (store.directories.size() > proto::config::k_directories_max)
        section.refuse("directories",
                       fmt::format("more than {} directories", proto::config::k_directories_max));
    for (const std::string& directory : store.directories)
        if (!is_path(directory)) section.refuse("directories", "a directory has to be an absolute path");
    store.default_pool = section.text("default_pool", "");
    const auto lies_in = [&](const std::string& directory) {
        return store.default_pool == directory || store.default_pool.starts_with(directory + "/");
    };
    if (!store.default_pool.empty() &&
        std::none_of(store.directories.begin(), store.directories.end(), lies_in))
        section.refuse("default_pool", "\"default_pool\" lies in none of the directories");
    // Where there is no lock daemon, nobody else can lock either.
    store.locks = section.boolean("locks", !settings.lockd_socket.empty());
    if (store.locks && settings.lockd_socket.empty())
        section.refuse("locks", "\"locks\" is true, and \"lockd_socket\" names no lock daemon");
    store.lock_space = section.text("lock_space", "");
    while (store.lock_space.size() > 1 && store.lock_space.ends_with('/')) store.lock_space.pop_back();
    if (!store.lock_space.empty() && !is_path(store.lock_space))
        section.refuse("lock_space", "\"lock_space\" has to be an absolute path");
    if (!is_path(store.state_directory))
        section.refuse("state_directory", "\"state_directory\" has to be an absolute path");
    const std::string user = section.text("user", VIRTGATE_STORE_USER);
    if (settings.user_switch) settings.store_user = look_up(section, "user", user);
}

// The directory. Its files are read when this one is known to be right.
std::string read_programs_directory(config::Section section) {
    std::string directory = section.text("directory", k_programs);
    if (!is_absolute(directory)) section.refuse("directory", "\"directory\" has to be an absolute path");
    return directory;
}

// What can only be judged beside the other settings.
Done take_programs(const std::string& directory, Settings& settings) {
    auto programs = programs::read_programs(directory);
    if (!programs) return tl::unexpected(std::move(programs.error()));
    std::string complaints;
    for (const programs::Announced& one : *programs) {
        const auto complain = [&](std::string_view text) {
            complaints += fmt::format("{}{}: error: {}", complaints.empty() ? "" : "\n", one.file, text);
        };
        const std::string scheme = one.uri.substr(0, one.uri.find(':') + 1);
        if (k_store_uri.starts_with(scheme) ||
            std::any_of(settings.upstreams.begin(), settings.upstreams.end(),
                        [&](const UpstreamRow& row) { return row.uri.starts_with(scheme); }))
            complain(fmt::format("{} is libvirt's or the store's: the file needs another name", one.uri));
        if (access(one.executable.c_str(), X_OK) < 0)
            complain(fmt::format("the executable {} cannot be started", escape(one.executable)));
        auto user = settings.worker_user;
        if (settings.user_switch && !one.user.empty()) {
            auto found = spawn::find_user(one.user);
            if (!found || !*found) complain(fmt::format("there is no user \"{}\"", escape(one.user)));
            if (found) user = std::move(*found);
        }
        settings.program_users.push_back(std::move(user));
    }
    if (settings.upstreams.size() + programs->size() >= proto::config::k_upstreams_max)
        complaints += fmt::format("{}more than {} upstreams and programs", complaints.empty() ? "" : "\n",
                                  proto::config::k_upstreams_max);
    if (!complaints.empty()) return system_fault(0, std::move(complaints));
    settings.programs = std::move(*programs);
    return {};
}

// Whether a daemon of that table is there, or whoever starts it when somebody connects.
bool is_there(const UpstreamRow& row) noexcept { return access(row.socket.c_str(), F_OK) == 0; }

void read_upstreams(config::Section root, Settings& settings) {
    std::vector<config::Section> sections = root.sections("upstream");
    for (config::Section& section : sections) {
        UpstreamRow row{.uri = section.text("uri", ""),
                        .socket = read_socket_path(section, "socket", ""),
                        .read_only_socket = read_socket_path(section, "read_only_socket", "")};
        if (row.uri.find("://") == row.uri.npos || row.uri.size() > proto::config::k_path_max_size)
            section.refuse("uri", "\"uri\" has to be a libvirt URI such as qemu:///system");
        if (row.uri == k_store_uri) section.refuse("uri", "that is the store's own; see [store]");
        if (row.socket.empty()) section.refuse("socket", "\"socket\" is missing");
        settings.upstreams.push_back(std::move(row));
    }
    const bool has_store = !settings.store.directories.empty();
    const bool is_configured = !settings.upstreams.empty();
    if (!is_configured) settings.upstreams = default_uris();
    if (settings.upstreams.size() + (has_store ? 1 : 0) > proto::config::k_upstreams_max)
        root.refuse("upstream", fmt::format("more than {} upstreams", proto::config::k_upstreams_max));
    // What libvirt's clients would expect if it is there, else what the administrator put first. Where nobody said anything
    // and no libvirt daemon is there, it is the store.
    if (!root.has("default_uri") && !is_configured && has_store &&
        std::none_of(settings.upstreams.begin(), settings.upstreams.end(), is_there))
        settings.default_uri = k_store_uri;
    else if (!root.has("default_uri") &&
             std::none_of(settings.upstreams.begin(), settings.upstreams.end(),
                          [](const UpstreamRow& row) { return row.uri == k_default_uri; }))
        settings.default_uri = settings.upstreams.front().uri;
    const auto is_default = [&](const UpstreamRow& row) { return row.uri == settings.default_uri; };
    if (!settings.default_uri.empty() && !(has_store && settings.default_uri == k_store_uri) &&
        std::none_of(settings.upstreams.begin(), settings.upstreams.end(), is_default))
        root.refuse("default_uri", "\"default_uri\" has no [[upstream]]");
}

Result<Settings> read(config::Document& document) {
    Settings settings;
    config::Section root = document.root();
    settings.log = logging::read_log(root, "virtgate-workerd", k_log_names);
    confine::Mode sandbox{};
    if (!confine::parse_mode(root.text("sandbox", "best-effort"), sandbox))
        root.refuse("sandbox", "\"sandbox\" has to be \"best-effort\", \"strict\", \"report\" or \"off\"");
    settings.sandbox = static_cast<proto::config::SandboxMode>(sandbox);
    settings.user_switch = root.boolean("user_switch", true) && geteuid() == 0;
    settings.default_uri = root.text("default_uri", k_default_uri);
    settings.upstream_timeout =
        root.seconds("upstream_timeout", settings.upstream_timeout, k_timeout_min, k_timeout_max);
    settings.lockd_socket = read_socket_path(root, "lockd_socket", k_lockd_socket);
    read_allowed(root.section("broker"), settings);
    config::Section worker = root.section("worker");
    const std::string worker_user = worker.text("user", VIRTGATE_WORK_USER);
    if (settings.user_switch) settings.worker_user = look_up(worker, "user", worker_user);
    read_limits(root.section("limits"), settings);
    read_policy(root.section("policy"), settings);
    read_audit(root.section("audit"), settings);
    read_store(root.section("store"), settings);
    read_upstreams(root, settings);
    const std::string programs = read_programs_directory(root.section("programs"));
    if (auto done = document.finish(); !done) return tl::unexpected(std::move(done.error()));
    if (auto done = take_programs(programs, settings); !done) return tl::unexpected(std::move(done.error()));
    return settings;
}

}  // namespace

Result<Settings> load_settings(const std::string& path) {
    auto settings = config::read_with(config::Document::load(path), read);
    if (settings) settings->file = path;
    return settings;
}

Result<std::string> list_settings(const std::string& path) {
    return config::list_with(config::Document::load(path), read);
}

Result<Settings> parse_settings(std::string_view text, std::string file) {
    return config::read_with(config::Document::parse(text, std::move(file)), read);
}

}  // namespace virtgate::workerd::broker
