// SPDX-License-Identifier: LGPL-2.1-or-later
// facts - what a certificate says, as plain values.
#include "ctl/pki/facts.h"

#include <arpa/inet.h>
#include <fmt/ranges.h>

#include <array>
#include <cstring>

#include "libshared/base/bytes.h"

namespace virtgate::ctl::pki {

namespace {

constexpr std::size_t k_text_max = 1024;
constexpr unsigned k_names_max = 1000;

std::string take_text(gnutls_datum_t& datum) {
    std::string text{static_cast<const char*>(static_cast<const void*>(datum.data)), datum.size};
    gnutls_free(datum.data);
    return text;
}

// `get` is gnutls_x509_crt_get_dn3 or its twin for the issuer. The order is that of the certificate, as in
// libvirt's logs and lists.
std::string read_name(gnutls_x509_crt_t certificate,
                      int (*get)(gnutls_x509_crt_t, gnutls_datum_t*, unsigned)) {
    gnutls_datum_t datum{};
    if (get(certificate, &datum, GNUTLS_X509_DN_FLAG_COMPAT) < 0) return {};
    return escape(take_text(datum), k_text_max);
}

std::string read_part(gnutls_x509_crt_t certificate, const char* oid) {
    std::array<char, k_text_max> text{};
    std::size_t size = text.size();
    if (gnutls_x509_crt_get_dn_by_oid(certificate, oid, 0, 0, text.data(), &size) < 0) return {};
    std::string part{text.data(), size};
    return is_plain_text(part) ? part : std::string{};
}

void read_alternative_names(gnutls_x509_crt_t certificate, Facts& facts) {
    for (unsigned i = 0; i < k_names_max; ++i) {
        std::array<unsigned char, k_text_max> value{};
        std::size_t size = value.size();
        const int kind = gnutls_x509_crt_get_subject_alt_name(certificate, i, value.data(), &size, nullptr);
        if (kind == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) return;
        if (kind < 0 || size > value.size()) continue;
        if (kind == GNUTLS_SAN_DNSNAME) {
            std::string name{as_text(std::as_bytes(std::span{value.data(), size}))};
            if (is_plain_text(name)) facts.dns.push_back(std::move(name));
        } else if (kind == GNUTLS_SAN_IPADDRESS && (size == sizeof(in_addr) || size == sizeof(in6_addr))) {
            std::array<char, INET6_ADDRSTRLEN> text{};
            const int family = size == sizeof(in_addr) ? AF_INET : AF_INET6;
            if (inet_ntop(family, value.data(), text.data(), text.size()) != nullptr)
                facts.addresses.emplace_back(text.data());
        }
    }
}

void read_usages(gnutls_x509_crt_t certificate, Facts& facts) {
    unsigned critical = 0;
    facts.key_usage.present =
        gnutls_x509_crt_get_key_usage(certificate, &facts.key_usage.bits, &critical) >= 0;
    facts.key_usage.critical = critical != 0;
    for (unsigned i = 0; i < k_names_max; ++i) {
        std::array<char, 128> oid{};
        std::size_t size = oid.size();
        critical = 0;
        const int outcome = gnutls_x509_crt_get_key_purpose_oid(certificate, i, oid.data(), &size, &critical);
        if (outcome == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) return;
        facts.extended_usage.present = true;
        facts.extended_usage.critical |= critical != 0;
        if (outcome >= 0) facts.extended_usage.purposes.emplace_back(oid.data());
    }
}

KeyType read_key_type(gnutls_x509_crt_t certificate) {
    switch (gnutls_x509_crt_get_pk_algorithm(certificate, nullptr)) {
        case GNUTLS_PK_ECDSA: return KeyType::ecdsa;
        case GNUTLS_PK_EDDSA_ED25519: return KeyType::ed25519;
        default: return KeyType::rsa;
    }
}

}  // namespace

std::string Facts::say_names() const {
    std::vector<std::string> names;
    for (const auto* list : {&dns, &addresses})
        for (const std::string& name : *list) names.push_back(escape(name));
    // Without alternative names a client looks at the common name.
    if (names.empty() && !common_name.empty()) names.push_back(escape(common_name));
    return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

std::vector<unsigned char> read_serial(gnutls_x509_crt_int* certificate) {
    std::vector<unsigned char> serial(64);
    std::size_t size = serial.size();
    if (gnutls_x509_crt_get_serial(certificate, serial.data(), &size) < 0) size = 0;
    serial.resize(size);
    return serial;
}

Facts read_facts(gnutls_x509_crt_int* certificate) {
    Facts facts;
    facts.subject = read_name(certificate, gnutls_x509_crt_get_dn3);
    facts.issuer = read_name(certificate, gnutls_x509_crt_get_issuer_dn3);
    facts.common_name = read_part(certificate, GNUTLS_OID_X520_COMMON_NAME);
    facts.organisation = read_part(certificate, GNUTLS_OID_X520_ORGANIZATION_NAME);
    read_alternative_names(certificate, facts);
    const std::vector<unsigned char> serial = read_serial(certificate);
    facts.serial = to_hex(std::as_bytes(std::span{serial}));
    facts.from = gnutls_x509_crt_get_activation_time(certificate);
    facts.until = gnutls_x509_crt_get_expiration_time(certificate);
    facts.authority = gnutls_x509_crt_get_ca_status(certificate, nullptr) > 0;
    facts.self_issued = gnutls_x509_crt_check_issuer(certificate, certificate) != 0;
    facts.key_type = read_key_type(certificate);
    read_usages(certificate, facts);
    return facts;
}

}  // namespace virtgate::ctl::pki
