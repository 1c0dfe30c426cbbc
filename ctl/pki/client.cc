// SPDX-License-Identifier: LGPL-2.1-or-later
// client - what a client's certificate says, as the policy is told of it.
#include "ctl/pki/client.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "ctl/files.h"
#include "ctl/pki/certificate.h"
#include "ctl/pki/facts.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::pki {

namespace {

using proto::who::AlternativeName;
using proto::who::AlternativeNameKind;
using proto::who::NamePart;

// How the characters of ASN.1's string types are stored (X.680), by the tag of the type.
struct StringType {
    unsigned long tag;
    std::size_t width;  // bytes of a character; 0: UTF-8
};
constexpr std::array k_string_types{
    StringType{12, 0},  // UTF8String
    StringType{18, 1},  // NumericString
    StringType{19, 1},  // PrintableString
    StringType{20, 1},  // TeletexString: nobody agrees on more of it than ASCII
    StringType{22, 1},  // IA5String
    StringType{26, 1},  // VisibleString
    StringType{28, 4},  // UniversalString
    StringType{30, 2},  // BMPString
};

void append_utf8(std::string& to, std::uint32_t c) {
    if (c < 0x80) {
        to += static_cast<char>(c);
        return;
    }
    const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    constexpr std::array<unsigned, 4> k_first{0, 0xc0, 0xe0, 0xf0};
    to += static_cast<char>(k_first[static_cast<std::size_t>(more)] | c >> 6 * more);
    for (int i = more - 1; i >= 0; --i) to += static_cast<char>(0x80 | (c >> 6 * i & 0x3f));
}

// The text of an ASN.1 string; none if it is of another type, or no text that its type allows.
std::optional<std::string> decode(unsigned long tag, std::string_view raw) {
    const auto* type = std::find_if(k_string_types.begin(), k_string_types.end(),
                                    [&](const StringType& each) { return each.tag == tag; });
    if (type == k_string_types.end()) return std::nullopt;
    if (type->width == 0) return std::string(raw);
    if (raw.size() % type->width != 0) return std::nullopt;
    std::string text;
    for (std::size_t at = 0; at < raw.size(); at += type->width) {
        std::uint32_t c = 0;
        for (std::size_t i = 0; i < type->width; ++i) c = c << 8 | static_cast<unsigned char>(raw[at + i]);
        const bool is_surrogate = c >= 0xd800 && c <= 0xdfff;
        if (c >= (type->width == 1 ? 0x80U : 0x110000U) || is_surrogate) return std::nullopt;
        append_utf8(text, c);
    }
    return text;
}

bool is_good(std::string_view value) noexcept {
    return value.size() <= proto::who::k_text_max && is_plain_text(value);
}

std::string_view view(const gnutls_datum_t& datum) noexcept {
    return as_text(std::as_bytes(std::span(datum.data, datum.size)));
}

Result<NamePart> read_part(const gnutls_x509_ava_st& ava) {
    const std::string oid(view(ava.oid).substr(0, view(ava.oid).find('\0')));
    const char* name = gnutls_x509_dn_oid_name(oid.c_str(), GNUTLS_X509_DN_OID_RETURN_OID);
    const std::string attribute = name != nullptr ? name : oid;
    auto value = decode(ava.value_tag, view(ava.value));
    if (!is_good(attribute) || !value || !is_good(*value))
        return peer_fault(fmt::format("{}=\"{}\" is not plain text: doorman refuses such a certificate",
                                      escape(attribute, 64), escape(view(ava.value), 128)));
    return NamePart{attribute, std::move(*value)};
}

Result<std::vector<NamePart>> read_parts(gnutls_x509_dn_t name) {
    std::vector<NamePart> parts;
    for (int rdn = 0;; ++rdn)
        for (int i = 0;; ++i) {
            gnutls_x509_ava_st ava{};
            const int code = gnutls_x509_dn_get_rdn_ava(name, rdn, i, &ava);
            if (code == GNUTLS_E_ASN1_ELEMENT_NOT_FOUND && i == 0) return parts;
            if (code == GNUTLS_E_ASN1_ELEMENT_NOT_FOUND) break;
            if (code < 0) return peer_fault(fmt::format("a name cannot be read: {}", gnutls_strerror(code)));
            if (parts.size() == proto::who::k_name_parts_max) return peer_fault("a name has too many parts");
            auto part = read_part(ava);
            if (!part) return tl::unexpected(part.error());
            parts.push_back(std::move(*part));
        }
}

std::optional<AlternativeNameKind> kind_of(unsigned type) noexcept {
    switch (type) {
        case GNUTLS_SAN_DNSNAME: return AlternativeNameKind::name_dns;
        case GNUTLS_SAN_URI: return AlternativeNameKind::name_uri;
        case GNUTLS_SAN_RFC822NAME: return AlternativeNameKind::name_email;
        case GNUTLS_SAN_IPADDRESS: return AlternativeNameKind::name_ip;
        default: return std::nullopt;  // no policy can speak of it
    }
}

// An address of 4 or 16 bytes in the usual notation; empty if it is none.
std::string say_address(std::string_view raw) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const int family = raw.size() == sizeof(in_addr) ? AF_INET : AF_INET6;
    if (raw.size() != sizeof(in_addr) && raw.size() != sizeof(in6_addr)) return {};
    return inet_ntop(family, raw.data(), text.data(), text.size());
}

Result<std::vector<AlternativeName>> read_alternatives(gnutls_x509_crt_t certificate) {
    std::vector<AlternativeName> names;
    std::array<char, proto::who::k_text_max + 1> buffer;
    for (unsigned i = 0;; ++i) {
        std::size_t size = buffer.size();
        unsigned type = 0;
        const int code =
            gnutls_x509_crt_get_subject_alt_name2(certificate, i, buffer.data(), &size, &type, nullptr);
        if (code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) return names;
        const auto kind = kind_of(type);
        if (!kind && (code >= 0 || code == GNUTLS_E_SHORT_MEMORY_BUFFER)) continue;
        if (code < 0)
            return peer_fault(fmt::format("an alternative name cannot be read: {}", gnutls_strerror(code)));
        if (names.size() == proto::who::k_alternative_names_max)
            return peer_fault("the certificate has too many alternative names");
        const std::string_view raw(buffer.data(), size);
        const bool is_address = *kind == AlternativeNameKind::name_ip;
        std::string value = is_address ? say_address(raw) : std::string(raw);
        if ((is_address && value.empty()) || !is_good(value))
            return peer_fault(fmt::format("the alternative name \"{}\" is not plain text", escape(raw, 128)));
        names.push_back({*kind, std::move(value)});
    }
}

}  // namespace

Result<proto::who::X509Facts> read_client(const std::string& path) {
    const Result<std::string> pem = read_file(path);
    if (!pem) return tl::unexpected(pem.error());
    const Result<Certificate> certificate = import_certificate(*pem);
    if (!certificate) return wrap(certificate.error(), path);
    gnutls_x509_crt_t raw = certificate->get();
    gnutls_x509_dn_t subject = nullptr, issuer = nullptr;
    if (gnutls_x509_crt_get_subject(raw, &subject) < 0 || gnutls_x509_crt_get_issuer(raw, &issuer) < 0)
        return peer_fault(fmt::format("{}: the certificate's names cannot be read", path));
    auto subject_parts = read_parts(subject);
    if (!subject_parts) return wrap(subject_parts.error(), path + ": subject");
    auto issuer_parts = read_parts(issuer);
    if (!issuer_parts) return wrap(issuer_parts.error(), path + ": issuer");
    auto names = read_alternatives(raw);
    if (!names) return wrap(names.error(), path);

    proto::who::X509Facts facts;
    facts.subject = std::move(*subject_parts);
    facts.issuer = std::move(*issuer_parts);
    facts.names = std::move(*names);
    const std::vector<unsigned char> serial = read_serial(raw);
    facts.serial = to_hex(std::as_bytes(std::span{serial}));
    std::size_t size = facts.fingerprint.size();
    if (gnutls_x509_crt_get_fingerprint(raw, GNUTLS_DIG_SHA256, facts.fingerprint.data(), &size) < 0)
        return system_fault(0, "cannot make a certificate's fingerprint");
    std::array<char, proto::who::k_long_text_max> text{};
    size = text.size();
    if (gnutls_x509_crt_get_dn(raw, text.data(), &size) < 0)
        return peer_fault(fmt::format("{}: the certificate's subject is too long", path));
    facts.subject_text.assign(text.data(), strnlen(text.data(), size));
    return facts;
}

}  // namespace virtgate::ctl::pki
