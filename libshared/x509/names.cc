// SPDX-License-Identifier: LGPL-2.1-or-later
// names - the names in a certificate, as values that a policy can be matched against.
#include "libshared/x509/names.h"

#include <arpa/inet.h>

#include <array>
#include <cstring>

#include "libshared/base/bytes.h"

namespace virtgate::x509 {

namespace {

using proto::who::AlternativeName;
using proto::who::AlternativeNameKind;
using proto::who::NamePart;

// Tags of ASN.1's string types (X.680).
constexpr unsigned long k_utf8 = 12, k_numeric = 18, k_printable = 19, k_teletex = 20, k_ia5 = 22,
                        k_visible = 26, k_universal = 28, k_bmp = 30;

bool append_utf8(std::string& to, std::uint32_t c) {
    if (c >= 0xd800 && c <= 0xdfff) return false;
    if (c < 0x80) {
        to += static_cast<char>(c);
    } else if (c < 0x800) {
        to += static_cast<char>(0xc0 | c >> 6);
        to += static_cast<char>(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        to += static_cast<char>(0xe0 | c >> 12);
        to += static_cast<char>(0x80 | (c >> 6 & 0x3f));
        to += static_cast<char>(0x80 | (c & 0x3f));
    } else if (c < 0x110000) {
        to += static_cast<char>(0xf0 | c >> 18);
        to += static_cast<char>(0x80 | (c >> 12 & 0x3f));
        to += static_cast<char>(0x80 | (c >> 6 & 0x3f));
        to += static_cast<char>(0x80 | (c & 0x3f));
    } else {
        return false;
    }
    return true;
}

// Characters of `width` bytes each, big endian, as UTF-8.
bool decode_wide(std::string_view raw, std::size_t width, std::string& to) {
    if (raw.size() % width != 0) return false;
    for (std::size_t at = 0; at < raw.size(); at += width) {
        std::uint32_t c = 0;
        for (std::size_t i = 0; i < width; ++i) c = c << 8 | static_cast<unsigned char>(raw[at + i]);
        if (!append_utf8(to, c)) return false;
    }
    return true;
}

// The text of an ASN.1 string. False if it is of another type or not what its type says.
bool decode_string(unsigned long tag, std::string_view raw, std::string& to) {
    switch (tag) {
        case k_utf8: to = raw; return true;
        case k_numeric:
        case k_printable:
        case k_teletex:  // Latin-1 or worse in its upper half, nobody knows: ASCII only
        case k_ia5:
        case k_visible:
            to = raw;
            for (const char c : raw)
                if (static_cast<unsigned char>(c) >= 0x80) return false;
            return true;
        case k_bmp: return decode_wide(raw, 2, to);
        case k_universal: return decode_wide(raw, 4, to);
        default: return false;
    }
}

std::string_view view(const gnutls_datum_t& datum) noexcept {
    return as_text(std::as_bytes(std::span(datum.data, datum.size)));
}

bool is_good_value(std::string_view value) noexcept {
    return value.size() <= proto::who::k_text_max && is_plain_text(value);
}

Result<NamePart> read_part(const gnutls_x509_ava_st& ava) {
    // Some versions count the NUL behind the OID.
    const std::string oid(view(ava.oid).substr(0, view(ava.oid).find('\0')));
    const char* name = gnutls_x509_dn_oid_name(oid.c_str(), GNUTLS_X509_DN_OID_RETURN_OID);
    NamePart part;
    part.attribute = name != nullptr ? name : oid;
    if (!is_good_value(part.attribute)) return peer_fault("a name with an attribute that is too long");
    const std::string_view raw = view(ava.value);
    if (!decode_string(ava.value_tag, raw, part.value) || !is_good_value(part.value))
        return peer_fault(fmt::format("{}=\"{}\" is not plain text", part.attribute, escape(raw, 128)));
    return part;
}

Result<std::vector<NamePart>> read_name(gnutls_x509_dn_t name) {
    std::vector<NamePart> parts;
    for (int rdn = 0;; ++rdn) {
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
}

// An address of 4 or 16 bytes in the usual notation.
bool decode_address(std::string_view raw, std::string& to) {
    std::array<char, INET6_ADDRSTRLEN> text;
    if (raw.size() != 4 && raw.size() != 16) return false;
    to = inet_ntop(raw.size() == 4 ? AF_INET : AF_INET6, raw.data(), text.data(), text.size());
    return true;
}

// The alternative names of the kinds that a policy can match; others are left out.
Done read_alternatives(gnutls_x509_crt_t certificate, std::vector<AlternativeName>& names) {
    std::array<char, proto::who::k_text_max + 1> buffer;
    for (unsigned i = 0;; ++i) {
        std::size_t size = buffer.size();
        unsigned type = 0;
        const int code =
            gnutls_x509_crt_get_subject_alt_name2(certificate, i, buffer.data(), &size, &type, nullptr);
        if (code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) return {};
        const bool known = type == GNUTLS_SAN_DNSNAME || type == GNUTLS_SAN_URI ||
                           type == GNUTLS_SAN_RFC822NAME || type == GNUTLS_SAN_IPADDRESS;
        if (code >= 0 && !known) continue;
        if (code == GNUTLS_E_SHORT_MEMORY_BUFFER && !known) continue;
        if (code < 0)
            return peer_fault(fmt::format("an alternative name cannot be read: {}", gnutls_strerror(code)));
        if (names.size() == proto::who::k_alternative_names_max)
            return peer_fault("the certificate has too many alternative names");
        AlternativeName name;
        const std::string_view raw(buffer.data(), size);
        bool good = true;
        switch (type) {
            case GNUTLS_SAN_DNSNAME: name.kind = AlternativeNameKind::name_dns; break;
            case GNUTLS_SAN_URI: name.kind = AlternativeNameKind::name_uri; break;
            case GNUTLS_SAN_RFC822NAME: name.kind = AlternativeNameKind::name_email; break;
            default:
                name.kind = AlternativeNameKind::name_ip;
                good = decode_address(raw, name.value);
                break;
        }
        if (name.value.empty() && good) name.value = raw;
        if (!good || !is_good_value(name.value))
            return peer_fault(fmt::format("the alternative name \"{}\" is not plain text", escape(raw, 128)));
        names.push_back(std::move(name));
    }
}

}  // namespace

Done read_names(gnutls_x509_crt_t certificate, proto::who::X509Facts& facts) {
    gnutls_x509_dn_t subject = nullptr, issuer = nullptr;
    if (gnutls_x509_crt_get_subject(certificate, &subject) < 0 ||
        gnutls_x509_crt_get_issuer(certificate, &issuer) < 0)
        return peer_fault("the certificate's names cannot be read");
    auto parts = read_name(subject);
    if (!parts) return wrap(parts.error(), "subject");
    facts.subject = std::move(*parts);
    parts = read_name(issuer);
    if (!parts) return wrap(parts.error(), "issuer");
    facts.issuer = std::move(*parts);
    facts.names.clear();
    if (auto done = read_alternatives(certificate, facts.names); !done) return done;

    std::array<std::byte, 64> serial;
    std::size_t size = serial.size();
    if (gnutls_x509_crt_get_serial(certificate, serial.data(), &size) < 0)
        return peer_fault("the certificate's serial number cannot be read");
    facts.serial = to_hex(ByteView(serial).first(size));
    size = facts.fingerprint.size();
    if (gnutls_x509_crt_get_fingerprint(certificate, GNUTLS_DIG_SHA256, facts.fingerprint.data(), &size) < 0)
        return system_fault(0, "cannot make a certificate's fingerprint");

    std::array<char, proto::who::k_long_text_max> text;
    size = text.size();
    if (gnutls_x509_crt_get_dn(certificate, text.data(), &size) < 0)
        return peer_fault("the certificate's subject is too long");
    facts.subject_text.assign(text.data(), strnlen(text.data(), size));
    return {};
}

std::string describe_subject(gnutls_x509_crt_t certificate) {
    gnutls_datum_t text{nullptr, 0};
    if (gnutls_x509_crt_get_dn3(certificate, &text, GNUTLS_X509_DN_FLAG_COMPAT) < 0)
        return "(unreadable subject)";
    std::string result = escape(view(text), 512);
    gnutls_free(text.data);
    return result;
}

}  // namespace virtgate::x509
