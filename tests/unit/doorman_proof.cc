// SPDX-License-Identifier: LGPL-2.1-or-later
// doorman_proof - that real handshakes prove who the client is, and that nothing else does.
#include <criterion/criterion.h>

#include <algorithm>
#include <random>

#include "netd/doorman/examine.h"
#include "netd/doorman/handshake.h"
#include "tests/unit/support/certificates.h"

using namespace virtgate;
using namespace virtgate::netd::doorman;
using virtgate::test::Certificate;
using virtgate::test::CertificateSpec;
using virtgate::test::KeyKind;

namespace {

constexpr const char* k_tls_1_3 = "NORMAL:-VERS-ALL:+VERS-TLS1.3";
// The client's first guess at a group is wrong: there is a HelloRetryRequest.
constexpr const char* k_retry = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-SECP521R1";

CertificateSpec named(const char* name, bool is_ca = false) {
    CertificateSpec spec;
    spec.subject = {{"2.5.4.3", name}};
    spec.is_ca = is_ca;
    return spec;
}

struct Scene {
    explicit Scene(KeyKind kind = KeyKind::p256) : client(named("alice"), &ca, kind) {}

    Nonces::Nonce take_nonce() { return nonces.hand_out(1)->front(); }

    proto::door::AdmitArgs shake(const char* server_priority = k_tls_1_3,
                                 const char* client_priority = "NORMAL") {
        return shake_as(client, client.pem(), server, take_nonce(), server_priority, client_priority);
    }
    static proto::door::AdmitArgs shake_as(const Certificate& key, const std::string& chain,
                                           const Certificate& server, const Nonces::Nonce& nonce,
                                           const char* server_priority = k_tls_1_3,
                                           const char* client_priority = "NORMAL") {
        const auto proof =
            test::shake_hands(server, chain, key.key_pem(), nonce, server_priority, client_priority);
        proto::door::AdmitArgs arguments;
        arguments.transcript = proof.transcript;
        arguments.certificate_verify = proof.certificate_verify;
        arguments.source = "::ffff:192.0.2.7";
        arguments.source_port = 4711;
        return arguments;
    }
    // What the examiner says; empty if it is content.
    std::string examine(const proto::door::AdmitArgs& arguments) {
        last = examiner->examine(arguments, nonces);
        return last.verdict ? "" : last.verdict.error().text;
    }

    Certificate ca{named("Test CA", true), nullptr};
    Certificate server{named("server"), &ca};
    Certificate client;
    std::vector<std::string> warnings;
    Result<Examiner> examiner = Examiner::make(test::doorman_config(ca, server), warnings);
    Nonces nonces;
    Examination last;
};

bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

}  // namespace

Test(proof, of_every_kind_of_key_cipher_and_retry_holds) {
    for (const KeyKind kind :
         {KeyKind::rsa, KeyKind::rsa_pss, KeyKind::p256, KeyKind::p384, KeyKind::p521, KeyKind::ed25519}) {
        Scene scene(kind);
        for (const char* server : {k_tls_1_3, k_retry}) {
            for (const char* client :
                 {"NORMAL", "NORMAL:-CIPHER-ALL:+AES-128-GCM", "NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305",
                  "NORMAL:-CIPHER-ALL:+AES-256-GCM"}) {
                const auto arguments = scene.shake(server, client);
                const auto handshake = read_handshake(arguments.transcript);
                cr_assert(handshake.has_value(), "%s", handshake ? "" : handshake.error().text.c_str());
                cr_assert_eq(handshake->first_hello_size != 0, server == k_retry);
                const std::string refusal = scene.examine(arguments);
                cr_assert_eq(refusal, "", "kind %d, %s, %s: %s", static_cast<int>(kind), server, client,
                             refusal.c_str());
            }
        }
    }
}

Test(proof, says_who_it_is_and_where_it_came_from) {
    Scene scene;
    cr_assert_eq(scene.examine(scene.shake()), "");
    const auto& who = scene.last.who;
    cr_assert_eq(who.certificate->subject.size(), 1);
    cr_assert_eq(who.certificate->subject[0].value, "alice");
    cr_assert_eq(who.certificate->issuer[0].value, "Test CA");
    cr_assert_eq(who.certificate->chain.size(), 1);
    cr_assert(who.certificate->serial.ends_with(who.certificate->chain[0].serial));
    cr_assert(who.strength == 128 || who.strength == 256);
    cr_assert(!who.login && !who.local && !who.read_only);
    cr_assert_eq(who.source, "192.0.2.7");
    cr_assert_eq(who.source_port, 4711);
    cr_assert_eq(who.listener, "tls");
    cr_assert_eq(scene.last.presented, "CN=alice");
}

Test(proof, holds_once) {
    Scene scene;
    const auto arguments = scene.shake();
    cr_assert_eq(scene.examine(arguments), "");
    cr_assert_eq(scene.examine(arguments), "the handshake was not made with a nonce of this gate");
    cr_assert(!scene.last.who.certificate);
}

Test(proof, of_another_gate_or_without_a_nonce_does_not_hold) {
    Scene scene, other;
    const auto stolen = Scene::shake_as(scene.client, scene.client.pem(), scene.server, other.take_nonce());
    cr_assert_eq(scene.examine(stolen), "the handshake was not made with a nonce of this gate");
    const auto invented = Scene::shake_as(scene.client, scene.client.pem(), scene.server, Nonces::Nonce{});
    cr_assert_eq(scene.examine(invented), "the handshake was not made with a nonce of this gate");
}

Test(proof, made_for_another_server_does_not_hold) {
    Scene scene;
    const Certificate rogue(named("server"), &scene.ca);
    const auto arguments = Scene::shake_as(scene.client, scene.client.pem(), rogue, scene.take_nonce());
    cr_assert_eq(scene.examine(arguments), "the handshake was made with another server's certificate");
}

Test(proof, with_any_byte_changed_does_not_hold) {
    Scene scene;
    for (const char* priority : {k_tls_1_3, k_retry}) {
        const auto good = scene.shake(priority);
        const Nonces before = scene.nonces;
        for (std::size_t at = 0; at < good.transcript.size(); ++at) {
            auto bad = good;
            bad.transcript[at] ^= std::byte{1};
            scene.nonces = before;
            cr_assert(!scene.examine(bad).empty(), "byte %zu of the transcript does not matter", at);
        }
        for (std::size_t at = 0; at < good.certificate_verify.size(); ++at) {
            auto bad = good;
            bad.certificate_verify[at] ^= std::byte{1};
            scene.nonces = before;
            cr_assert(!scene.examine(bad).empty(), "byte %zu of the CertificateVerify does not matter", at);
        }
        scene.nonces = before;
        cr_assert_eq(scene.examine(good), "");
    }
}

Test(proof, cut_or_extended_does_not_hold) {
    Scene scene;
    const auto good = scene.shake(k_retry);
    const Nonces before = scene.nonces;
    for (std::size_t size = 0; size < good.transcript.size(); ++size) {
        auto bad = good;
        bad.transcript.resize(size);
        scene.nonces = before;
        cr_assert(!scene.examine(bad).empty(), "%zu bytes were enough", size);
    }
    auto longer = good;
    longer.transcript.resize(good.transcript.size() + 4);
    cr_assert(!scene.examine(longer).empty());
    longer = good;
    longer.certificate_verify.push_back(std::byte{0});
    scene.nonces = before;
    cr_assert_eq(scene.examine(longer), "malformed CertificateVerify");
}

Test(proof, of_somebody_elses_certificate_does_not_hold) {
    // The gate swaps the client's Certificate message for another one: the key does not fit the signature.
    Scene scene;
    const Certificate admin(named("admin"), &scene.ca);
    const auto by_alice = scene.shake();
    const auto with_admin = Scene::shake_as(admin, admin.pem(), scene.server, scene.take_nonce());
    const auto last_message = [](const ByteVector& transcript) {
        std::size_t at = 0, last = 0;
        for (; at < transcript.size(); at += 4 + (load_be32(&transcript[at]) & 0xffffff)) last = at;
        return last;
    };
    auto mixed = by_alice;
    mixed.transcript.resize(last_message(by_alice.transcript));
    mixed.transcript.insert(
        mixed.transcript.end(),
        with_admin.transcript.begin() + static_cast<long>(last_message(with_admin.transcript)),
        with_admin.transcript.end());
    cr_assert_eq(scene.examine(mixed), "the client's signature is not valid for this handshake");
    cr_assert_eq(scene.last.presented, "CN=admin");
}

Test(proof, with_a_scheme_of_another_key_does_not_hold) {
    Scene scene;
    auto arguments = scene.shake();
    const Nonces before = scene.nonces;
    for (const unsigned scheme : {0x0000U, 0x0401U, 0x0203U, 0x0503U, 0x0804U, 0x0807U, 0xffffU}) {
        arguments.certificate_verify[0] = static_cast<std::byte>(scheme >> 8);
        arguments.certificate_verify[1] = static_cast<std::byte>(scheme);
        scene.nonces = before;
        cr_assert(has(scene.examine(arguments), "signature scheme"), "%04x", scheme);
    }
}

Test(proof, without_a_certificate_does_not_hold) {
    Scene scene;
    const auto arguments = Scene::shake_as(scene.client, "", scene.server, scene.take_nonce());
    cr_assert_eq(scene.examine(arguments), "the client presented no certificate");
}

Test(proof, of_tls_1_2_does_not_hold) {
    Scene scene;
    const auto arguments = scene.shake("NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.2");
    cr_assert_eq(scene.examine(arguments), "the handshake is not TLS 1.3");
}

Test(proof, with_a_long_chain_does_not_hold) {
    Scene scene;
    std::string chain = scene.client.pem();
    for (std::size_t n = 1; n < k_chain_max; ++n) chain += scene.ca.pem();
    cr_assert_eq(scene.examine(Scene::shake_as(scene.client, chain, scene.server, scene.take_nonce())), "");
    // GnuTLS refuses to load more, so the message is made by hand: the last entry once more.
    auto arguments = scene.shake();
    auto handshake = read_handshake(arguments.transcript);
    const ByteVector certificate(handshake->client_chain[0].begin(), handshake->client_chain[0].end());
    ByteVector entries;
    const auto put24 = [](ByteVector& to, std::size_t n) {
        for (const int shift : {16, 8, 0}) to.push_back(static_cast<std::byte>(n >> shift));
    };
    for (std::size_t n = 0; n <= k_chain_max; ++n) {
        put24(entries, certificate.size());
        entries.insert(entries.end(), certificate.begin(), certificate.end());
        entries.resize(entries.size() + 2);
    }
    arguments.transcript.resize(
        static_cast<std::size_t>(handshake->client_chain[0].data() - arguments.transcript.data()) - 11);
    arguments.transcript.push_back(std::byte{11});
    put24(arguments.transcript, entries.size() + 4);
    arguments.transcript.push_back(std::byte{0});
    put24(arguments.transcript, entries.size());
    arguments.transcript.insert(arguments.transcript.end(), entries.begin(), entries.end());
    cr_assert_eq(scene.examine(arguments), "the client's certificate chain has more than 8 certificates");
}

Test(proof, random_bytes_are_never_a_handshake) {
    std::mt19937 random(1);
    for (int round = 0; round < 20000; ++round) {
        ByteVector bytes(random() % 300);
        for (std::byte& b : bytes) b = static_cast<std::byte>(random());
        if (bytes.size() > 4) {  // at least the first message has a good head
            bytes[0] = std::byte{1};
            bytes[1] = bytes[2] = std::byte{0};
            bytes[3] = static_cast<std::byte>(random() % bytes.size());
        }
        cr_assert(!read_handshake(bytes).has_value());
        static_cast<void>(read_certificate_verify(bytes));
    }
}

Test(proof, comes_from_a_numeric_address) {
    cr_assert_eq(*normalise_address("192.0.2.7"), "192.0.2.7");
    cr_assert_eq(*normalise_address("::ffff:192.0.2.7"), "192.0.2.7");
    cr_assert_eq(*normalise_address("2001:DB8:0:0::7"), "2001:db8::7");
    cr_assert_eq(*normalise_address("fe80::1%eth0"), "fe80::1");
    for (const char* wrong : {"", "localhost", "192.0.2", "192.0.2.7 ", "1.2.3.4\n", "::g", "%"})
        cr_assert(!normalise_address(wrong).has_value(), "%s", wrong);
}

Test(nonces, are_fresh_and_spent_once) {
    Nonces nonces;
    const auto first = nonces.hand_out(64), second = nonces.hand_out(64);
    cr_assert_eq(nonces.outstanding(), 128);
    for (const auto* some : {&*first, &*second})
        for (const auto& nonce : *some) {
            cr_assert(nonces.spend(nonce));
            cr_assert(!nonces.spend(nonce));
        }
    cr_assert_eq(nonces.outstanding(), 0);
    cr_assert(!nonces.spend({}));
}

Test(nonces, are_bounded) {
    Nonces nonces;
    const auto oldest = nonces.hand_out(1)->front();
    const auto next = nonces.hand_out(1)->front();
    for (std::size_t n = 0; n < Nonces::k_kept - 1; ++n) cr_assert(nonces.hand_out(1).has_value());
    cr_assert_eq(nonces.outstanding(), Nonces::k_kept);
    cr_assert(!nonces.spend(oldest));
    cr_assert(nonces.spend(next));
}
