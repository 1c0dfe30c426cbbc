// SPDX-License-Identifier: LGPL-2.1-or-later
// x509 - judge a client's certificate chain.
#include "netd/doorman/x509.h"

#include <gnutls/crypto.h>

#include <algorithm>
#include <array>
#include <ctime>

namespace virtgate::netd::doorman {

namespace {

// What libvirt's servers run with by default: RSA and DH from 1024 bits on, no MD5, no SHA-1.
constexpr unsigned k_verify_flags = GNUTLS_PROFILE_TO_VFLAGS(GNUTLS_PROFILE_LOW);

tl::unexpected<Error> gnutls_fault(int code, std::string_view what) {
    return system_fault(0, fmt::format("{}: {}", what, gnutls_strerror(code)));
}

// GnuTLS's sentence for a verification status, without its final full stop.
std::string to_text(unsigned status) {
    gnutls_datum_t text{nullptr, 0};
    if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) < 0)
        return fmt::format("verification status {:#x}", status);
    std::string result(reinterpret_cast<const char*>(text.data), text.size);
    gnutls_free(text.data);
    while (!result.empty() && (result.back() == ' ' || result.back() == '.')) result.pop_back();
    return result;
}

// Frees an array that GnuTLS made, but not what its elements point to.
struct FreeArray {
    void operator()(void* array) const noexcept { gnutls_free(array); }
};

using proto::who::CertificateId;

// An issuer's name and a serial number, as both certificates and revocation lists have them.
Result<CertificateId> make_id(const gnutls_datum_t& issuer, ByteView serial) {
    CertificateId id;
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, issuer.data, issuer.size, id.issuer.data()) < 0)
        return system_fault(0, "cannot hash a name");
    std::string digits;
    for (const std::byte byte : serial) digits += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
    id.serial = digits.substr(std::min(digits.find_first_not_of('0'), digits.size()));
    return id;
}

// Every entry of `list`.
Done read_entries(gnutls_x509_crl_t list, std::vector<CertificateId>& to) {
    gnutls_datum_t issuer{nullptr, 0};
    if (gnutls_x509_crl_get_raw_issuer_dn(list, &issuer) < 0)
        return system_fault(0, "the issuer of a revocation list cannot be read");
    const std::unique_ptr<unsigned char, FreeArray> owned(issuer.data);
    gnutls_x509_crl_iter_t raw = nullptr;
    Done done{};
    for (;;) {
        std::array<std::byte, 64> serial;
        std::size_t size = serial.size();
        std::time_t when = 0;
        const int code = gnutls_x509_crl_iter_crt_serial(
            list, &raw, reinterpret_cast<unsigned char*>(serial.data()), &size, &when);
        if (code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) break;
        if (code < 0) {
            done = gnutls_fault(code, "an entry of a revocation list cannot be read");
            break;
        }
        auto id = make_id(issuer, ByteView(serial).first(size));
        if (!id) {
            done = tl::unexpected(id.error());
            break;
        }
        to.push_back(std::move(*id));
    }
    gnutls_x509_crl_iter_deinit(raw);
    return done;
}

// Adds the revocation lists of the PEM text to `list`, if each is signed by one of `authorities`.
Done add_revoked(gnutls_x509_trust_list_t list, std::span<const gnutls_x509_crt_t> authorities,
                 std::string_view revoked, std::vector<CertificateId>& entries) {
    // An old list still says who is revoked, so its dates do not matter; a list of somebody else would say
    // nothing.
    constexpr unsigned k_harmless = GNUTLS_CERT_INVALID | GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED;
    unsigned count = 0;
    gnutls_x509_crl_t* lists = nullptr;
    const gnutls_datum_t input = to_datum(revoked);
    if (const int code = gnutls_x509_crl_list_import2(&lists, &count, &input, GNUTLS_X509_FMT_PEM, 0);
        code < 0)
        return gnutls_fault(code, "the revocation lists cannot be read");
    const std::unique_ptr<gnutls_x509_crl_t, FreeArray> array(lists);
    bool good = true;
    Done readable{};
    for (const gnutls_x509_crl_t one : std::span(lists, count)) {
        unsigned status = 0;
        const int code = gnutls_x509_crl_verify(one, authorities.data(),
                                                static_cast<unsigned>(authorities.size()), 0, &status);
        const bool is_old_only =
            (status & ~k_harmless) == 0 && (status & GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED) != 0;
        good = good && code >= 0 && (status == 0 || is_old_only);
        if (readable) readable = read_entries(one, entries);
    }
    // It takes the lists in any case.
    const int added = gnutls_x509_trust_list_add_crls(list, lists, count, 0, 0);
    if (!good || added < 0 || static_cast<unsigned>(added) != count)
        return system_fault(0, "a revocation list is not signed by any of the CAs");
    return readable;
}

Done judge_dates(const X509Chain& chain) {
    const std::time_t now = std::time(nullptr);
    for (const X509Certificate& certificate : chain) {
        const std::time_t begin = gnutls_x509_crt_get_activation_time(certificate.get());
        const std::time_t end = gnutls_x509_crt_get_expiration_time(certificate.get());
        if (begin == -1 || end == -1) return peer_fault("a certificate has unreadable dates");
        if (begin > now) return peer_fault("a certificate is not valid yet");
        if (end < now) return peer_fault("a certificate has expired");
    }
    return {};
}

Done judge_constraints(gnutls_x509_crt_t leaf) {
    unsigned critical = 0, is_ca = 0;
    int length = 0;
    const int found = gnutls_x509_crt_get_basic_constraints(leaf, &critical, &is_ca, &length);
    if (found < 0 && found != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
        return peer_fault("the certificate has unreadable basic constraints");
    if (found >= 0 && is_ca != 0) return peer_fault("the certificate is a CA's, not a client's");
    return {};
}

Done judge_usage(gnutls_x509_crt_t leaf, std::vector<std::string>& warnings) {
    unsigned usage = 0, critical = 0;
    const int found = gnutls_x509_crt_get_key_usage(leaf, &usage, &critical);
    if (found == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) return {};
    if (found < 0) return peer_fault("the certificate has an unreadable key usage");
    // libvirt also wants keyEncipherment. TLS 1.3 encrypts nothing with a certificate's key, so that is not
    // asked.
    if ((usage & GNUTLS_KEY_DIGITAL_SIGNATURE) != 0) return {};
    if (critical != 0) return peer_fault("the certificate's key usage does not allow digital signatures");
    warnings.emplace_back("its key usage does not allow digital signatures, but is not critical");
    return {};
}

Done judge_purpose(gnutls_x509_crt_t leaf, std::vector<std::string>& warnings) {
    bool any_critical = false;
    for (unsigned i = 0;; ++i) {
        char oid[128];
        std::size_t size = sizeof oid;
        unsigned critical = 0;
        const int found = gnutls_x509_crt_get_key_purpose_oid(leaf, i, oid, &size, &critical);
        if (found == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
            if (i == 0) return {};
            if (any_critical) return peer_fault("the certificate's purpose is not that of a TLS client");
            warnings.emplace_back("its purpose is not that of a TLS client, but is not critical");
            return {};
        }
        if (found < 0) return peer_fault("the certificate has an unreadable key purpose");
        if (std::string_view(oid) == GNUTLS_KP_TLS_WWW_CLIENT) return {};
        any_critical = any_critical || critical != 0;
    }
}

}  // namespace

gnutls_datum_t to_datum(ByteView bytes) noexcept {
    // GnuTLS does not write through the pointers of const datums.
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
    return {data, static_cast<unsigned>(bytes.size())};
}

gnutls_datum_t to_datum(std::string_view text) noexcept { return to_datum(as_bytes(text)); }

Result<X509Chain> parse_chain(const std::vector<ByteView>& chain) {
    X509Chain result;
    for (const ByteView der : chain) {
        gnutls_x509_crt_t certificate = nullptr;
        if (const int code = gnutls_x509_crt_init(&certificate); code < 0)
            return gnutls_fault(code, "cannot make a certificate object");
        result.emplace_back(certificate);
        const gnutls_datum_t datum = to_datum(der);
        if (const int code = gnutls_x509_crt_import(certificate, &datum, GNUTLS_X509_FMT_DER); code < 0)
            return peer_fault(fmt::format("a certificate cannot be parsed: {}", gnutls_strerror(code)));
    }
    return result;
}

Result<std::vector<ByteVector>> all_certificates(std::string_view pem) {
    gnutls_x509_crt_t* list = nullptr;
    unsigned count = 0;
    const gnutls_datum_t input = to_datum(pem);
    if (const int code = gnutls_x509_crt_list_import2(&list, &count, &input, GNUTLS_X509_FMT_PEM, 0);
        code < 0)
        return gnutls_fault(code, "the server's certificate cannot be read");
    const std::unique_ptr<gnutls_x509_crt_t, FreeArray> array(list);
    std::vector<X509Certificate> certificates;
    for (const gnutls_x509_crt_t one : std::span(list, count)) certificates.emplace_back(one);
    std::vector<ByteVector> result;
    for (const X509Certificate& one : certificates) {
        gnutls_datum_t der{nullptr, 0};
        if (const int code = gnutls_x509_crt_export2(one.get(), GNUTLS_X509_FMT_DER, &der); code < 0)
            return gnutls_fault(code, "the server's certificate cannot be read");
        const ByteView bytes = std::as_bytes(std::span(der.data, der.size));
        result.emplace_back(bytes.begin(), bytes.end());
        gnutls_free(der.data);
    }
    return result;
}

Result<CertificateId> identify(gnutls_x509_crt_t certificate) {
    gnutls_datum_t issuer{nullptr, 0};
    std::array<std::byte, 64> serial;
    std::size_t size = serial.size();
    if (gnutls_x509_crt_get_raw_issuer_dn(certificate, &issuer) < 0)
        return peer_fault("a certificate's issuer cannot be read");
    const std::unique_ptr<unsigned char, FreeArray> owned(issuer.data);
    if (gnutls_x509_crt_get_serial(certificate, serial.data(), &size) < 0)
        return peer_fault("a certificate's serial number cannot be read");
    return make_id(issuer, ByteView(serial).first(size));
}

Result<Authorities> Authorities::load(std::string_view certificates, std::string_view revoked) {
    gnutls_x509_trust_list_t raw = nullptr;
    if (const int code = gnutls_x509_trust_list_init(&raw, 0); code < 0)
        return gnutls_fault(code, "cannot make a list of authorities");
    List list(raw);
    unsigned count = 0;
    gnutls_x509_crt_t* authorities = nullptr;
    const gnutls_datum_t input = to_datum(certificates);
    int code = gnutls_x509_crt_list_import2(&authorities, &count, &input, GNUTLS_X509_FMT_PEM, 0);
    if (code < 0) return gnutls_fault(code, "the CA certificates cannot be read");
    // It takes the certificates; the array stays ours.
    const std::unique_ptr<gnutls_x509_crt_t, FreeArray> array(authorities);
    code = gnutls_x509_trust_list_add_cas(raw, authorities, count, 0);
    if (code < 0 || static_cast<unsigned>(code) != count)
        return gnutls_fault(code, "the CA certificates cannot be used");
    std::vector<CertificateId> entries;
    if (!revoked.empty())
        if (auto done = add_revoked(raw, {authorities, count}, revoked, entries); !done)
            return tl::unexpected(done.error());
    return Authorities(std::move(list), std::move(entries));
}

Done Authorities::judge(const X509Chain& chain, std::vector<std::string>& warnings) const {
    require(!chain.empty(), "an empty chain is judged");
    std::vector<gnutls_x509_crt_t> raw;
    for (const X509Certificate& certificate : chain) raw.push_back(certificate.get());
    // Dates first: their message is the clearest one.
    if (auto done = judge_dates(chain); !done) return done;
    unsigned status = 0;
    const int code =
        gnutls_x509_trust_list_verify_crt2(list_.get(), raw.data(), static_cast<unsigned>(raw.size()),
                                           nullptr, 0, k_verify_flags, &status, nullptr);
    if (code < 0) return peer_fault(fmt::format("the chain cannot be verified: {}", gnutls_strerror(code)));
    if (status != 0) return peer_fault(to_text(status));
    if (auto done = judge_constraints(raw.front()); !done) return done;
    if (auto done = judge_usage(raw.front(), warnings); !done) return done;
    return judge_purpose(raw.front(), warnings);
}

Done Authorities::reaches(const X509Chain& chain) const {
    std::vector<gnutls_x509_crt_t> raw;
    for (const X509Certificate& certificate : chain) raw.push_back(certificate.get());
    unsigned status = 0;
    const int code =
        gnutls_x509_trust_list_verify_crt2(list_.get(), raw.data(), static_cast<unsigned>(raw.size()),
                                           nullptr, 0, k_verify_flags, &status, nullptr);
    if (code < 0) return system_fault(0, gnutls_strerror(code));
    return status == 0 ? Done{} : system_fault(0, to_text(status));
}

}  // namespace virtgate::netd::doorman
