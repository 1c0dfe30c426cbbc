// SPDX-License-Identifier: LGPL-2.1-or-later
// settings - what netd.toml says, and the files that it names.
#include "netd/settings.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <span>

#include "config.h"
#include "libshared/base/path_fault.h"
#include "libshared/base/suggest.h"
#include "libshared/config/document.h"
#include "libshared/confine/plan.h"
#include "libshared/programs/programs.h"
#include "libshared/spawn/self.h"
#include "netd/listener.h"

namespace virtgate::netd {

using proto::config::LoginMode;

namespace {

constexpr unsigned k_gates_max = 64;
constexpr Milliseconds k_hour{3'600'000};
// Where "virtgate pki install" puts them.
constexpr const char* k_own_directory = VIRTGATE_SYSCONFDIR "/tls";
// Where libvirt's own daemon looks.
constexpr const char* k_certificate_file = "/etc/pki/libvirt/servercert.pem";
constexpr const char* k_key_file = "/etc/pki/libvirt/private/serverkey.pem";
constexpr const char* k_ca_file = "/etc/pki/CA/cacert.pem";
constexpr const char* k_crl_file = "/etc/pki/CA/cacrl.pem";
// Where systemd takes credentials from.
constexpr const char* k_credential_store = "/etc/credstore";
constexpr const char* k_priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3";
// libvirt's ports.
constexpr std::uint16_t k_tls_port = 16514, k_tcp_port = 16509;
constexpr std::uint16_t k_metrics_port = 9516;
// Bits: less than that is no encryption to anybody, and libvirt's clients ask for as much.
constexpr int k_layer_min = 56;
constexpr std::size_t k_socket_path_max = 107;
constexpr std::uint32_t k_processes_max = 4096;
// Mechanisms that a server can be asked to have; ANONYMOUS and those that give the server a password without need
// are not among them, PLAIN is for those who must.
constexpr std::string_view k_mechanisms[] = {"SCRAM-SHA-256", "SCRAM-SHA-512", "SCRAM-SHA-1",
                                             "GSSAPI",        "DIGEST-MD5",    "PLAIN"};

unsigned count_cores() noexcept {
    cpu_set_t set;
    const int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return std::clamp(static_cast<unsigned>(count), 1U, k_gates_max);
}

struct ModeName {
    std::string_view name;
    LoginMode mode;
};
constexpr ModeName k_tls_modes[] = {{"x509", LoginMode::login_direct},
                                    {"sasl", LoginMode::login_sasl},
                                    {"x509+sasl", LoginMode::login_both},
                                    {"x509-or-sasl", LoginMode::login_either}};
constexpr ModeName k_local_modes[] = {{"peer", LoginMode::login_direct},
                                      {"sasl", LoginMode::login_sasl},
                                      {"peer+sasl", LoginMode::login_both},
                                      {"peer-or-sasl", LoginMode::login_either}};

LoginMode read_mode(config::Section& section, std::span<const ModeName> modes) {
    const std::string name = section.text("authentication", modes.front().name);
    for (const ModeName& each : modes)
        if (each.name == name) return each.mode;
    std::string names;
    for (const ModeName& each : modes) names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", each.name);
    section.refuse("authentication", fmt::format("\"authentication\" has to be one of {}", names));
    return modes.front().mode;
}

std::string read_path(config::Section& section, const char* key, const std::string& fallback) {
    std::string value = section.text(key, fallback);
    if (!value.empty() && !value.starts_with('/'))
        section.refuse(key, fmt::format("\"{}\" has to be an absolute path", key));
    return value;
}

std::string read_needed_path(config::Section& section, const char* key, const std::string& fallback) {
    std::string value = read_path(section, key, fallback);
    if (value.empty()) section.refuse(key, fmt::format("\"{}\" has to be an absolute path", key));
    return value;
}

// A secret's file where the service manager passes it as a credential (systemd.exec(5), LoadCredential=), or would; else `fallback`.
std::string default_secret(const char* credential, const char* fallback) {
    const char* directory = std::getenv("CREDENTIALS_DIRECTORY");
    // Who checks the file by hand is to be told what the unit will find.
    if (directory == nullptr) directory = k_credential_store;
    if (*directory != '/') return fallback;
    std::string path = fmt::format("{}/{}", directory, credential);
    return access(path.c_str(), F_OK) == 0 ? path : fallback;
}

struct Files {
    std::string certificate, key, authority, revoked;
};

// All of one place: certificates of one and a key of another would not fit.
Files usual_files() {
    const std::string own = k_own_directory;
    Files files{.certificate = own + "/servercert.pem",
                .key = own + "/serverkey.pem",
                .authority = own + "/cacert.pem",
                .revoked = own + "/cacrl.pem"};
    if (access(files.certificate.c_str(), F_OK) != 0)
        files = {.certificate = k_certificate_file,
                 .key = k_key_file,
                 .authority = k_ca_file,
                 .revoked = k_crl_file};
    files.key = default_secret("virtgate-serverkey.pem", files.key.c_str());
    return files;
}

void read_address(config::Section& section, std::uint16_t port, Settings::Network& network) {
    network.address = section.text("address", "::");
    if (!is_listen_address(network.address))
        section.refuse("address", "\"address\" has to be a numeric IPv4 or IPv6 address, or \"localhost\"");
    network.port = static_cast<std::uint16_t>(section.integer("port", port, 0, 65535));
}

void read_tls(config::Section tls, Settings& settings) {
    read_address(tls, k_tls_port, settings.tls);
    settings.tls.login = read_mode(tls, k_tls_modes);
    const Files usual = usual_files();
    settings.certificate_file = read_needed_path(tls, "certificate", usual.certificate.c_str());
    settings.key_file = read_needed_path(tls, "key", usual.key.c_str());
    settings.ca_file = read_needed_path(tls, "ca", usual.authority.c_str());
    // Like libvirt: the default list is used where it is; one that is named has to be there. With a CA of
    // another place the default list would be somebody else's.
    const bool has_default = !tls.has("ca") && access(usual.revoked.c_str(), F_OK) == 0;
    settings.crl_file = read_path(tls, "crl", has_default ? usual.revoked : "");
    settings.priority = tls.text("priority", k_priority);
}

// Without encryption below, only SASL can say who a client is, and only with a layer that encrypts.
void read_tcp(config::Section tcp, Settings& settings) {
    const bool is_on = tcp.boolean("enabled", false);
    read_address(tcp, k_tcp_port, settings.tcp);
    if (const std::string mode = tcp.text("authentication", "sasl"); mode != "sasl")
        tcp.refuse("authentication",
                   mode == "none"
                       ? "a TCP listener without authentication would give everybody on the network the "
                         "rights of its clients: \"authentication\" has to be \"sasl\""
                       : "\"authentication\" of plain TCP has to be \"sasl\"");
    settings.sasl.min_layer =
        static_cast<std::uint32_t>(tcp.integer("min_strength", k_layer_min, k_layer_min, 1024));
    settings.tcp.login = is_on ? LoginMode::login_sasl : LoginMode::login_off;
}

unsigned read_file_mode(config::Section& section, const char* key, const char* fallback) {
    const std::string text = section.text(key, fallback);
    unsigned mode = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
    if (error != std::errc{} || end != text.data() + text.size() || mode > 0777 || (mode & 0600) != 0600)
        section.refuse(key, fmt::format("\"{}\" has to be an octal mode such as \"0660\"", key));
    return mode;
}

void read_local(config::Section local, Settings& settings) {
    const bool is_on = local.boolean("enabled", true);
    const LoginMode mode = read_mode(local, k_local_modes);
    settings.local.login = is_on ? mode : LoginMode::login_off;
    settings.local.path = read_needed_path(local, "path", VIRTGATE_RUNDIR "/virtgate-sock");
    settings.local.read_only_path = read_path(local, "read_only_path", settings.local.path + "-ro");
    for (const auto& [key, path] : {std::pair{"path", &settings.local.path},
                                    std::pair{"read_only_path", &settings.local.read_only_path}})
        if (path->size() > k_socket_path_max)
            local.refuse(key, fmt::format("\"{}\" has to have at most {} bytes", key, k_socket_path_max));
    settings.local.mode = read_file_mode(local, "mode", "0666");
    settings.local.read_only_mode = read_file_mode(local, "read_only_mode", "0666");
    settings.local.group = local.text("group", "");
}

void read_sasl(config::Section section, Settings& settings) {
    auto& sasl = settings.sasl;
    sasl.mechanisms = section.texts("mechanisms", {"SCRAM-SHA-256"});
    if (sasl.mechanisms.empty() || sasl.mechanisms.size() > proto::config::k_mechanism_names_max)
        section.refuse("mechanisms", fmt::format("\"mechanisms\" has to name 1 to {} mechanisms",
                                                 proto::config::k_mechanism_names_max));
    for (const std::string& name : sasl.mechanisms)
        if (std::find(std::begin(k_mechanisms), std::end(k_mechanisms), name) == std::end(k_mechanisms))
            section.refuse(
                "mechanisms",
                fmt::format("\"{}\" is no mechanism that virtgate knows{}", escape(name, 64),
                            did_you_mean(name, {std::begin(k_mechanisms), std::end(k_mechanisms)})));
    sasl.sasldb = read_path(section, "sasldb", "");
    // One or the other: virtgate-sasl refuses both.
    const std::string users =
        sasl.sasldb.empty() ? default_secret("virtgate-users", VIRTGATE_SYSCONFDIR "/users") : "";
    sasl.users = read_path(section, "users", users.c_str());
    sasl.keytab = read_path(section, "keytab", default_secret("virtgate-keytab", "").c_str());
    sasl.host_name = section.text("host_name", "");
    sasl.realm = section.text("realm", "");
}

void read_limits(config::Section section, Settings& settings) {
    const auto time = [&](const char* key, int seconds) {
        return static_cast<std::uint32_t>(
            section.seconds(key, std::chrono::seconds(seconds), Milliseconds(100), k_hour).count());
    };
    const auto number = [&](const char* key, int fallback, int max) {
        return static_cast<std::uint32_t>(section.integer(key, fallback, 1, max));
    };
    auto& limits = settings.limits;
    limits.handshake = time("handshake", 10);
    limits.authentication = time("authentication", 20);
    limits.login = time("login", 60);
    limits.partial_frame = time("partial_frame", 30);
    limits.calls_in_flight = number("calls_in_flight", 1024, 65536);
    limits.connections = number("connections", 5000, 1'000'000);
    limits.arrivals = number("arrivals", static_cast<int>(limits.connections), 1'000'000);
    settings.sources.connections = number("connections_per_source", 2048, 1'000'000);
    settings.sources.arrivals = number("arrivals_per_source", 64, 1'000'000);
    auto& logins = settings.logins;
    logins.delay = static_cast<std::uint32_t>(
        section.seconds("failure_delay", std::chrono::seconds(1), Milliseconds(0), k_hour).count());
    logins.delay_max = std::max(logins.delay, time("failure_delay_max", 10));
    logins.failures = number("failures_per_source", 20, 1'000'000);
    logins.window = time("failure_window", 60);
    logins.tries = number("tries", 3, 100);
    logins.exchanges = number("exchanges", 64, 4096);
}

void read_admin(config::Section section, Settings& settings) {
    settings.admin.enabled = section.boolean("enabled", true);
    settings.admin.path = read_needed_path(section, "path", VIRTGATE_RUNDIR "/admin-sock");
    if (settings.admin.path.size() > k_socket_path_max)
        section.refuse("path", fmt::format("\"path\" has to have at most {} bytes", k_socket_path_max));
}

// Nobody proves who he is there: what is counted is for this machine, and for what an administrator puts in front of it.
void read_metrics(config::Section section, Settings& settings) {
    Settings::Metrics& metrics = settings.metrics;
    metrics.enabled = section.boolean("enabled", false);
    metrics.address = section.text("address", "127.0.0.1");
    if (!is_loopback_address(metrics.address))
        section.refuse(
            "address",
            "\"address\" has to be a numeric address of the loopback interface, or \"localhost\": whoever "
            "connects may read the names of all identities, without encryption; for other machines put a "
            "proxy with authentication in front of it");
    metrics.port = static_cast<std::uint16_t>(section.integer("port", k_metrics_port, 0, 65535));
    metrics.path = read_path(section, "path", "");
    if (metrics.path.size() > k_socket_path_max)
        section.refuse("path", fmt::format("\"path\" has to have at most {} bytes", k_socket_path_max));
    metrics.mode = read_file_mode(section, "mode", "0660");
    metrics.group = section.text("group", "");
}

void read_announce(config::Section section, Settings& settings) {
    settings.announce = section.boolean("enabled", false);
    settings.announced_name = section.text("name", "");
    if (settings.announced_name.size() > proto::config::k_service_name_max)
        section.refuse(
            "name", fmt::format("\"name\" has to have at most {} bytes", proto::config::k_service_name_max));
}

Result<Settings> read(config::Document& document) {
    config::Section root = document.root();
    Settings settings;
    settings.log = logging::read_log(root, "virtgate-netd", k_log_names);
    confine::Mode sandbox{};
    if (!confine::parse_mode(root.text("sandbox", "best-effort"), sandbox))
        root.refuse("sandbox", "\"sandbox\" has to be \"best-effort\", \"strict\", \"report\" or \"off\"");
    settings.sandbox = static_cast<proto::config::SandboxMode>(sandbox);
    settings.gates = static_cast<unsigned>(root.integer("gates", 0, 0, k_gates_max));
    if (settings.gates == 0) settings.gates = count_cores();
    settings.user_switch = root.boolean("user_switch", true);
    read_tls(root.section("tls"), settings);
    read_tcp(root.section("tcp"), settings);
    read_local(root.section("unix"), settings);
    read_sasl(root.section("sasl"), settings);
    read_limits(root.section("limits"), settings);
    read_announce(root.section("announce"), settings);
    read_admin(root.section("admin"), settings);
    read_metrics(root.section("metrics"), settings);
    config::Section keepalive = root.section("keepalive");
    settings.keepalive.interval = static_cast<std::uint32_t>(
        keepalive.seconds("interval", std::chrono::seconds(5), Milliseconds(0), k_hour).count());
    settings.keepalive.count = static_cast<std::uint32_t>(keepalive.integer("count", 5, 0, 1000));
    config::Section broker = root.section("broker");
    settings.broker_socket = broker.text("socket", VIRTGATE_RUNDIR "/broker.sock");
    if (!settings.broker_socket.starts_with('/') || settings.broker_socket.size() >= 108)
        broker.refuse("socket", "\"socket\" has to be an absolute path of at most 107 bytes");
    config::Section directory = root.section("programs");
    const std::string programs = read_needed_path(directory, "directory", VIRTGATE_SYSCONFDIR "/programs.d");
    if (auto done = document.finish(); !done) return tl::unexpected(done.error());
    const auto announced = programs::read_programs(programs);
    if (!announced) return tl::unexpected(announced.error());
    settings.schemas = programs::schemas_of(*announced);
    settings.sasl.log_level = static_cast<std::uint32_t>(settings.log.of("sasl"));
    settings.sasl.sandbox = settings.sandbox;
    settings.sasl.exchange_timeout = settings.limits.login;
    // A security layer is a process for as long as its connection: those are bounded as connections.
    settings.sasl.exchanges = k_processes_max;
    return settings;
}

// A PEM file that has to contain `mark`.
Result<std::string> read_pem(const std::string& path, std::string_view what, std::string_view mark) {
    const UniqueFd file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return path_fault(errno, fmt::format("cannot open the {}", what), path);
    if (auto done = check_trusted(file.get(), path); !done) return wrap(std::move(done.error()), what);
    const auto bytes = spawn::read_file(file.get(), proto::config::k_pem_max);
    if (!bytes) return wrap(bytes.error(), fmt::format("the {} {}", what, path));
    std::string text(as_text(*bytes));
    if (text.find(mark) == std::string::npos || text.find('\0') != std::string::npos)
        return system_fault(0, fmt::format("the {} {} is not a PEM file of that kind", what, path));
    return text;
}

}  // namespace

Result<Settings> read_settings(const std::string& path) {
    return config::read_with(config::Document::load(path), read);
}

Result<std::string> list_settings(const std::string& path) {
    return config::list_with(config::Document::load(path), read);
}

bool Settings::needs_sasl() const noexcept {
    const auto asks = [](LoginMode mode) {
        return mode != LoginMode::login_off && mode != LoginMode::login_direct;
    };
    return asks(tls.login) || asks(tcp.login) || asks(local.login);
}

std::vector<std::string> Settings::watched_files() const {
    std::vector<std::string> files{certificate_file, key_file, ca_file};
    if (!crl_file.empty()) files.push_back(crl_file);
    return files;
}

Result<Pki> read_pki(const Settings& settings) {
    constexpr std::string_view k_certificate_mark = "-----BEGIN CERTIFICATE-----";
    auto certificate = read_pem(settings.certificate_file, "server certificate", k_certificate_mark);
    if (!certificate) return tl::unexpected(certificate.error());
    auto authorities = read_pem(settings.ca_file, "CA certificate", k_certificate_mark);
    if (!authorities) return tl::unexpected(authorities.error());
    Pki pki{.certificate = std::move(*certificate), .authorities = std::move(*authorities), .revoked = {}};
    if (!settings.crl_file.empty()) {
        auto revoked = read_pem(settings.crl_file, "certificate revocation list", "-----BEGIN X509 CRL-----");
        if (!revoked) return tl::unexpected(revoked.error());
        pki.revoked = std::move(*revoked);
    }
    return pki;
}

Result<UniqueFd> open_key(const Settings& settings) {
    UniqueFd file{open(settings.key_file.c_str(), O_RDONLY | O_CLOEXEC)};
    struct stat status {};
    if (!file || fstat(file.get(), &status) < 0)
        return path_fault(errno, "cannot open the private key", settings.key_file);
    if (!S_ISREG(status.st_mode))
        return system_fault(0, fmt::format("the private key {} is not a file", settings.key_file));
    if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return system_fault(
            0, fmt::format("the private key {} is open to its group or to everybody (mode {:04o}): "
                           "make that 0600 or 0400",
                           settings.key_file, status.st_mode & 07777));
    if (auto done = check_trusted(file.get(), settings.key_file, Secrecy::secret); !done)
        return wrap(std::move(done.error()), "private key");
    return file;
}

}  // namespace virtgate::netd
