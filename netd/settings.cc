// SPDX-License-Identifier: LGPL-2.1-or-later
// settings - what netd.toml says, and the files that it names.
#include "netd/settings.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "config.h"
#include "libshared/config/document.h"
#include "libshared/spawn/self.h"
#include "netd/listener.h"

namespace virtgate::netd {

namespace {

constexpr unsigned k_gates_max = 64;
constexpr Milliseconds k_hour{3'600'000};
// Where libvirt's own daemon looks.
constexpr const char* k_certificate_file = "/etc/pki/libvirt/servercert.pem";
constexpr const char* k_key_file = "/etc/pki/libvirt/private/serverkey.pem";
constexpr const char* k_ca_file = "/etc/pki/CA/cacert.pem";
constexpr const char* k_crl_file = "/etc/pki/CA/cacrl.pem";
constexpr const char* k_priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3";

unsigned count_cores() noexcept {
    cpu_set_t set;
    const int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return std::clamp(static_cast<unsigned>(count), 1U, k_gates_max);
}

void read_tls(config::Section tls, Settings& settings) {
    settings.address = tls.text("address", "::");
    if (!is_listen_address(settings.address))
        tls.refuse("address", "\"address\" has to be a numeric IPv4 or IPv6 address, or \"localhost\"");
    settings.port = static_cast<std::uint16_t>(tls.integer("port", 16514, 0, 65535));
    const auto path = [&](const char* key, const char* fallback) {
        std::string value = tls.text(key, fallback);
        if (!value.starts_with('/')) tls.refuse(key, fmt::format("\"{}\" has to be an absolute path", key));
        return value;
    };
    settings.certificate_file = path("certificate", k_certificate_file);
    settings.key_file = path("key", k_key_file);
    settings.ca_file = path("ca", k_ca_file);
    // Like libvirt: the default list is used where it is; one that is named has to be there. With a CA of
    // another place the default list would be somebody else's.
    const bool has_default = !tls.has("ca") && access(k_crl_file, F_OK) == 0;
    if (tls.has("crl") || has_default) settings.crl_file = path("crl", k_crl_file);
    settings.priority = tls.text("priority", k_priority);
}

void read_limits(config::Section section, proto::config::ClientLimits& limits) {
    const auto time = [&](const char* key, int seconds) {
        return static_cast<std::uint32_t>(
            section.seconds(key, std::chrono::seconds(seconds), Milliseconds(100), k_hour).count());
    };
    limits.handshake = time("handshake", 10);
    limits.authentication = time("authentication", 20);
    limits.partial_frame = time("partial_frame", 30);
    limits.calls_in_flight = static_cast<std::uint32_t>(section.integer("calls_in_flight", 1024, 1, 65536));
    limits.connections = static_cast<std::uint32_t>(section.integer("connections", 5000, 1, 1'000'000));
}

// A PEM file that has to contain `mark`.
Result<std::string> read_pem(const std::string& path, std::string_view what, std::string_view mark) {
    const UniqueFd file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return system_fault(errno, fmt::format("cannot open the {} {}", what, path));
    const auto bytes = spawn::read_file(file.get(), proto::config::k_pem_max);
    if (!bytes) return wrap(bytes.error(), fmt::format("the {} {}", what, path));
    std::string text(as_text(*bytes));
    if (text.find(mark) == std::string::npos || text.find('\0') != std::string::npos)
        return system_fault(0, fmt::format("the {} {} is not a PEM file of that kind", what, path));
    return text;
}

}  // namespace

Result<Settings> read_settings(const std::string& path) {
    auto document = config::Document::load(path);
    if (!document) return tl::unexpected(document.error());
    config::Section root = (*document)->root();
    Settings settings;
    const std::string level = root.text("log_level", "info");
    if (!parse_level(level, settings.log_level))
        root.refuse("log_level", "\"log_level\" has to be \"debug\", \"info\", \"warning\" or \"error\"");
    settings.gates = static_cast<unsigned>(root.integer("gates", 0, 0, k_gates_max));
    if (settings.gates == 0) settings.gates = count_cores();
    settings.user_switch = root.boolean("user_switch", true);
    read_tls(root.section("tls"), settings);
    read_limits(root.section("limits"), settings.limits);
    config::Section keepalive = root.section("keepalive");
    settings.keepalive.interval = static_cast<std::uint32_t>(
        keepalive.seconds("interval", std::chrono::seconds(5), Milliseconds(0), k_hour).count());
    settings.keepalive.count = static_cast<std::uint32_t>(keepalive.integer("count", 5, 0, 1000));
    config::Section broker = root.section("broker");
    settings.broker_socket = broker.text("socket", VIRTGATE_RUNDIR "/broker.sock");
    if (!settings.broker_socket.starts_with('/') || settings.broker_socket.size() >= 108)
        broker.refuse("socket", "\"socket\" has to be an absolute path of at most 107 bytes");
    if (auto done = (*document)->finish(); !done) return tl::unexpected(done.error());
    return settings;
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
        return system_fault(errno, fmt::format("cannot open the private key {}", settings.key_file));
    if (!S_ISREG(status.st_mode))
        return system_fault(0, fmt::format("the private key {} is not a file", settings.key_file));
    if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return system_fault(
            0, fmt::format("the private key {} is open to its group or to everybody (mode {:04o}): "
                           "make that 0600 or 0400",
                           settings.key_file, status.st_mode & 07777));
    return file;
}

}  // namespace virtgate::netd
