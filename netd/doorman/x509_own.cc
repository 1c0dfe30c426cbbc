// SPDX-License-Identifier: LGPL-2.1-or-later
// x509_own - look at the server's own certificate before it is used.
#include "netd/doorman/x509_own.h"

#include <array>
#include <ctime>

#include "libshared/base/wall_clock.h"

namespace virtgate::netd::doorman {

namespace {

Done judge_own_dates(const X509Chain& chain) {
    const std::time_t now = std::time(nullptr);
    for (std::size_t i = 0; i < chain.size(); ++i) {
        const char* which = i == 0 ? "it" : "a certificate of its chain";
        const std::time_t begin = gnutls_x509_crt_get_activation_time(chain[i].get());
        const std::time_t end = gnutls_x509_crt_get_expiration_time(chain[i].get());
        if (begin > now)
            return system_fault(
                0, fmt::format("{} is not valid before {}, and {}", which, to_date(begin), judge_clock(now)));
        if (end < now)
            return system_fault(0, fmt::format("{} has expired, on {}: get a new one", which, to_date(end)));
    }
    return {};
}

bool has_name(gnutls_x509_crt_t leaf) {
    std::array<char, 256> name;
    std::size_t size = name.size();
    unsigned type = 0;
    const int alternative =
        gnutls_x509_crt_get_subject_alt_name2(leaf, 0, name.data(), &size, &type, nullptr);
    if (alternative >= 0 || alternative == GNUTLS_E_SHORT_MEMORY_BUFFER) return true;
    size = name.size();
    const int common =
        gnutls_x509_crt_get_dn_by_oid(leaf, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name.data(), &size);
    return common >= 0 || common == GNUTLS_E_SHORT_MEMORY_BUFFER;
}

void look_at_usage(gnutls_x509_crt_t leaf, std::vector<std::string>& warnings) {
    constexpr unsigned k_wanted = GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_KEY_ENCIPHERMENT;
    unsigned usage = 0, critical = 0;
    if (gnutls_x509_crt_get_key_usage(leaf, &usage, &critical) >= 0 && (usage & k_wanted) != k_wanted)
        warnings.emplace_back(
            "its key usage lacks digitalSignature or keyEncipherment: libvirt's clients refuse it");
    for (unsigned i = 0;; ++i) {
        std::array<char, 128> oid;
        std::size_t size = oid.size();
        const int found = gnutls_x509_crt_get_key_purpose_oid(leaf, i, oid.data(), &size, nullptr);
        if (found < 0) {
            if (i != 0) warnings.emplace_back("its purposes lack serverAuth: libvirt's clients refuse it");
            return;
        }
        if (std::string_view(oid.data()) == GNUTLS_KP_TLS_WWW_SERVER) return;
    }
}

}  // namespace

Done judge_own(std::string_view certificates, const Authorities& authorities,
               std::vector<std::string>& warnings) {
    const auto der = all_certificates(certificates);
    if (!der) return tl::unexpected(der.error());
    const auto chain = parse_chain(std::vector<ByteView>(der->begin(), der->end()));
    if (!chain) return system_fault(0, chain.error().text);
    gnutls_x509_crt_t leaf = chain->front().get();
    if (auto done = judge_own_dates(*chain); !done) return done;
    for (std::size_t i = 0; i + 1 < chain->size(); ++i)
        if (gnutls_x509_crt_check_issuer((*chain)[i].get(), (*chain)[i + 1].get()) == 0)
            return system_fault(
                0, fmt::format("certificate {} of the file was not issued by certificate {}", i + 1, i + 2));
    unsigned critical = 0, is_ca = 0;
    int length = 0;
    if (gnutls_x509_crt_get_basic_constraints(leaf, &critical, &is_ca, &length) >= 0 && is_ca != 0)
        return system_fault(0, "it is a CA's certificate, not a server's");
    if (!has_name(leaf))
        return system_fault(0, "it has no name that a client could compare with the server's");
    look_at_usage(leaf, warnings);
    if (const auto done = authorities.reaches(*chain); !done)
        warnings.push_back(
            fmt::format("it does not come from the configured CA ({}): clients that know only that CA "
                        "refuse it",
                        done.error().text));
    return {};
}

}  // namespace virtgate::netd::doorman
