// SPDX-License-Identifier: LGPL-2.1-or-later
// examine - decide from a gate's proof who the client is, or that nobody knows.
#include "netd/doorman/examine.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>

#include "libshared/x509/names.h"
#include "netd/doorman/handshake.h"
#include "netd/doorman/x509_own.h"
#include "netd/doorman/x509_proof.h"

namespace virtgate::netd::doorman {

Result<std::string> normalise_address(std::string_view address) {
    const std::string plain(address.substr(0, address.find('%')));
    std::array<char, INET6_ADDRSTRLEN> text;
    in_addr v4{};
    in6_addr v6{};
    if (inet_pton(AF_INET, plain.c_str(), &v4) == 1)
        return std::string(inet_ntop(AF_INET, &v4, text.data(), text.size()));
    if (inet_pton(AF_INET6, plain.c_str(), &v6) != 1)
        return peer_fault("the client's address is not numeric");
    if (IN6_IS_ADDR_V4MAPPED(&v6))
        return std::string(inet_ntop(AF_INET, &v6.s6_addr[12], text.data(), text.size()));
    return std::string(inet_ntop(AF_INET6, &v6, text.data(), text.size()));
}

Result<Examiner> Examiner::make(const proto::config::DoormanConfig& config,
                                std::vector<std::string>& warnings) {
    auto loaded = Authorities::load(config.authorities, config.revoked);
    if (!loaded)
        return wrap(loaded.error(),
                    config.revoked_file.empty()
                        ? config.authorities_file
                        : fmt::format("{} and {}", config.authorities_file, config.revoked_file));
    if (const auto done = judge_own(config.certificate, *loaded, warnings); !done)
        return wrap(done.error(), fmt::format("the server certificate {}", config.certificate_file));
    auto own = all_certificates(config.certificate);
    if (!own) return wrap(own.error(), config.certificate_file);
    const auto expiry = find_expiry(config.certificate, config.authorities, config.revoked);
    if (!expiry) return wrap(expiry.error(), config.certificate_file);
    return Examiner(std::move(*loaded), std::move(own->front()), *expiry);
}

Examination Examiner::examine(const proto::door::AdmitArgs& proof, Nonces& nonces) const {
    Examination result{.who = {}, .presented = "no certificate", .warnings = {}, .verdict = {}};
    result.verdict = examine_into(proof, nonces, result);
    return result;
}

Done Examiner::examine_into(const proto::door::AdmitArgs& proof, Nonces& nonces, Examination& result) const {
    auto source = normalise_address(proof.source);
    if (!source) return tl::unexpected(source.error());
    const auto handshake = read_handshake(proof.transcript);
    if (!handshake) return tl::unexpected(handshake.error());
    if (!nonces.spend(handshake->server_random))
        return peer_fault("the handshake was not made with a nonce of this gate");
    if (!std::ranges::equal(handshake->server_certificate, certificate_))
        return peer_fault("the handshake was made with another server's certificate");
    const auto chain = parse_chain(handshake->client_chain);
    if (!chain) return tl::unexpected(chain.error());
    gnutls_x509_crt_t leaf = chain->front().get();
    result.presented = x509::describe_subject(leaf);

    const auto verify = read_certificate_verify(proof.certificate_verify);
    if (!verify) return tl::unexpected(verify.error());
    if (auto done = check_proof(*handshake, *verify, leaf); !done) return done;
    if (auto done = authorities_.judge(*chain, result.warnings); !done) return done;
    proto::who::X509Facts& facts = result.who.certificate.emplace();
    if (auto done = x509::read_names(leaf, facts); !done) return done;
    if (chain->size() > proto::who::k_chain_max) return peer_fault("the chain has too many certificates");
    for (const X509Certificate& certificate : *chain) {
        auto id = identify(certificate.get());
        if (!id) return tl::unexpected(id.error());
        facts.chain.push_back(std::move(*id));
    }
    result.who.strength = handshake->strength;
    result.who.source = std::move(*source);
    result.who.source_port = proof.source_port;
    result.who.listener = "tls";
    return {};
}

}  // namespace virtgate::netd::doorman
