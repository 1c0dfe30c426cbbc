// SPDX-License-Identifier: LGPL-2.1-or-later
// tls_verify - is this certificate the server's that was asked for, and if not, why: in words that help.
#include "libshared/client/tls_verify.h"

#include <fmt/format.h>
#include <gnutls/x509.h>

#include <array>
#include <ctime>
#include <memory>

#include "libshared/base/handle.h"
#include "libshared/base/wall_clock.h"

namespace virtgate::client {

namespace {

using Certificate = std::unique_ptr<gnutls_x509_crt_int, FreeWith<gnutls_x509_crt_deinit>>;

// Names of a certificate that are listed when none fits.
constexpr unsigned k_names_max = 8;

tl::unexpected<Failure> distrust(std::string text) {
    return fail(Cause::untrusted, "the server's certificate " + std::move(text));
}

Certificate read_certificate(const gnutls_datum_t& der) {
    gnutls_x509_crt_t made = nullptr;
    if (gnutls_x509_crt_init(&made) < 0) return nullptr;
    Certificate certificate{made};
    if (gnutls_x509_crt_import(made, &der, GNUTLS_X509_FMT_DER) < 0) return nullptr;
    return certificate;
}

std::string name_of(gnutls_x509_crt_t certificate, bool issuer) {
    gnutls_datum_t text{};
    const int status = issuer ? gnutls_x509_crt_get_issuer_dn2(certificate, &text)
                              : gnutls_x509_crt_get_dn2(certificate, &text);
    if (status < 0) return "(no name)";
    std::string name = escape({reinterpret_cast<const char*>(text.data), text.size});
    gnutls_free(text.data);
    return name;
}

std::string address_text(const std::byte* bytes, std::size_t size) {
    if (size == 4)
        return fmt::format("{}.{}.{}.{}", std::to_integer<int>(bytes[0]), std::to_integer<int>(bytes[1]),
                           std::to_integer<int>(bytes[2]), std::to_integer<int>(bytes[3]));
    return to_hex({bytes, size});
}

// The names that it is for, such as "a.example, 192.0.2.1"; its subject if it has none.
std::string list_names(gnutls_x509_crt_t certificate) {
    std::string list;
    for (unsigned i = 0; i < k_names_max; ++i) {
        std::array<std::byte, 256> name;
        std::size_t size = name.size();
        const int kind = gnutls_x509_crt_get_subject_alt_name(certificate, i, name.data(), &size, nullptr);
        if (kind == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) break;
        if (kind != GNUTLS_SAN_DNSNAME && kind != GNUTLS_SAN_IPADDRESS) continue;
        list += fmt::format("{}{}", list.empty() ? "" : ", ",
                            kind == GNUTLS_SAN_DNSNAME ? escape(as_text({name.data(), size}))
                                                       : address_text(name.data(), size));
    }
    return list.empty() ? name_of(certificate, false) : list;
}

// The reason for the bits that GnuTLS's verification of the chain has set.
std::string explain(unsigned bits, gnutls_x509_crt_t leaf) {
    if ((bits & GNUTLS_CERT_REVOKED) != 0) return "is revoked";
    if ((bits & (GNUTLS_CERT_SIGNER_NOT_FOUND | GNUTLS_CERT_SIGNER_NOT_CA)) != 0)
        return fmt::format("is from an authority that is not known here: {}", name_of(leaf, true));
    if ((bits & GNUTLS_CERT_EXPIRED) != 0) {
        const std::time_t until = gnutls_x509_crt_get_expiration_time(leaf);
        if (until < std::time(nullptr)) return "expired on " + to_date(until);
        return "was issued with a certificate that has expired";
    }
    if ((bits & GNUTLS_CERT_NOT_ACTIVATED) != 0)
        return fmt::format("is not valid before {}, and {}",
                           to_date(gnutls_x509_crt_get_activation_time(leaf)),
                           judge_clock(std::time(nullptr)));
    if ((bits & GNUTLS_CERT_INSECURE_ALGORITHM) != 0) return "is signed with an algorithm that is not safe";
    if ((bits & (GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED | GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE)) != 0)
        return "cannot be judged: the revocation list here is out of date";
    gnutls_datum_t text{};
    if (gnutls_certificate_verification_status_print(bits, GNUTLS_CRT_X509, &text, 0) < 0)
        return "is not valid";
    std::string reason = "is not valid: " + escape({reinterpret_cast<const char*>(text.data), text.size});
    gnutls_free(text.data);
    return reason;
}

// What the certificate says about its own uses. Absent means anything.
Done check_uses(gnutls_x509_crt_t leaf) {
    unsigned critical = 0, usage = 0;
    if (gnutls_x509_crt_get_basic_constraints(leaf, &critical, &usage, nullptr) >= 0 && usage != 0)
        return distrust("is an authority's, not a server's");
    if (gnutls_x509_crt_get_key_usage(leaf, &usage, &critical) >= 0 && critical != 0 &&
        (usage & (GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_KEY_ENCIPHERMENT)) == 0)
        return distrust("is not for signatures");
    bool any = false, server = false, decisive = false;
    for (unsigned i = 0;; ++i) {
        std::array<char, 128> purpose;
        std::size_t size = purpose.size();
        const int status = gnutls_x509_crt_get_key_purpose_oid(leaf, i, purpose.data(), &size, &critical);
        if (status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) break;
        any = true;
        decisive = decisive || critical != 0;
        if (status < 0) continue;  // longer than any that is known
        const std::string_view oid(purpose.data());
        server = server || oid == GNUTLS_KP_TLS_WWW_SERVER || oid == GNUTLS_KP_ANY;
    }
    if (any && decisive && !server) return distrust("is not for servers");
    return {};
}

}  // namespace

Done verify_server(gnutls_session_t session, const std::string& host) {
    unsigned count = 0;
    const gnutls_datum_t* const chain = gnutls_certificate_get_peers(session, &count);
    if (chain == nullptr || count == 0 || gnutls_certificate_type_get(session) != GNUTLS_CRT_X509)
        return fail(Cause::untrusted, "the server has shown no certificate");
    const Certificate leaf = read_certificate(chain[0]);
    if (!leaf) return distrust("cannot be read");
    unsigned bits = 0;
    if (const int status = gnutls_certificate_verify_peers2(session, &bits); status < 0)
        return distrust(fmt::format("cannot be verified: {}", gnutls_strerror(status)));
    if (bits != 0) return distrust(explain(bits, leaf.get()));
    if (auto done = check_uses(leaf.get()); !done) return done;
    if (gnutls_x509_crt_check_hostname(leaf.get(), host.c_str()) == 0)
        return distrust(fmt::format("is for {}, not for {}", list_names(leaf.get()), escape(host)));
    return {};
}

Done check_own_certificate(gnutls_certificate_credentials_t credentials, const std::string& path) {
    gnutls_datum_t der{};
    if (gnutls_certificate_get_crt_raw(credentials, 0, 0, &der) < 0) return {};
    const Certificate ours = read_certificate(der);
    if (!ours) return fail(Cause::invalid, "cannot read the certificate in " + path);
    const std::time_t now = std::time(nullptr);
    if (const std::time_t until = gnutls_x509_crt_get_expiration_time(ours.get()); until < now)
        return fail(Cause::invalid, fmt::format("our certificate {} expired on {}", path, to_date(until)));
    if (const std::time_t from = gnutls_x509_crt_get_activation_time(ours.get()); from > now)
        return fail(Cause::invalid, fmt::format("our certificate {} is not valid before {}, and {}", path,
                                                to_date(from), judge_clock(now)));
    return {};
}

}  // namespace virtgate::client
