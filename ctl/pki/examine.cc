// SPDX-License-Identifier: LGPL-2.1-or-later
// examine - the rules by which libvirt accepts a certificate: the certificate itself, its name, its key.
#include "ctl/pki/examine.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "ctl/files.h"
#include "ctl/pki/facts.h"
#include "ctl/pki/lifetime.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::pki {

namespace {

// From here on a certificate is worth a warning: time enough to hear of it.
constexpr char k_any_purpose[] = "2.5.29.37.0";

// What has to be done about a certificate, and where.
std::string renew_hint(const Exhibit& exhibit) {
    return fmt::format("{}ave it issued anew (\"virtgate pki renew NAME\" if virtgate pki has issued it).",
                       exhibit.of_peer ? "On the server: h" : "H");
}

std::string reissue_hint(const Exhibit& exhibit) {
    return fmt::format("{}ssue another; those of \"virtgate pki {}\" have what libvirt wants.",
                       exhibit.of_peer ? "On the server: i" : "I", name_of(exhibit.kind));
}

// A clock that is wrong is the usual reason for a certificate that is not valid yet, and a possible one for
// an expired one.
std::string clock_hint(std::time_t now) {
    return fmt::format(" The clock of this machine says {}; if that is wrong, correct it first.",
                       say_time(now));
}

void examine_dates(Report& report, const Exhibit& exhibit, const Facts& facts, std::string_view which,
                   std::time_t now) {
    if (now < facts.from)
        report.refuse(
            "not_yet_valid", exhibit.where,
            fmt::format("{} ({}) is not valid before {}", which, facts.subject, say_time(facts.from)),
            renew_hint(exhibit) + clock_hint(now));
    else if (now > facts.until)
        report.refuse("expired", exhibit.where,
                      fmt::format("{} ({}) expired {} ago, on {}", which, facts.subject,
                                  say_span(now - facts.until), say_time(facts.until)),
                      renew_hint(exhibit) + clock_hint(now));
    else if (facts.until - now < k_soon)
        report.warn("expires_soon", exhibit.where,
                    fmt::format("{} ({}) {}, on {}", which, facts.subject,
                                say_expiry(now, facts.from, facts.until), say_time(facts.until)),
                    renew_hint(exhibit));
}

// A breach of an extension: fatal if that is critical.
void judge_usage(Report& report, const Exhibit& exhibit, const Usage& usage, std::string_view code,
                 const std::string& what) {
    if (usage.critical)
        report.refuse(code, exhibit.where, what, reissue_hint(exhibit));
    else
        report.warn(code, exhibit.where,
                    what + ", in an extension that is not critical: libvirt accepts it and warns",
                    reissue_hint(exhibit));
}

void examine_usage(Report& report, const Exhibit& exhibit, const Facts& facts) {
    if (facts.authority)
        report.refuse(
            "is_authority", exhibit.where,
            fmt::format("the certificate ({}) is that of an authority (basicConstraints CA:TRUE), which "
                        "libvirt does not accept from a {}",
                        facts.subject, name_of(exhibit.kind)),
            reissue_hint(exhibit));
    if (facts.key_usage.present && (facts.key_usage.bits & GNUTLS_KEY_DIGITAL_SIGNATURE) == 0)
        judge_usage(report, exhibit, facts.key_usage, "no_digital_signature",
                    "the key usage of the certificate does not allow digitalSignature");
    if (facts.key_usage.present && (facts.key_usage.bits & GNUTLS_KEY_KEY_ENCIPHERMENT) == 0)
        judge_usage(
            report, exhibit, facts.key_usage, "no_key_encipherment",
            "the key usage of the certificate does not allow keyEncipherment, on which libvirt before "
            "11.6 insists, also for a key that cannot encipher");
    // libvirt takes any purpose that it does not know for all of them.
    const auto fits = [&](const std::string& oid) {
        const bool known = oid == GNUTLS_KP_TLS_WWW_SERVER || oid == GNUTLS_KP_TLS_WWW_CLIENT;
        const char* own = exhibit.kind == Kind::server ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
        return oid == own || (!known && oid != k_any_purpose);
    };
    const std::vector<std::string>& purposes = facts.extended_usage.purposes;
    if (facts.extended_usage.present && std::none_of(purposes.begin(), purposes.end(), fits))
        judge_usage(
            report, exhibit, facts.extended_usage, "wrong_purpose",
            fmt::format("the certificate is not for a {}: its extended key usage lacks {}",
                        name_of(exhibit.kind), exhibit.kind == Kind::server ? "serverAuth" : "clientAuth"));
}

void examine_mode(Report& report, const std::string& path, const struct stat& found) {
    if ((found.st_mode & (S_IRWXO | S_IRWXG)) == 0) return;
    const bool all = (found.st_mode & S_IRWXO) != 0;
    const std::string what = fmt::format("the private key may be used by {} (mode {:04o})",
                                         all ? "everybody on this machine" : "a group",
                                         static_cast<unsigned>(found.st_mode & 07777));
    const std::string remedy = fmt::format(
        "chmod 600 {}{}", path,
        all ? "; whoever has read it can pass himself off as its owner: consider a new key." : "");
    if (all)
        report.refuse("key_permissions", path, what, remedy);
    else
        report.warn("key_permissions", path, what, remedy);
}

}  // namespace

std::vector<Certificate> read_chain(Report& report, const std::string& path) {
    const Result<std::string> text = read_file(path);
    if (!text) {
        const bool missing = text.error().number == ENOENT;
        report.refuse(missing ? "missing" : "unreadable", path, text.error().text,
                      missing ? "Is the path right? \"virtgate pki\" makes certificates."
                              : "The user who runs this has to be allowed to read it.");
        return {};
    }
    Result<std::vector<Certificate>> chain = import_certificates(*text);
    if (chain && !chain->empty()) return std::move(*chain);
    report.refuse("malformed", path, chain ? "there is no certificate in it" : chain.error().text,
                  text->find("PRIVATE KEY") != std::string::npos
                      ? "It has a private key: are the two files swapped?"
                      : "It has to be in PEM form, with a line \"-----BEGIN CERTIFICATE-----\".");
    return {};
}

void examine_chain(Report& report, const Exhibit& exhibit, const std::vector<Certificate>& chain,
                   std::time_t now) {
    if (chain.empty()) return;
    const std::size_t before = report.count(Level::problem) + report.count(Level::warning);
    const Facts leaf = read_facts(chain.front().get());
    examine_dates(report, exhibit, leaf, "the certificate", now);
    for (std::size_t i = 1; i < chain.size(); ++i)
        examine_dates(report, exhibit, read_facts(chain[i].get()), "the intermediate certificate", now);
    examine_usage(report, exhibit, leaf);
    if (before == report.count(Level::problem) + report.count(Level::warning))
        report.good(exhibit.where,
                    fmt::format("{}{}; {}", leaf.subject,
                                exhibit.kind == Kind::server ? fmt::format(", for {}", leaf.say_names()) : "",
                                say_expiry(now, leaf.from, leaf.until)));
}

void examine_name(Report& report, const Exhibit& exhibit, const Certificate& leaf, const std::string& name) {
    if (gnutls_x509_crt_check_hostname2(leaf.get(), name.c_str(), 0) != 0) return;
    const std::string names = read_facts(leaf.get()).say_names();
    report.refuse(
        "name_mismatch", exhibit.where,
        fmt::format("the certificate is not for \"{}\"; its names: {}", escape(name), names),
        fmt::format(
            "Use one of these names in the URI, or {}issue another with \"virtgate pki server\" for all "
            "names and addresses under which clients reach the server.",
            exhibit.of_peer ? "on the server " : ""));
}

void examine_key(Report& report, const std::string& path, const std::string& certificate_path,
                 const Certificate& leaf) {
    struct stat found {};
    if (stat(path.c_str(), &found) < 0) {
        const int number = errno;
        report.refuse(number == ENOENT ? "missing" : "unreadable", path,
                      fmt::format("cannot find the private key: {}", std::strerror(number)),
                      number == EACCES
                          ? "A directory above it cannot be searched by this user."
                          : "Is the path right? A key cannot be made for a certificate afterwards.");
        return;
    }
    examine_mode(report, path, found);
    const Result<std::string> text = read_file(path);
    if (!text) {
        report.refuse("unreadable", path, text.error().text,
                      text.error().number == EACCES
                          ? "It belongs to another user: run this as that user, or chown the file."
                          : "It has to be a file with a private key.");
        return;
    }
    const Result<Key> key = import_key(*text);
    if (!key)
        report.refuse("malformed", path, key.error().text,
                      text->find("ENCRYPTED") != std::string::npos
                          ? "libvirt and virtgate cannot ask for a password: \"openssl pkey\" takes it away."
                          : "It has to be in PEM form; are the files of certificate and key swapped?");
    else if (!belong_together(*key, leaf.get()))
        report.refuse(
            "key_mismatch", path,
            fmt::format("the private key does not belong to the certificate in {}", certificate_path),
            "One of the two files is from another time or machine: bring back the one that belongs to "
            "the other, or issue a new pair.");
}

}  // namespace virtgate::ctl::pki
