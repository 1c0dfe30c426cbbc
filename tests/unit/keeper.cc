// SPDX-License-Identifier: LGPL-2.1-or-later
// keeper - what it signs, and everything that it refuses to sign.
#include <criterion/criterion.h>
#include <gnutls/x509.h>
#include <unistd.h>

#include <array>

#include "libshared/base/fd.h"
#include "libshared/loop/fake_loop.h"
#include "libshared/rpc/error.h"
#include "netd/keeper/scheme.h"
#include "netd/keeper/service.h"
#include "proto/codec.h"
#include "proto/keeper.h"
#include "proto/supervise.h"

using namespace virtgate;
using namespace virtgate::netd::keeper;

namespace {

// A new private key as PEM.
std::string make_key(gnutls_pk_algorithm_t algorithm, unsigned bits) {
    gnutls_x509_privkey_t key;
    gnutls_x509_privkey_init(&key);
    cr_assert_geq(gnutls_x509_privkey_generate(key, algorithm, bits, 0), 0);
    gnutls_datum_t text{};
    cr_assert_geq(
        gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, nullptr, GNUTLS_PKCS_PLAIN, &text), 0);
    std::string pem(reinterpret_cast<char*>(text.data), text.size);
    gnutls_free(text.data);
    gnutls_x509_privkey_deinit(key);
    return pem;
}

// A self-signed certificate of the key `pem`.
std::string make_certificate(const std::string& pem) {
    gnutls_x509_privkey_t key;
    gnutls_x509_privkey_init(&key);
    const gnutls_datum_t text{reinterpret_cast<unsigned char*>(const_cast<char*>(pem.data())),
                              static_cast<unsigned>(pem.size())};
    gnutls_x509_privkey_import2(key, &text, GNUTLS_X509_FMT_PEM, nullptr, 0);
    gnutls_x509_crt_t certificate;
    gnutls_x509_crt_init(&certificate);
    gnutls_x509_crt_set_version(certificate, 3);
    gnutls_x509_crt_set_key(certificate, key);
    gnutls_x509_crt_set_serial(certificate, "\1", 1);
    gnutls_x509_crt_set_activation_time(certificate, 1000);
    gnutls_x509_crt_set_expiration_time(certificate, 4000000000);
    cr_assert_geq(gnutls_x509_crt_sign2(certificate, certificate, key, GNUTLS_DIG_SHA256, 0), 0);
    gnutls_datum_t out{};
    gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &out);
    std::string result(reinterpret_cast<char*>(out.data), out.size);
    gnutls_free(out.data);
    gnutls_x509_crt_deinit(certificate);
    gnutls_x509_privkey_deinit(key);
    return result;
}

Result<Signer> load(const std::string& pem, const std::string& certificate = "") {
    const auto file = make_sealed_memfd("key", pem.data(), pem.size());
    return Signer::load(file->get(), certificate);
}

// True if `signature` is one of the key `pem` over `content`.
bool verifies(const std::string& pem, gnutls_sign_algorithm_t algorithm, ByteView content,
              ByteView signature) {
    gnutls_privkey_t key;
    gnutls_privkey_init(&key);
    const gnutls_datum_t text{reinterpret_cast<unsigned char*>(const_cast<char*>(pem.data())),
                              static_cast<unsigned>(pem.size())};
    gnutls_privkey_import_x509_raw(key, &text, GNUTLS_X509_FMT_PEM, nullptr, 0);
    gnutls_pubkey_t public_key;
    gnutls_pubkey_init(&public_key);
    gnutls_pubkey_import_privkey(public_key, key, 0, 0);
    const auto datum = [](ByteView b) {
        return gnutls_datum_t{reinterpret_cast<unsigned char*>(const_cast<std::byte*>(b.data())),
                              static_cast<unsigned>(b.size())};
    };
    const gnutls_datum_t data = datum(content), sig = datum(signature);
    const bool good = gnutls_pubkey_verify_data2(public_key, algorithm, 0, &data, &sig) >= 0;
    gnutls_pubkey_deinit(public_key);
    gnutls_privkey_deinit(key);
    return good;
}

ByteVector hash_of(std::size_t size) { return ByteVector(size, std::byte{0x5a}); }

struct KeyCase {
    const char* name;
    gnutls_pk_algorithm_t algorithm;
    unsigned bits;
    std::vector<std::uint32_t> schemes;  // that fit
};

const std::vector<KeyCase>& key_cases() {
    static const std::vector<KeyCase> k_cases{
        {"RSA", GNUTLS_PK_RSA, 2048, {0x0804, 0x0805, 0x0806}},
        {"RSA-PSS", GNUTLS_PK_RSA_PSS, 2048, {0x0809, 0x080a, 0x080b}},
        {"P-256", GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), {0x0403}},
        {"P-384", GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1), {0x0503}},
        {"P-521", GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP521R1), {0x0603}},
        {"Ed25519", GNUTLS_PK_EDDSA_ED25519, 0, {0x0807}},
    };
    return k_cases;
}

}  // namespace

Test(keeper, content_is_that_of_rfc_8446) {
    // The example of section 4.4.3: 32 bytes of 01 as the hash.
    const ByteVector content = server_signed_content(ByteVector(32, std::byte{1}));
    const std::string expected =
        "2020202020202020202020202020202020202020202020202020202020202020"
        "2020202020202020202020202020202020202020202020202020202020202020"
        "544c5320312e332c207365727665722043657274696669636174655665726966"
        "79000101010101010101010101010101010101010101010101010101010101010101";
    cr_assert_eq(to_hex(content), expected, "%s", to_hex(content).c_str());
}

Test(keeper, signs_with_each_kind_of_key_and_its_schemes_only) {
    for (const KeyCase& c : key_cases()) {
        const std::string pem = make_key(c.algorithm, c.bits);
        const auto signer = load(pem);
        cr_assert(signer.has_value(), "%s: %s", c.name, signer ? "" : signer.error().text.c_str());
        for (std::uint32_t number = 0; number < 0x0900; ++number) {
            const bool wanted = std::find(c.schemes.begin(), c.schemes.end(), number) != c.schemes.end();
            for (const std::size_t size : {32, 48}) {
                const auto signature = signer->sign(number, hash_of(size));
                cr_assert_eq(signature.has_value(), wanted, "%s, scheme %04x", c.name, number);
                if (!signature)
                    cr_assert_eq(signature.error().fault, Fault::peer);
                else
                    cr_assert(verifies(pem, find_scheme(number)->algorithm,
                                       server_signed_content(hash_of(size)), *signature),
                              "%s, scheme %04x", c.name, number);
            }
        }
    }
}

Test(keeper, refuses_hashes_of_other_sizes) {
    const auto signer = load(make_key(GNUTLS_PK_EDDSA_ED25519, 0));
    for (std::size_t size = 0; size <= 64; ++size)
        cr_assert_eq(signer->sign(0x0807, hash_of(size)).has_value(), size == 32 || size == 48, "%zu", size);
}

Test(keeper, refuses_files_that_are_no_key) {
    const std::string pem = make_key(GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1));
    cr_assert(load(pem).has_value());
    cr_assert(!load("").has_value());
    cr_assert(!load(pem.substr(0, pem.size() / 2)).has_value());
    cr_assert(!load(make_certificate(pem)).has_value());
    cr_assert(!load(pem + std::string(k_key_file_max, ' ')).has_value());
}

Test(keeper, refuses_a_key_of_another_certificate) {
    const std::string one = make_key(GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1));
    const std::string two = make_key(GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1));
    cr_assert(load(one, make_certificate(one)).has_value());
    const auto wrong = load(one, make_certificate(two));
    cr_assert(!wrong.has_value());
    cr_assert_eq(wrong.error().text, "the private key does not belong to the server's certificate");
}

// Keeper's service with the other ends of its channels.
struct Bench {
    Bench() : signer(load(make_key(GNUTLS_PK_EDDSA_ED25519, 0))) {
        auto pair = make_channel_pair();
        parent = std::move(pair->first);
        keeper_parent = pair->second.get();
        service = std::make_unique<Service>(loop, std::move(pair->second), *signer, "");
        gate = adopt(proto::supervise::PeerRole::peer_gate);
    }
    // Sends an ADOPT and returns the peer's end of the channel.
    UniqueFd adopt(proto::supervise::PeerRole role) {
        auto pair = make_channel_pair();
        keeper_gate = pair->second.get();
        const auto payload = proto::encode(proto::supervise::AdoptArgs{.role = role, .index = 3});
        const rpc::Header header{proto::supervise::k_program, 1, 1, rpc::Type::message, 0, rpc::Status::ok};
        cr_assert_eq(
            channel::send_packet(parent.get(), rpc::make_frame(header, *payload), std::array{keeper_gate}),
            channel::Outcome::done);
        // The descriptor that arrives is a new one: find it by what changes.
        std::array<bool, 64> before{};
        for (int fd = 0; fd < 64; ++fd) before[fd] = loop.wanted(fd) != loop::Want::nothing;
        loop.ready(keeper_parent, loop::Want::read);
        for (int fd = 0; fd < 64; ++fd)
            if (!before[fd] && loop.wanted(fd) != loop::Want::nothing) keeper_gate = fd;
        return std::move(pair->first);
    }
    // Sends a packet to the service as the gate and returns the answer's header and payload.
    bool ask(ByteView packet, rpc::Header& header, ByteVector& payload) {
        cr_assert_eq(channel::send_packet(gate.get(), packet), channel::Outcome::done);
        loop.ready(keeper_gate, loop::Want::read);
        std::array<std::byte, 4096> buffer;
        std::size_t size = 0;
        if (channel::receive_packet(gate.get(), buffer, size) != channel::Outcome::done) return false;
        header = rpc::read_header(buffer.data());
        payload.assign(buffer.begin() + rpc::k_frame_min, buffer.begin() + static_cast<long>(size));
        return true;
    }
    loop::FakeLoop loop;
    Result<Signer> signer;
    UniqueFd parent, gate;
    int keeper_parent = -1, keeper_gate = -1;
    std::unique_ptr<Service> service;
};

constexpr rpc::Header k_sign{proto::keeper::k_program, 1, 1, rpc::Type::call, 7, rpc::Status::ok};

Test(keeper, service_answers_the_gate) {
    Bench bench;
    rpc::Header header;
    ByteVector payload;
    auto arguments = proto::encode(proto::keeper::SignArgs{.scheme = 0x0807, .transcript_hash = hash_of(32)});
    cr_assert(bench.ask(rpc::make_frame(k_sign, *arguments), header, payload));
    cr_assert(header == rpc::reply_to(k_sign));
    cr_assert_eq(proto::decode<proto::keeper::SignRet>(payload)->signature.size(), 64);
    arguments = proto::encode(proto::keeper::SignArgs{.scheme = 0x0804, .transcript_hash = hash_of(32)});
    cr_assert(bench.ask(rpc::make_frame(k_sign, *arguments), header, payload));
    cr_assert(header == rpc::reply_to(k_sign, rpc::Status::error));
    cr_assert_eq(rpc::read_error_text(payload), "signature scheme 0804 does not fit the key");
}

Test(keeper, service_answers_nothing_but_sign) {
    const auto arguments =
        proto::encode(proto::keeper::SignArgs{.scheme = 0x0807, .transcript_hash = hash_of(32)});
    rpc::Header wrong[4] = {k_sign, k_sign, k_sign, k_sign};
    wrong[0].procedure = 2;
    wrong[1].program += 1;
    wrong[2].type = rpc::Type::message;
    wrong[3].version = 2;
    rpc::Header header;
    ByteVector payload;
    for (const rpc::Header& call : wrong) {
        Bench bench;
        cr_assert(!bench.ask(rpc::make_frame(call, *arguments), header, payload), "an answer came");
    }
    Bench bench;
    ByteVector longer = *arguments;
    longer.resize(longer.size() + 4);
    cr_assert(!bench.ask(rpc::make_frame(k_sign, longer), header, payload), "trailing bytes were accepted");
}
