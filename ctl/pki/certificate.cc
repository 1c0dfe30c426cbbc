// SPDX-License-Identifier: LGPL-2.1-or-later
// certificate - private keys and X.509 certificates, made so that libvirt's clients accept them.
#include "ctl/pki/certificate.h"

#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <array>
#include <optional>

#include "ctl/files.h"

namespace virtgate::ctl::pki {

namespace {

// RFC 5280 allows 20 bytes; a positive number of 16 is unique enough and short to read.
constexpr std::size_t k_serial_size = 16;

// Remembers the first failure of a row of GnuTLS calls, so that the row can be read without a branch after
// each.
class Steps {
public:
    explicit Steps(std::string what) : what_(std::move(what)) {}
    void step(const char* name, int outcome) {
        if (outcome < 0 && !failed_)
            failed_ = fmt::format("cannot make {}: {}: {}", what_, name, gnutls_strerror(outcome));
    }
    [[nodiscard]] Done outcome() const {
        if (failed_) return system_fault(0, *failed_);
        return {};
    }

private:
    std::string what_;
    std::optional<std::string> failed_;
};

// GnuTLS wants bytes that it could write to, though it only reads them. They live as long as this.
class Input {
public:
    explicit Input(std::string_view text) : copy_(text) {
        datum_ = {static_cast<unsigned char*>(static_cast<void*>(copy_.data())),
                  static_cast<unsigned>(copy_.size())};
    }
    Input(const Input&) = delete;
    Input& operator=(const Input&) = delete;
    ~Input() { gnutls_memset(copy_.data(), 0, copy_.size()); }  // it may be a key
    [[nodiscard]] const gnutls_datum_t* datum() const noexcept { return &datum_; }

private:
    std::string copy_;
    gnutls_datum_t datum_{};
};

Result<Certificate> new_certificate() {
    gnutls_x509_crt_t raw = nullptr;
    if (const int outcome = gnutls_x509_crt_init(&raw); outcome < 0)
        return system_fault(0, fmt::format("cannot make a certificate: {}", gnutls_strerror(outcome)));
    return Certificate{raw};
}

// Addresses are names too: a client that was given an address compares it with these, not with the host names.
void set_names(gnutls_x509_crt_t certificate, const Request& request, Steps& steps) {
    const auto set_part = [&](const char* oid, const std::string& value) {
        if (!value.empty())
            steps.step("subject", gnutls_x509_crt_set_dn_by_oid(certificate, oid, 0, value.data(),
                                                                static_cast<unsigned>(value.size())));
    };
    set_part(GNUTLS_OID_X520_ORGANIZATION_NAME, request.organisation);
    set_part(GNUTLS_OID_X520_COMMON_NAME, request.name);
    for (const std::string& name : request.dns)
        steps.step("host name", gnutls_x509_crt_set_subject_alt_name(
                                    certificate, GNUTLS_SAN_DNSNAME, name.data(),
                                    static_cast<unsigned>(name.size()), GNUTLS_FSAN_APPEND));
    for (const std::string& text : request.addresses) {
        std::array<unsigned char, sizeof(in6_addr)> address{};
        const bool six = text.find(':') != std::string::npos;
        if (inet_pton(six ? AF_INET6 : AF_INET, text.c_str(), address.data()) != 1) {
            steps.step("address", GNUTLS_E_INVALID_REQUEST);
            continue;
        }
        steps.step("address", gnutls_x509_crt_set_subject_alt_name(
                                  certificate, GNUTLS_SAN_IPADDRESS, address.data(),
                                  six ? sizeof(in6_addr) : sizeof(in_addr), GNUTLS_FSAN_APPEND));
    }
}

// What the certificate may be used for. GnuTLS marks constraints and usage as critical.
void set_usage(gnutls_x509_crt_t certificate, Purpose purpose, Steps& steps) {
    if (purpose == Purpose::authority) {
        steps.step("constraints", gnutls_x509_crt_set_basic_constraints(certificate, 1, 0));
        steps.step("usage", gnutls_x509_crt_set_key_usage(certificate,
                                                          GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN));
        return;
    }
    steps.step("constraints", gnutls_x509_crt_set_basic_constraints(certificate, 0, -1));
    // ECDSA and Ed25519 keys encipher nothing, but libvirt refuses a certificate without the bit.
    steps.step("usage", gnutls_x509_crt_set_key_usage(
                            certificate, GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_KEY_ENCIPHERMENT));
    const char* oid = purpose == Purpose::server ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
    steps.step("purpose", gnutls_x509_crt_set_key_purpose_oid(certificate, oid, 0));
}

// The serial number, and the hashes of the two keys by which a verifier finds the issuer without trying them all.
void set_identifiers(gnutls_x509_crt_t certificate, gnutls_x509_crt_t issuer, Steps& steps) {
    std::array<unsigned char, k_serial_size> serial{};
    steps.step("serial number", gnutls_rnd(GNUTLS_RND_RANDOM, serial.data(), serial.size()));
    // Positive, and of the same length in every certificate.
    serial[0] = static_cast<unsigned char>((serial[0] & 0x3f) | 0x40);
    steps.step("serial number", gnutls_x509_crt_set_serial(certificate, serial.data(), serial.size()));

    std::array<unsigned char, 64> id{};
    std::size_t size = id.size();
    steps.step("key identifier", gnutls_x509_crt_get_key_id(certificate, 0, id.data(), &size));
    steps.step("key identifier", gnutls_x509_crt_set_subject_key_id(certificate, id.data(), size));
    size = id.size();
    steps.step("issuer's key", gnutls_x509_crt_get_key_id(issuer, 0, id.data(), &size));
    steps.step("issuer's key", gnutls_x509_crt_set_authority_key_id(certificate, id.data(), size));
}

}  // namespace

Pem::~Pem() {
    if (text_.data == nullptr) return;
    gnutls_memset(text_.data, 0, text_.size);
    gnutls_free(text_.data);
}

std::string_view Pem::text() const noexcept {
    return {static_cast<const char*>(static_cast<const void*>(text_.data)), text_.size};
}

Result<Key> generate_key(KeyType type, unsigned rsa_bits) {
    gnutls_x509_privkey_t raw = nullptr;
    Steps steps{fmt::format("a private key ({})", name_of(type))};
    steps.step("memory", gnutls_x509_privkey_init(&raw));
    if (Done done = steps.outcome(); !done) return tl::make_unexpected(done.error());
    Key key{raw};
    gnutls_pk_algorithm_t algorithm = GNUTLS_PK_UNKNOWN;
    unsigned bits = 0;
    switch (type) {
        case KeyType::ecdsa:
            algorithm = GNUTLS_PK_ECDSA;
            bits = GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1);
            break;
        case KeyType::rsa:
            algorithm = GNUTLS_PK_RSA;
            bits = rsa_bits;
            break;
        case KeyType::ed25519:
            algorithm = GNUTLS_PK_EDDSA_ED25519;
            bits = GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_ED25519);
            break;
    }
    steps.step("generator", gnutls_x509_privkey_generate(key.get(), algorithm, bits, 0));
    if (Done done = steps.outcome(); !done) return tl::make_unexpected(done.error());
    return key;
}

Result<Certificate> issue(const Request& request, const Key& key, const Issuer* issuer) {
    Result<Certificate> made = new_certificate();
    if (!made) return made;
    gnutls_x509_crt_t certificate = made->get();
    // Its own certificate gives the issuer's name; everything of it that counts was set before it is used.
    const Issuer itself{certificate, key.get()};
    const Issuer& signer = issuer != nullptr ? *issuer : itself;

    Steps steps{fmt::format("the certificate of \"{}\"", request.name)};
    steps.step("version", gnutls_x509_crt_set_version(certificate, 3));
    steps.step("key", gnutls_x509_crt_set_key(certificate, key.get()));
    steps.step("date", gnutls_x509_crt_set_activation_time(certificate, request.from));
    steps.step("date", gnutls_x509_crt_set_expiration_time(certificate, request.until));
    set_names(certificate, request, steps);
    set_usage(certificate, request.purpose, steps);
    set_identifiers(certificate, signer.certificate, steps);
    // GNUTLS_DIG_UNKNOWN: the hash that belongs to the signer's kind of key.
    steps.step("signature",
               gnutls_x509_crt_sign2(certificate, signer.certificate, signer.key, GNUTLS_DIG_UNKNOWN, 0));
    if (Done done = steps.outcome(); !done) return tl::make_unexpected(done.error());
    return made;
}

Result<Pem> export_key(const Key& key) {
    Result<Pem> pem{tl::in_place};
    const int outcome = gnutls_x509_privkey_export2_pkcs8(key.get(), GNUTLS_X509_FMT_PEM, nullptr,
                                                          GNUTLS_PKCS_PLAIN, pem->place());
    if (outcome < 0)
        return system_fault(0, fmt::format("cannot export a private key: {}", gnutls_strerror(outcome)));
    return pem;
}

Result<Pem> export_certificate(const Certificate& certificate) {
    Result<Pem> pem{tl::in_place};
    const int outcome = gnutls_x509_crt_export2(certificate.get(), GNUTLS_X509_FMT_PEM, pem->place());
    if (outcome < 0)
        return system_fault(0, fmt::format("cannot export a certificate: {}", gnutls_strerror(outcome)));
    return pem;
}

Result<Certificate> import_certificate(std::string_view text) {
    Result<Certificate> made = new_certificate();
    if (!made) return made;
    const Input input{text};
    const int outcome = gnutls_x509_crt_import(made->get(), input.datum(), GNUTLS_X509_FMT_PEM);
    if (outcome < 0) return system_fault(0, fmt::format("not a certificate: {}", gnutls_strerror(outcome)));
    return made;
}

Result<Certificate> read_certificate(const std::string& path) {
    const Result<std::string> text = read_file(path);
    if (!text) return tl::make_unexpected(text.error());
    Result<Certificate> certificate = import_certificate(*text);
    return certificate ? std::move(certificate) : Result<Certificate>{wrap(certificate.error(), path)};
}

Result<std::vector<Certificate>> import_certificates(std::string_view text) {
    const Input input{text};
    std::array<gnutls_x509_crt_t, k_chain_max> raw{};
    unsigned count = k_chain_max;
    const int outcome = gnutls_x509_crt_list_import(raw.data(), &count, input.datum(), GNUTLS_X509_FMT_PEM,
                                                    GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
    if (outcome == GNUTLS_E_SHORT_MEMORY_BUFFER)
        return system_fault(0, fmt::format("more than {} certificates", k_chain_max));
    if (outcome < 0) return system_fault(0, fmt::format("not a certificate: {}", gnutls_strerror(outcome)));
    std::vector<Certificate> certificates;
    for (int i = 0; i < outcome; ++i) certificates.emplace_back(raw[static_cast<std::size_t>(i)]);
    return certificates;
}

Result<Key> import_key(std::string_view text) {
    gnutls_x509_privkey_t raw = nullptr;
    if (const int outcome = gnutls_x509_privkey_init(&raw); outcome < 0)
        return system_fault(0, fmt::format("cannot read a private key: {}", gnutls_strerror(outcome)));
    Key key{raw};
    const Input input{text};
    const int outcome =
        gnutls_x509_privkey_import2(raw, input.datum(), GNUTLS_X509_FMT_PEM, nullptr, GNUTLS_PKCS_PLAIN);
    if (outcome == GNUTLS_E_DECRYPTION_FAILED || text.find("ENCRYPTED") != std::string_view::npos)
        return system_fault(0, "the private key is encrypted with a password");
    if (outcome < 0) return system_fault(0, fmt::format("not a private key: {}", gnutls_strerror(outcome)));
    return key;
}

Result<Crl> import_crl(std::string_view text) {
    gnutls_x509_crl_t raw = nullptr;
    if (const int outcome = gnutls_x509_crl_init(&raw); outcome < 0)
        return system_fault(0, fmt::format("cannot read a revocation list: {}", gnutls_strerror(outcome)));
    Crl crl{raw};
    const Input input{text};
    const int outcome = gnutls_x509_crl_import(raw, input.datum(), GNUTLS_X509_FMT_PEM);
    if (outcome < 0)
        return system_fault(0,
                            fmt::format("not a list of revoked certificates: {}", gnutls_strerror(outcome)));
    return crl;
}

Result<Pem> issue_crl(const Issuer& issuer, const std::vector<Revocation>& revoked, std::uint64_t number,
                      std::time_t from, std::time_t until) {
    gnutls_x509_crl_t raw = nullptr;
    Steps steps{"the list of revoked certificates"};
    steps.step("memory", gnutls_x509_crl_init(&raw));
    if (Done done = steps.outcome(); !done) return tl::make_unexpected(done.error());
    const Crl crl{raw};
    steps.step("version", gnutls_x509_crl_set_version(raw, 2));
    steps.step("date", gnutls_x509_crl_set_this_update(raw, from));
    steps.step("date", gnutls_x509_crl_set_next_update(raw, until));
    std::array<unsigned char, sizeof number> digits{};
    for (std::size_t i = 0; i < digits.size(); ++i)
        digits[i] = static_cast<unsigned char>(number >> (8 * (digits.size() - 1 - i)));
    steps.step("number", gnutls_x509_crl_set_number(raw, digits.data(), digits.size()));
    for (const Revocation& row : revoked)
        steps.step("serial number",
                   gnutls_x509_crl_set_crt_serial(raw, row.serial.data(), row.serial.size(), row.when));
    std::array<unsigned char, 64> id{};
    std::size_t size = id.size();
    steps.step("issuer's key", gnutls_x509_crt_get_key_id(issuer.certificate, 0, id.data(), &size));
    steps.step("issuer's key", gnutls_x509_crl_set_authority_key_id(raw, id.data(), size));
    steps.step("signature",
               gnutls_x509_crl_sign2(raw, issuer.certificate, issuer.key, GNUTLS_DIG_UNKNOWN, 0));
    Result<Pem> pem{tl::in_place};
    if (steps.outcome()) steps.step("text", gnutls_x509_crl_export2(raw, GNUTLS_X509_FMT_PEM, pem->place()));
    if (Done done = steps.outcome(); !done) return tl::make_unexpected(done.error());
    return pem;
}

// By the hashes of the two public keys, which differ when anything in them does.
bool belong_together(const Key& key, gnutls_x509_crt_int* certificate) noexcept {
    std::array<unsigned char, 64> one{}, other{};
    std::size_t one_size = one.size(), other_size = other.size();
    return gnutls_x509_privkey_get_key_id(key.get(), GNUTLS_KEYID_USE_SHA256, one.data(), &one_size) == 0 &&
           gnutls_x509_crt_get_key_id(certificate, GNUTLS_KEYID_USE_SHA256, other.data(), &other_size) == 0 &&
           one_size == other_size && one == other;
}

}  // namespace virtgate::ctl::pki
