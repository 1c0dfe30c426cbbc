// SPDX-License-Identifier: LGPL-2.1-or-later
// etcd_settings - what lockd.toml says of lock spaces in etcd.
#include "lockd/holder/etcd_settings.h"

#include <fcntl.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"
#include "libshared/base/path_fault.h"
#include "libshared/spawn/self.h"
#include "lockd/etcd/url.h"

namespace virtgate::lockd::holder {

namespace {

// A third of the time has to be enough to end an owner that lives on, which takes up to 3 s.
constexpr std::int64_t k_ttl_min = 9, k_ttl_max = 3'600;
constexpr Milliseconds k_timeout_min{100}, k_timeout_max{60'000};
constexpr std::string_view k_prefix = "/virtgate/";
// The last byte of a key's prefix has a next one, and that is how all keys with it are named.
constexpr char k_prefix_end = '/';

bool is_endpoint(const std::string& url) { return etcd::parse_url(url).has_value(); }

std::string read_file_name(config::Section& section, std::string_view key) {
    std::string path = section.text(key, "");
    if (!path.empty() && path.front() != '/')
        section.refuse(key, fmt::format("\"{}\" has to be an absolute path", key));
    return path;
}

void judge_endpoints(config::Section& section, const EtcdSettings& settings) {
    const auto& endpoints = settings.endpoints;
    if (endpoints.empty() || endpoints.size() > proto::config::k_etcd_endpoints_max)
        section.refuse("endpoints", fmt::format("\"endpoints\" has to name 1 to {} servers",
                                                proto::config::k_etcd_endpoints_max));
    for (const std::string& url : endpoints)
        if (!is_endpoint(url))
            section.refuse("endpoints", fmt::format("\"{}\" has to be http://HOST:PORT or https://HOST:PORT",
                                                    escape(url)));
    if (settings.is_encrypted() && settings.ca_file.empty())
        section.refuse("endpoints", "https needs \"ca_file\": whose certificates are believed");
    if (settings.certificate_file.empty() != settings.key_file.empty())
        section.refuse("certificate_file", "\"certificate_file\" and \"key_file\" need each other");
    if (settings.user.empty() != settings.password_file.empty())
        section.refuse("user", "\"user\" and \"password_file\" need each other");
}

EtcdSettings read_one(config::Section section) {
    EtcdSettings settings;
    settings.path = section.text("path", "");
    if (settings.path.empty() || settings.path.size() > proto::config::k_path_max_size ||
        settings.path.front() != '/')
        section.refuse("path", "\"path\" has to be what clients call the lock space, beginning with a slash");
    settings.endpoints = section.texts("endpoints");
    settings.prefix = section.text("prefix", k_prefix);
    if (settings.prefix.empty() || settings.prefix.size() > proto::config::k_etcd_prefix_max ||
        settings.prefix.back() != k_prefix_end)
        section.refuse("prefix", "\"prefix\" has to end with a slash");
    settings.ttl = static_cast<std::uint32_t>(section.integer("ttl", settings.ttl, k_ttl_min, k_ttl_max));
    settings.timeout = section.seconds("timeout", settings.timeout, k_timeout_min, k_timeout_max);
    settings.ca_file = read_file_name(section, "ca_file");
    settings.certificate_file = read_file_name(section, "certificate_file");
    settings.key_file = read_file_name(section, "key_file");
    settings.user = section.text("user", "");
    settings.password_file = read_file_name(section, "password_file");
    judge_endpoints(section, settings);
    return settings;
}

// Empty for an empty path.
Result<std::string> read_text(const std::string& path, std::size_t limit, Secrecy secrecy) {
    if (path.empty()) return std::string{};
    const UniqueFd file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return path_fault(errno, "cannot open", path);
    if (auto done = check_trusted(file.get(), path, secrecy); !done)
        return tl::unexpected(std::move(done.error()));
    const auto bytes = spawn::read_file(file.get(), limit);
    if (!bytes) return wrap(bytes.error(), path);
    std::string text(as_text(*bytes));
    if (text.find('\0') != std::string::npos) return system_fault(0, fmt::format("{} is no text", path));
    return text;
}

std::string host_name() {
    utsname about{};
    return uname(&about) == 0 ? about.nodename : "unknown";
}

}  // namespace

bool EtcdSettings::is_encrypted() const noexcept {
    return std::any_of(endpoints.begin(), endpoints.end(),
                       [](const std::string& url) { return url.starts_with("https:"); });
}

std::vector<std::uint16_t> EtcdSettings::ports() const {
    std::vector<std::uint16_t> ports;
    for (const std::string& url : endpoints)
        if (const auto parsed = etcd::parse_url(url)) ports.push_back(parsed->port);
    return ports;
}

bool EtcdSettings::has_names() const {
    return std::any_of(endpoints.begin(), endpoints.end(), [](const std::string& url) {
        const auto parsed = etcd::parse_url(url);
        return parsed && !parsed->is_numeric;
    });
}

std::vector<EtcdSettings> read_etcd(config::Section& root) {
    std::vector<EtcdSettings> all;
    for (config::Section& section : root.sections("etcd")) {
        EtcdSettings one = read_one(section);
        for (const EtcdSettings& other : all) {
            if (other.path == one.path) section.refuse("path", "two [[etcd]] have the same \"path\"");
        }
        all.push_back(std::move(one));
    }
    if (all.size() > proto::config::k_etcd_spaces_max)
        root.refuse("etcd", fmt::format("more than {} [[etcd]]", proto::config::k_etcd_spaces_max));
    return all;
}

Result<proto::config::LeaserConfig> make_leaser_config(const EtcdSettings& settings, Level log_level,
                                                       proto::config::SandboxMode sandbox) {
    proto::config::LeaserConfig config;
    config.log_level = static_cast<std::uint32_t>(log_level);
    config.path = settings.path;
    config.endpoints = {settings.endpoints.begin(), settings.endpoints.end()};
    config.prefix = settings.prefix;
    config.host = host_name();
    config.ttl = settings.ttl;
    config.timeout = static_cast<std::uint32_t>(settings.timeout.count());
    config.user = settings.user;
    config.sandbox = sandbox;
    const auto read = [&](const std::string& path, std::size_t limit, std::string& to,
                          Secrecy secrecy = Secrecy::readable) -> Done {
        auto text = read_text(path, limit, secrecy);
        if (!text) return tl::unexpected(std::move(text.error()));
        to = std::move(*text);
        return {};
    };
    constexpr std::size_t k_pem = proto::config::k_pem_max, k_secret = proto::config::k_etcd_secret_max;
    for (const auto& done : {read(settings.ca_file, k_pem, config.authorities),
                             read(settings.certificate_file, k_pem, config.certificate),
                             read(settings.key_file, k_pem, config.key, Secrecy::shared),
                             read(settings.password_file, k_secret, config.password, Secrecy::shared)})
        if (!done) return tl::unexpected<Error>(done.error());
    // Editors end a file with one.
    while (config.password.ends_with('\n')) config.password.pop_back();
    return config;
}

}  // namespace virtgate::lockd::holder
