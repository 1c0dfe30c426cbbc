// SPDX-License-Identifier: LGPL-2.1-or-later
// check - "virtgate pki check": what is wrong with certificates, or with a connection, and what to do.
#include "ctl/pki/check.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "ctl/files.h"
#include "ctl/pki/facts.h"
#include "ctl/pki/places.h"
#include "ctl/pki/store.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::pki {

namespace {

// %XX of a URI; what is no such escape stays.
std::string unescape(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto digit = [&](std::size_t at) {
            return at < text.size()
                       ? std::string_view{"0123456789abcdef"}.find(static_cast<char>(text[at] | 0x20))
                       : std::string_view::npos;
        };
        if (text[i] == '%' && digit(i + 1) != std::string_view::npos &&
            digit(i + 2) != std::string_view::npos) {
            plain += static_cast<char>(digit(i + 1) * 16 + digit(i + 2));
            i += 2;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

bool is_port(std::string_view text) {
    return !text.empty() && text.size() <= 5 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
           std::stoi(std::string{text}) >= 1 && std::stoi(std::string{text}) <= 65535;
}

// Reads certificate and key, and reports what is wrong with them. False if a connection with them has no
// sense.
bool examine_files(Report& report, const Files& files, Kind kind, const Trust& trust, std::time_t now,
                   Identity& identity) {
    identity.path = files.certificate;
    identity.chain = read_chain(report, files.certificate);
    if (identity.chain.empty()) return false;
    const Exhibit exhibit{files.certificate, false, kind};
    examine_chain(report, exhibit, identity.chain, now);
    examine_trust(report, exhibit, identity.chain, trust);
    if (files.key.empty()) return false;
    examine_key(report, files.key, files.certificate, identity.chain.front());
    if (const Result<std::string> text = read_file(files.key))
        if (Result<Key> key = import_key(*text)) identity.key = std::move(*key);
    return identity.key && belong_together(identity.key, identity.chain.front().get());
}

// Whether a certificate is for a server, by what it says.
Kind guess_kind(const std::string& path) {
    const Result<std::string> text = read_file(path);
    if (text)
        if (const Result<Certificate> certificate = import_certificate(*text)) {
            const std::vector<std::string> purposes = read_facts(certificate->get()).extended_usage.purposes;
            const auto has = [&](const char* oid) {
                return std::find(purposes.begin(), purposes.end(), oid) != purposes.end();
            };
            if (has(GNUTLS_KP_TLS_WWW_CLIENT)) return Kind::client;
            if (has(GNUTLS_KP_TLS_WWW_SERVER)) return Kind::server;
        }
    return path.ends_with(certificate_file(Kind::server)) ? Kind::server : Kind::client;
}

// Every bundle of a store.
Done check_store(Report& report, const std::string& directory, std::time_t now) {
    const Result<Store> store = Store::open(directory, Access::read);
    if (!store) return tl::make_unexpected(store.error());
    Trust trust;
    read_trust(report, store->authority_path(), store->crl_path(), true, now, trust);
    if (!trust.authorities.empty() && exists(store->authority_key_path()))
        examine_key(report, store->authority_key_path(), store->authority_path(), trust.authorities.front());
    const auto bundles = store->bundles();
    if (!bundles) return tl::make_unexpected(bundles.error());
    for (const auto& [kind, path] : *bundles) {
        Identity unused;
        examine_files(report, files_in(path, kind), kind, trust, now, unused);
    }
    return {};
}

// libvirt's standard places, as far as anything is there. Whether there was.
bool check_libvirt(Report& report, std::time_t now) {
    bool found = false;
    for (const Kind kind : k_kinds) {
        const Files files = libvirt_files(kind);
        if (!exists(files.certificate)) continue;
        Trust trust;
        Report twice;  // the same authority may be there for both kinds
        read_trust(found ? twice : report, files.ca, files.crl, false, now, trust);
        found = true;
        Identity unused;
        examine_files(report, files, kind, trust, now, unused);
    }
    return found;
}

// What was given comes first, then the directory that was given, then libvirt's places.
Files choose_files(const CheckOptions& options, const std::string& pkipath, Kind kind) {
    Files files = pkipath.empty() ? libvirt_files(kind) : files_in(pkipath, kind);
    if (!options.ca.empty()) files.ca = options.ca;
    if (!options.certificate.empty()) {
        files.certificate = options.certificate;
        files.key = options.key;
    }
    if (!options.crl.empty())
        files.crl = options.crl;
    else if (!options.ca.empty())
        files.crl.clear();  // the list in the usual place is another authority's
    return files;
}

void check_peer(Report& report, const CheckOptions& options, const Peer& peer, std::time_t now) {
    const Files files =
        choose_files(options, options.pkipath.empty() ? peer.pkipath : options.pkipath, Kind::client);
    Trust trust;
    read_trust(report, files.ca, files.crl, !options.crl.empty(), now, trust);
    Identity identity;
    // Without one libvirt's client shows none, and a server may accept it (for a password).
    if (exists(files.certificate) || !options.certificate.empty()) {
        if (!examine_files(report, files, Kind::client, trust, now, identity)) identity.chain.clear();
    } else {
        report.warn(
            "no_certificate", files.certificate, "there is no certificate of a client to show",
            "\"virtgate pki client NAME\" makes one, \"virtgate pki export NAME\" packs it; or name one "
            "with --pkipath or --certificate.");
    }
    Target target;
    target.host = peer.host;
    if (!peer.port.empty()) target.port = peer.port;
    target.name = options.name.empty() ? peer.host : options.name;
    if (!options.priority.empty()) target.priority = options.priority;
    target.patience = options.patience;
    probe(report, target, trust, identity, now);
}

// Files that were named on the command line.
void check_given(Report& report, const CheckOptions& options, std::time_t now) {
    const bool has_server_file =
        !options.pkipath.empty() && exists(files_in(options.pkipath, Kind::server).certificate);
    const Kind kind = !options.certificate.empty() ? guess_kind(options.certificate)
                      : has_server_file            ? Kind::server
                                                   : Kind::client;
    const Files files = choose_files(options, options.pkipath, kind);
    Trust trust;
    read_trust(report, files.ca, files.crl, !options.crl.empty(), now, trust);
    if (options.certificate.empty() && options.pkipath.empty()) return;
    Identity identity;
    examine_files(report, files, kind, trust, now, identity);
    if (!options.name.empty() && !identity.chain.empty())
        examine_name(report, {files.certificate, false, kind}, identity.chain.front(), options.name);
}

}  // namespace

Result<Peer> parse_peer(const std::string& word) {
    const auto refuse = [&](const char* why) {
        return system_fault(0, fmt::format("\"{}\": {}", escape(word), why));
    };
    Peer peer;
    std::string_view rest{word};
    if (const std::size_t scheme = rest.find("://"); scheme != std::string_view::npos) {
        const std::string_view uri = rest.substr(scheme + 3);
        const std::size_t query = uri.find('?');
        rest = uri.substr(0, std::min(uri.find('/'), query));
        if (const std::size_t user = rest.rfind('@'); user != std::string_view::npos)
            rest.remove_prefix(user + 1);
        std::string_view words = query == std::string_view::npos ? std::string_view{} : uri.substr(query + 1);
        words = words.substr(0, words.find('#'));
        while (!words.empty()) {
            const std::size_t end = std::min(words.find_first_of("&;"), words.size());
            const std::string_view one = words.substr(0, end);
            if (one.starts_with("pkipath=")) peer.pkipath = unescape(one.substr(one.find('=') + 1));
            words.remove_prefix(std::min(end + 1, words.size()));
        }
        if (rest.empty()) return refuse("this URI names no host: it is for this machine, and without TLS");
    }
    std::string_view port;
    if (rest.starts_with('[')) {
        const std::size_t end = rest.find(']');
        if (end == std::string_view::npos) return refuse("a bracket is open");
        peer.host = rest.substr(1, end - 1);
        port = rest.substr(end + 1);
    } else if (std::count(rest.begin(), rest.end(), ':') == 1) {
        peer.host = rest.substr(0, rest.find(':'));
        port = rest.substr(rest.find(':'));
    } else {
        peer.host = rest;  // with many colons it is an address of IPv6
    }
    if (peer.host.empty()) return refuse("there is no host");
    if (port.empty()) return peer;
    if (port.front() != ':' || !is_port(port.substr(1)))
        return refuse("the port is no number from 1 to 65535");
    peer.port = port.substr(1);
    return peer;
}

Result<Report> check(const CheckOptions& options, std::time_t now) {
    Report report;
    if (!options.peer.empty()) {
        const Result<Peer> peer = parse_peer(options.peer);
        if (!peer) return tl::make_unexpected(peer.error());
        check_peer(report, options, *peer, now);
        return report;
    }
    if (!options.ca.empty() || !options.certificate.empty() || !options.pkipath.empty()) {
        check_given(report, options, now);
        return report;
    }
    const std::string directory = options.directory.empty() ? default_directory() : options.directory;
    bool found = false;
    if (!options.directory.empty() || exists(directory + "/ca")) {
        if (Done done = check_store(report, directory, now); !done) return tl::make_unexpected(done.error());
        found = true;
    }
    if (options.directory.empty() && check_libvirt(report, now)) found = true;
    if (found) return report;
    return system_fault(0, fmt::format("there is nothing to check: no authority in {}, and no certificate in "
                                       "libvirt's places ({}, {})",
                                       directory, libvirt_files(Kind::server).certificate,
                                       libvirt_files(Kind::client).certificate));
}

}  // namespace virtgate::ctl::pki
