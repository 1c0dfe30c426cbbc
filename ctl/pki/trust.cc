// SPDX-License-Identifier: LGPL-2.1-or-later
// trust - the other half of examine: whether a chain leads to an authority that is trusted, and if not, why.
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "ctl/files.h"
#include "ctl/pki/examine.h"
#include "ctl/pki/facts.h"
#include "ctl/pki/lifetime.h"

namespace virtgate::ctl::pki {

namespace {


// Does not own what is in it.
struct FreeList {
    void operator()(gnutls_x509_trust_list_st* list) const noexcept {
        gnutls_x509_trust_list_deinit(list, 0);
    }
};
using TrustList = std::unique_ptr<gnutls_x509_trust_list_st, FreeList>;

// The bytes of a subject or issuer: what is compared, not how it looks.
std::string raw_name(gnutls_x509_crt_t certificate, int (*get)(gnutls_x509_crt_t, gnutls_datum_t*)) {
    gnutls_datum_t datum{};
    if (get(certificate, &datum) < 0) return {};
    std::string name{static_cast<const char*>(static_cast<const void*>(datum.data)), datum.size};
    gnutls_free(datum.data);
    return name;
}
std::string raw_subject(const Certificate& c) { return raw_name(c.get(), gnutls_x509_crt_get_raw_dn); }
std::string raw_issuer(const Certificate& c) { return raw_name(c.get(), gnutls_x509_crt_get_raw_issuer_dn); }

// Whether `issuer` has the name that `certificate` gives for its issuer, and its signature.
bool has_signed(const Certificate& issuer, const Certificate& certificate) {
    gnutls_x509_crt_t signer = issuer.get();
    unsigned flaws = 0;
    return raw_subject(issuer) == raw_issuer(certificate) &&
           gnutls_x509_crt_verify(certificate.get(), &signer, 1,
                                  GNUTLS_VERIFY_DISABLE_TIME_CHECKS | GNUTLS_VERIFY_DISABLE_CA_SIGN,
                                  &flaws) == 0 &&
           (flaws & (GNUTLS_CERT_SIGNATURE_FAILURE | GNUTLS_CERT_SIGNER_NOT_FOUND)) == 0;
}

const Certificate* find_issuer(const Certificate& certificate, const std::vector<Certificate>& among) {
    const auto found = std::find_if(among.begin(), among.end(), [&](const Certificate& candidate) {
        return candidate.get() != certificate.get() && has_signed(candidate, certificate);
    });
    return found == among.end() ? nullptr : &*found;
}

// The last certificate on the way from the leaf upwards that the chain itself gives.
const Certificate& find_top(const std::vector<Certificate>& chain) {
    const Certificate* top = &chain.front();
    for (std::size_t steps = 0; steps < chain.size(); ++steps) {
        const Certificate* next = find_issuer(*top, chain);
        if (next == nullptr) break;
        top = next;
    }
    return *top;
}

std::string say_authorities(const Trust& trust) {
    std::vector<std::string> subjects;
    for (const Certificate& authority : trust.authorities)
        subjects.push_back(read_facts(authority.get()).subject);
    return fmt::format("{}", fmt::join(subjects, "; "));
}

// Nobody whom the CA file names has signed the chain: which of the usual reasons is it?
void explain_unknown(Report& report, const Exhibit& exhibit, const std::vector<Certificate>& chain,
                     const Trust& trust) {
    const Certificate& top = find_top(chain);
    const Facts facts = read_facts(top.get());
    const std::string theirs =
        exhibit.of_peer
            ? "Get the cacert.pem that belongs to the server, or give the server a certificate of "
              "the authority in " +
                  trust.path + "."
            : "Put the cacert.pem of that authority into " + trust.path +
                  ", or have the certificate issued by the authority there.";
    if (raw_subject(top) == raw_issuer(top)) {
        if (&top == &chain.front())
            return report.refuse(
                "self_signed", exhibit.where,
                fmt::format("the certificate ({}) is signed by itself, not by an authority", facts.subject),
                "Issue one with \"virtgate pki\"; " + theirs);
        return report.refuse("unknown_issuer", exhibit.where,
                             fmt::format("the chain ends in the authority {}, which is not in {} (there: {})",
                                         facts.subject, trust.path, say_authorities(trust)),
                             theirs);
    }
    const std::string wanted = raw_issuer(top);
    const auto has_name = [&](const Certificate& authority) { return raw_subject(authority) == wanted; };
    if (std::any_of(trust.authorities.begin(), trust.authorities.end(), has_name))
        return report.refuse(
            "same_name_other_key", exhibit.where,
            fmt::format("it was issued by an authority with the name {}, but not with the key of "
                        "the one in {}: the authority was made anew, and this is from before "
                        "or after",
                        facts.issuer, trust.path),
            theirs);
    // An authority of the same organisation probably has a subordinate one.
    const auto is_relative = [&](const Certificate& authority) {
        const std::string organisation = read_facts(authority.get()).organisation;
        return !organisation.empty() && organisation == facts.organisation;
    };
    if (facts.authority || std::any_of(trust.authorities.begin(), trust.authorities.end(), is_relative))
        return report.refuse(
            "intermediate_missing", exhibit.where,
            fmt::format("its issuer {} is neither in {} (there: {}) nor in the chain", facts.issuer,
                        trust.path, say_authorities(trust)),
            fmt::format("If that is an intermediate authority, append its certificate to {}. Otherwise: {}",
                        exhibit.of_peer ? "the server's servercert.pem" : exhibit.where, theirs));
    report.refuse("unknown_issuer", exhibit.where,
                  fmt::format("its issuer {} is not in {} (there: {})", facts.issuer, trust.path,
                              say_authorities(trust)),
                  theirs +
                      " If the issuer is an intermediate authority, its certificate has to follow the "
                      "server's or client's in the same file.");
}

// Verifies with the list only if there is one: a list that has run out is reported by itself.
unsigned verify(const std::vector<Certificate>& chain, const Trust& trust) {
    gnutls_x509_trust_list_t raw = nullptr;
    if (gnutls_x509_trust_list_init(&raw, 0) < 0) return GNUTLS_CERT_INVALID;
    const TrustList list{raw};
    std::vector<gnutls_x509_crt_t> authorities, certificates;
    for (const Certificate& authority : trust.authorities) authorities.push_back(authority.get());
    for (const Certificate& certificate : chain) certificates.push_back(certificate.get());
    gnutls_x509_trust_list_add_cas(raw, authorities.data(), static_cast<unsigned>(authorities.size()), 0);
    gnutls_x509_crl_t crl = trust.crl.get();
    if (crl != nullptr) gnutls_x509_trust_list_add_crls(raw, &crl, 1, 0, 0);
    unsigned status = 0;
    const int outcome = gnutls_x509_trust_list_verify_crt2(
        raw, certificates.data(), static_cast<unsigned>(certificates.size()), nullptr, 0,
        GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status, nullptr);
    return outcome < 0 ? static_cast<unsigned>(GNUTLS_CERT_INVALID) : status;
}

}  // namespace

bool read_trust(Report& report, const std::string& path, const std::string& crl_path, bool has_to,
                std::time_t now, Trust& trust) {
    trust.path = path;
    trust.authorities = read_chain(report, path);
    for (const Certificate& authority : trust.authorities) {
        const Facts facts = read_facts(authority.get());
        const std::string renew =
            "Make a new authority in another directory, and give its cacert.pem to everybody.";
        if (!facts.authority)
            report.refuse("no_authority", path,
                          fmt::format("{} is not the certificate of an authority", facts.subject),
                          "Put the certificate of the authority here, not one that it has issued.");
        else if (now < facts.from || now > facts.until)
            report.refuse(now < facts.from ? "not_yet_valid" : "expired", path,
                          fmt::format("the authority {} {}, on {}", facts.subject,
                                      say_expiry(now, facts.from, facts.until), say_time(facts.until)),
                          renew + fmt::format(" The clock of this machine says {}.", say_time(now)));
        else if (facts.until - now < k_soon)
            report.warn(
                "expires_soon", path,
                fmt::format("the authority {} {}", facts.subject, say_expiry(now, facts.from, facts.until)),
                renew);
        else
            report.good(path, fmt::format("authority {}; {}", facts.subject,
                                          say_expiry(now, facts.from, facts.until)));
    }
    if (crl_path.empty()) return !trust.authorities.empty();
    const Result<std::string> text = read_file(crl_path);
    if (!text && text.error().number == ENOENT && !has_to) return !trust.authorities.empty();
    Result<Crl> crl = text ? import_crl(*text) : Result<Crl>{tl::make_unexpected(text.error())};
    if (!crl) {
        report.refuse(text ? "malformed" : "unreadable", crl_path, crl.error().text,
                      "\"virtgate pki crl\" writes the list of revoked certificates anew.");
        return !trust.authorities.empty();
    }
    trust.crl_path = crl_path;
    trust.crl = std::move(*crl);
    const std::time_t until = gnutls_x509_crl_get_next_update(trust.crl.get());
    const std::string remedy =
        "\"virtgate pki crl\" prolongs it; then it has to be copied to where it is used.";
    if (until != static_cast<std::time_t>(-1) && now > until)
        report.refuse("crl_expired", crl_path,
                      fmt::format("the list of revoked certificates ran out {} ago: with it nobody is let in",
                                  say_span(now - until)),
                      remedy);
    else if (until != static_cast<std::time_t>(-1) && until - now < k_soon)
        report.warn("crl_expires_soon", crl_path,
                    fmt::format("the list of revoked certificates runs out in {}; then nobody is let in",
                                say_span(until - now)),
                    remedy);
    return !trust.authorities.empty();
}

void examine_trust(Report& report, const Exhibit& exhibit, const std::vector<Certificate>& chain,
                   const Trust& trust) {
    if (chain.empty() || trust.authorities.empty()) return;
    const unsigned status = verify(chain, trust);
    if (status == 0) return;
    if ((status & GNUTLS_CERT_REVOKED) != 0)
        report.refuse("revoked", exhibit.where,
                      fmt::format("the certificate ({}) is in the list of revoked certificates {}",
                                  read_facts(chain.front().get()).subject, trust.crl_path),
                      "Issue another.");
    else if ((status & GNUTLS_CERT_INSECURE_ALGORITHM) != 0)
        report.refuse(
            "weak_algorithm", exhibit.where,
            "it, or one above it, is signed with an algorithm or a key that is too weak (such as SHA-1, "
            "or RSA with 1024 bits)",
            "Issue another; what \"virtgate pki\" makes is strong enough.");
    else if ((status & GNUTLS_CERT_SIGNER_NOT_CA) != 0)
        report.refuse(
            "issuer_is_no_authority", exhibit.where,
            fmt::format("its issuer {} has signed it, but is no authority (basicConstraints, keyCertSign)",
                        read_facts(find_top(chain).get()).issuer),
            "Have it issued by an authority, such as \"virtgate pki init\" makes.");
    else if ((status & (GNUTLS_CERT_SIGNER_NOT_FOUND | GNUTLS_CERT_SIGNATURE_FAILURE)) != 0)
        explain_unknown(report, exhibit, chain, trust);
    else
        report.refuse("untrusted", exhibit.where,
                      fmt::format("GnuTLS does not trust it (status {:#x})", status),
                      "\"certtool --verify\" may tell more.");
}

}  // namespace virtgate::ctl::pki
