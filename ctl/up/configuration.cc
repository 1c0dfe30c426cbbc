// SPDX-License-Identifier: LGPL-2.1-or-later
// configuration - the daemons' configuration files, written from the options of "virtgate up".
#include "ctl/up/configuration.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "ctl/files.h"
#include "ctl/pki/throwaway.h"

namespace virtgate::ctl::up {

namespace {

constexpr mode_t k_mode = 0644;
constexpr std::string_view k_mark = "# checksum ";

// FNV-1a: it tells an edited file from an untouched one; nobody is to be kept from forging it.
std::uint64_t checksum(std::string_view text) noexcept {
    std::uint64_t sum = 0xcbf29ce484222325U;
    for (const char c : text) sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    return sum;
}

// A TOML document in the order in which its keys were set first.
class Document {
public:
    void set(std::string_view section, std::string_view key, std::string value) {
        for (Entry& entry : place(section).entries) {
            if (entry.key == key) {
                entry.value = std::move(value);
                return;
            }
        }
        place(section).entries.push_back({std::string{key}, std::move(value)});
    }

    void apply(const std::vector<Setting>& settings, std::string_view file) {
        for (const Setting& setting : settings)
            if (setting.file == file) set(setting.section, setting.key, setting.value);
    }

    [[nodiscard]] std::string text() const {
        std::string text;
        for (const Section& section : sections_) {
            if (!section.name.empty()) text += fmt::format("\n[{}]\n", section.name);
            for (const Entry& entry : section.entries)
                text += fmt::format("{} = {}\n", entry.key, entry.value);
        }
        return text;
    }

private:
    struct Entry {
        std::string key, value;
    };
    struct Section {
        std::string name;
        std::vector<Entry> entries;
    };

    Section& place(std::string_view name) {
        const auto found = std::find_if(sections_.begin(), sections_.end(),
                                        [&](const Section& s) { return s.name == name; });
        if (found != sections_.end()) return *found;
        sections_.push_back({std::string{name}, {}});
        return sections_.back();
    }

    std::vector<Section> sections_{
        Section{}};  // the first has no name: TOML wants such keys before all others
};

// Writes one file unless somebody has edited it; whether it was written.
Result<bool> write_sealed(const std::string& path, std::string_view name, const std::string& body) {
    const Result<std::string> before = read_file(path);
    if (before && !is_sealed(*before)) return false;
    if (!before && before.error().number != ENOENT) return tl::make_unexpected(before.error());
    if (Done done = replace_file(path, seal(name, body), k_mode); !done)
        return tl::make_unexpected(done.error());
    return true;
}

}  // namespace

std::string seal(std::string_view name, std::string_view body) {
    return fmt::format(
        "# {0} - settings of virtgate-{1}, see {0}(5).\n"
        "# \"virtgate up\" writes this file anew at each start, from its options, as long as nobody changes "
        "it.\n"
        "# A changed file is kept as it is; remove it to get a new one.\n"
        "{2}{3:016x}\n{4}",
        name, name.substr(0, name.find('.')), k_mark, checksum(body), body);
}

// The head itself is not part of the sum: its words may change with a version, and the file is still ours.
bool is_sealed(std::string_view text) noexcept {
    const std::size_t mark = text.find(k_mark);
    if (mark == std::string_view::npos || (mark > 0 && text[mark - 1] != '\n')) return false;
    const std::size_t end = text.find('\n', mark);
    if (end == std::string_view::npos) return false;
    const std::string_view digits = text.substr(mark + k_mark.size(), end - mark - k_mark.size());
    return digits == fmt::format("{:016x}", checksum(text.substr(end + 1)));
}

std::string netd_text(const Options& options, const Places& places) {
    constexpr std::string_view k_levels[] = {"debug", "info", "warning", "error"};
    Document document;
    document.set("", "log_level", quote_toml(k_levels[static_cast<std::size_t>(options.log_level)]));
    // All of it is one user's, root's too: the users of the package could not read this directory.
    document.set("", "user_switch", "false");
    // Only this machine: the throwaway certificate has no other name either.
    document.set("tls", "address", quote_toml("localhost"));
    document.set("tls", "port", std::to_string(options.tls_port));
    document.set("tls", "certificate", quote_toml(places.pki + "/server/servercert.pem"));
    document.set("tls", "key", quote_toml(places.pki + "/server/serverkey.pem"));
    document.set("tls", "ca", quote_toml(places.pki + "/ca/cacert.pem"));
    // Plain TCP stays off; who turns it on gets it here, too.
    document.set("tcp", "address", quote_toml("localhost"));
    document.set("tcp", "port", "0");
    document.set("unix", "path", quote_toml(places.local_socket));
    document.set("unix", "mode", quote_toml("0600"));
    document.set("unix", "read_only_mode", quote_toml("0600"));
    document.set("admin", "path", quote_toml(places.admin_socket));
    document.set("sasl", "users", quote_toml(places.users));
    document.set("broker", "socket", quote_toml(places.broker_socket));
    document.set("programs", "directory", quote_toml(places.programs_directory));
    document.apply(options.settings, "netd");
    return document.text();
}

// The rows of the table come last: in TOML every key after one of them would belong to it.
std::string workerd_text(const Options& options, const Places& places) {
    constexpr std::string_view k_levels[] = {"debug", "info", "warning", "error"};
    Document document;
    document.set("", "log_level", quote_toml(k_levels[static_cast<std::size_t>(options.log_level)]));
    document.set("", "user_switch", "false");
    document.set("", "lockd_socket", quote_toml(places.lock_socket));
    if (!options.upstreams.empty())
        document.set("", "default_uri", quote_toml(options.upstreams.front().uri));
    document.set("broker", "socket", quote_toml(places.broker_socket));
    document.set("policy", "directories", fmt::format("[{}]", quote_toml(places.policy_directory)));
    document.set("programs", "directory", quote_toml(places.programs_directory));
    // The system's journal is not for what a user tries out.
    document.set("audit", "journal", "false");
    document.set("audit", "file", quote_toml(places.audit_file));
    document.set("store", "directories", fmt::format("[{}]", quote_toml(places.pools)));
    document.set("store", "default_pool", quote_toml(places.default_pool));
    document.set("store", "state_directory", quote_toml(places.store_state));
    document.apply(options.settings, "workerd");
    std::string text = document.text();
    for (const Upstream& upstream : options.upstreams)
        text += fmt::format("\n[[upstream]]\nuri = {}\nsocket = {}\n", quote_toml(upstream.uri),
                            quote_toml(upstream.socket));
    return text;
}

// Whoever runs this may lock what lies in the directory; what else, an option says.
std::string lockd_text(const Options& options, const Places& places) {
    constexpr std::string_view k_levels[] = {"debug", "info", "warning", "error"};
    Document document;
    document.set("", "log_level", quote_toml(k_levels[static_cast<std::size_t>(options.log_level)]));
    document.set("", "socket", quote_toml(places.lock_socket));
    document.set("", "lock_spaces", fmt::format("[{}]", quote_toml(places.lock_spaces)));
    document.set("", "direct", fmt::format("[{}]", quote_toml(places.directory)));
    document.set("", "state_directory", quote_toml(places.lock_state));
    document.apply(options.settings, "lockd");
    return document.text();
}

// One identity for the one certificate and the one user; "admin" is the role that is built in.
std::string policy_text() {
    return fmt::format(
        "# 10-local.toml - who may come in, see virtgate-policy(5).\n"
        "# \"virtgate up\" wrote this file once and never touches it again: it is yours.\n"
        "version = 1\n\n"
        "# The client certificate in pki/client, and the user who wrote this, at the UNIX socket.\n"
        "[identity.{0}]\n"
        "any = [\n  {{ x509 = {{ CN = {1}, O = {2} }} }},\n  {{ unix = {{ uid = {3} }} }},\n]\n\n"
        "[[binding]]\nidentity = \"{0}\"\nrole = \"admin\"\n",
        pki::k_client_name, quote_toml(pki::k_client_name), quote_toml(pki::k_organisation), getuid());
}

Result<Configuration> write_configuration(const Options& options, const Places& places) {
    Configuration result;
    const std::pair<const std::string*, std::string> files[] = {
        {&places.netd_toml, netd_text(options, places)},
        {&places.workerd_toml, workerd_text(options, places)},
        {&places.lockd_toml, lockd_text(options, places)},
    };
    for (const auto& [path, body] : files) {
        const std::string name = path->substr(path->rfind('/') + 1);
        const Result<bool> written = write_sealed(*path, name, body);
        if (!written) return tl::make_unexpected(written.error());
        if (*written) continue;
        for (const Setting& setting : options.settings)
            if (name == setting.file + ".toml")
                return system_fault(
                    0, fmt::format("{} was edited, so that --set cannot change it; write \"{}\" into "
                                   "the file, or remove it",
                                   *path, setting.key));
        result.kept.push_back(*path);
    }
    if (Done done = write_new_file(places.policy_file, policy_text(), k_mode);
        !done && done.error().number != EEXIST)
        return tl::make_unexpected(done.error());
    return result;
}

Done write_restart_configuration(const Options& options, const Places& places, const Ports& ports) {
    Options fixed = options;
    const auto fix = [&](const char* section, std::uint16_t port) {
        fixed.settings.push_back(
            {.file = "netd", .section = section, .key = "port", .value = std::to_string(port)});
    };
    fix("tls", ports.tls);
    if (ports.tcp != 0) fix("tcp", ports.tcp);
    return replace_file(places.restart_toml, seal("netd.toml", netd_text(fixed, places)), k_mode);
}

}  // namespace virtgate::ctl::up
