// SPDX-License-Identifier: LGPL-2.1-or-later
// environment - where libvirt's clients look for sockets, certificates and passwords.
#include "libshared/client/environment.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <vector>

namespace virtgate::client {

namespace {

constexpr std::string_view k_system_run = "/var/run/libvirt";
constexpr std::string_view k_system_authorities = "/etc/pki/CA";
constexpr std::string_view k_system_pki = "/etc/pki/libvirt";
constexpr const char* k_system_auth_file = "/etc/libvirt/auth.conf";

// Drivers that have a daemon of their own where libvirtd is not one process.
constexpr std::array<std::string_view, 14> k_own_daemons{
    "qemu", "network", "storage", "nodedev", "nwfilter", "secret", "interface",
    "lxc",  "xen",     "vbox",    "bhyve",   "vz",       "ch",     "proxy"};

std::string read_variable(const char* name) {
    const char* value = secure_getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

std::string find_home() {
    if (std::string home = read_variable("HOME"); !home.empty()) return home;
    std::vector<char> buffer(16384);
    passwd entry{};
    passwd* found = nullptr;
    if (getpwuid_r(geteuid(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
        return {};
    return found->pw_dir;
}

bool has_own_daemon(std::string_view driver) {
    for (const std::string_view known : k_own_daemons)
        if (driver == known) return true;
    return false;
}

// `directory`/libvirt-sock, or virtXXXd-sock; with -ro where that is wanted.
std::string name_socket(std::string_view directory, std::string_view daemon, bool read_only) {
    return fmt::format("{}/{}-sock{}", directory, daemon, read_only ? "-ro" : "");
}

Result<std::string> direct_socket(const Uri& uri, std::string_view directory, bool read_only) {
    if (!has_own_daemon(uri.driver))
        return fail(Cause::invalid,
                    fmt::format("the driver {} has no daemon of its own", escape(uri.driver)));
    return name_socket(directory, fmt::format("virt{}d", uri.driver), read_only);
}

}  // namespace

Environment Environment::of_process() {
    Environment environment;
    environment.is_root = geteuid() == 0;
    environment.home = find_home();
    const std::string config = read_variable("XDG_CONFIG_HOME"), run = read_variable("XDG_RUNTIME_DIR");
    environment.config_directory = (config.empty() ? environment.home + "/.config" : config) + "/libvirt";
    environment.run_directory = (run.empty() ? environment.home + "/.cache" : run) + "/libvirt";
    environment.auth_file = read_variable("LIBVIRT_AUTH_FILE");
    environment.exists = [](const std::string& path) { return access(path.c_str(), F_OK) == 0; };
    return environment;
}

Result<std::string> find_socket(const Uri& uri, bool read_only, const Environment& environment) {
    if (!uri.socket.empty()) return uri.socket;
    const bool session = uri.wants_session(environment.is_root);
    // A user's own daemons have one socket, for the user alone.
    const bool reader = read_only && !session;
    const std::string directory = session ? environment.run_directory : std::string(k_system_run);
    const std::string legacy = name_socket(directory, "libvirt", reader);
    if (uri.mode == Mode::legacy) return legacy;
    if (uri.mode == Mode::automatic && !has_own_daemon(uri.driver)) return legacy;
    auto direct = direct_socket(uri, directory, reader);
    if (uri.mode == Mode::direct || environment.exists(*direct)) return direct;
    return legacy;
}

Result<std::string> remote_socket(const Uri& uri, bool read_only) {
    if (!uri.socket.empty()) return uri.socket;
    if (uri.mode == Mode::direct) return direct_socket(uri, k_system_run, read_only);
    return name_socket(k_system_run, "libvirt", read_only);
}

Result<PkiPaths> find_pki(const std::string& directory, const Environment& environment) {
    std::vector<PkiPaths> places;
    const auto in_one = [](const std::string& where) {
        return PkiPaths{where + "/cacert.pem", where + "/cacrl.pem", where + "/clientcert.pem",
                        where + "/clientkey.pem"};
    };
    if (!directory.empty()) {
        places.push_back(in_one(directory));
    } else {
        if (!environment.is_root && !environment.home.empty())
            places.push_back(in_one(environment.home + "/.pki/libvirt"));
        places.push_back({fmt::format("{}/cacert.pem", k_system_authorities),
                          fmt::format("{}/cacrl.pem", k_system_authorities),
                          fmt::format("{}/clientcert.pem", k_system_pki),
                          fmt::format("{}/private/clientkey.pem", k_system_pki)});
    }
    PkiPaths found;
    for (const PkiPaths& place : places) {
        if (found.authorities.empty() && environment.exists(place.authorities))
            found.authorities = place.authorities;
        if (found.revoked.empty() && environment.exists(place.revoked)) found.revoked = place.revoked;
        if (!found.certificate.empty()) continue;
        const bool certificate = environment.exists(place.certificate), key = environment.exists(place.key);
        if (certificate != key)
            return fail(Cause::invalid,
                        fmt::format("{} is there, but not {}", certificate ? place.certificate : place.key,
                                    certificate ? place.key : place.certificate));
        if (certificate) {
            found.certificate = place.certificate;
            found.key = place.key;
        }
    }
    if (found.authorities.empty())
        return fail(
            Cause::invalid,
            fmt::format("there is no certificate of an authority to judge the server by: {} is missing",
                        places.back().authorities));
    return found;
}

std::string find_auth_file(const std::string& wanted, const Environment& environment) {
    if (!wanted.empty()) return wanted;
    for (const std::string& path : {environment.auth_file, environment.config_directory + "/auth.conf",
                                    std::string(k_system_auth_file)})
        if (!path.empty() && environment.exists(path)) return path;
    return {};
}

}  // namespace virtgate::client
