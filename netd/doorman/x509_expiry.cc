// SPDX-License-Identifier: LGPL-2.1-or-later
// x509_expiry - when what is in force ends: certificates, and revocation lists.
#include "netd/doorman/x509_expiry.h"

#include <gnutls/x509.h>

#include "netd/doorman/x509.h"

namespace virtgate::netd::doorman {

namespace {

void take_first(std::time_t& first, std::time_t when) noexcept {
    if (when > 0 && (first == 0 || when < first)) first = when;
}

Result<std::time_t> first_end(std::string_view pem) {
    const auto certificates = all_certificates(pem);
    if (!certificates) return tl::unexpected(certificates.error());
    const auto chain = parse_chain(std::vector<ByteView>(certificates->begin(), certificates->end()));
    if (!chain) return system_fault(0, chain.error().text);
    std::time_t first = 0;
    for (const X509Certificate& one : *chain)
        take_first(first, gnutls_x509_crt_get_expiration_time(one.get()));
    return first;
}

}  // namespace

Result<Expiry> find_expiry(std::string_view certificate, std::string_view authorities,
                           std::string_view revoked) {
    const auto server = first_end(certificate);
    if (!server) return tl::unexpected(server.error());
    const auto ca = first_end(authorities);
    if (!ca) return tl::unexpected(ca.error());
    Expiry expiry{.server = *server, .authorities = *ca, .revoked = 0};
    if (revoked.empty()) return expiry;
    const gnutls_datum_t text = to_datum(revoked);
    gnutls_x509_crl_t* lists = nullptr;
    unsigned count = 0;
    if (const int failed = gnutls_x509_crl_list_import2(&lists, &count, &text, GNUTLS_X509_FMT_PEM, 0);
        failed < 0)
        return system_fault(0, fmt::format("a revocation list cannot be read: {}", gnutls_strerror(failed)));
    for (unsigned i = 0; i < count; ++i) {
        take_first(expiry.revoked, gnutls_x509_crl_get_next_update(lists[i]));
        gnutls_x509_crl_deinit(lists[i]);
    }
    gnutls_free(lists);
    return expiry;
}

}  // namespace virtgate::netd::doorman
