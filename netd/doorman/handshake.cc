// SPDX-License-Identifier: LGPL-2.1-or-later
// handshake - read the transcript of a TLS 1.3 handshake that a gate presents as proof.
#include "netd/doorman/handshake.h"

#include <algorithm>
#include <array>

namespace virtgate::netd::doorman {

namespace {

enum class Message : unsigned char {
    client_hello = 1,
    server_hello = 2,
    encrypted_extensions = 8,
    certificate = 11,
    certificate_request = 13,
    certificate_verify = 15,
    finished = 20,
};

constexpr std::uint16_t k_extension_pre_shared_key = 41;
constexpr std::uint16_t k_extension_supported_versions = 43;
constexpr std::uint16_t k_tls_1_2 = 0x0303;  // what a ServerHello of TLS 1.3 carries for old middleboxes
constexpr std::uint16_t k_tls_1_3 = 0x0304;

// The random that makes a ServerHello a HelloRetryRequest: SHA-256 of "HelloRetryRequest".
constexpr std::array<unsigned char, k_random_size> k_retry_random{
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

// Takes fields of TLS's presentation language from a span. After the first that does not fit, everything is
// empty.
class Fields {
public:
    explicit Fields(ByteView bytes) noexcept : bytes_(bytes) {}

    ByteView take(std::size_t size) noexcept {
        if (size > bytes_.size()) {
            good_ = false;
            bytes_ = {};
            return {};
        }
        const ByteView front = bytes_.first(size);
        bytes_ = bytes_.subspan(size);
        return front;
    }
    // An unsigned integer of `width` bytes, 1 to 3.
    std::uint32_t number(std::size_t width) noexcept {
        std::uint32_t value = 0;
        for (const std::byte b : take(width)) value = value << 8 | static_cast<std::uint32_t>(b);
        return value;
    }
    // A vector with a length of `width` bytes in front.
    ByteView vector(std::size_t width) noexcept {
        const std::size_t size = number(width);
        return take(size);
    }
    [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }
    // True if everything fitted and nothing is left.
    [[nodiscard]] bool ended() const noexcept { return good_ && bytes_.empty(); }
    [[nodiscard]] bool good() const noexcept { return good_; }

private:
    ByteView bytes_;
    bool good_ = true;
};

// The body of the next message, which has to be a `wanted`.
Result<ByteView> take_message(Fields& messages, Message wanted) {
    const std::uint32_t type = messages.number(1);
    const ByteView body = messages.vector(3);
    if (!messages.good()) return peer_fault("the handshake ends within a message");
    if (type != static_cast<unsigned>(wanted))
        return peer_fault(fmt::format("handshake message {} stands where {} has to be", type,
                                      static_cast<unsigned>(wanted)));
    return body;
}

struct ServerHello {
    ByteView random;
    std::uint32_t cipher = 0;
    bool is_retry = false;
};

Result<ServerHello> read_server_hello(ByteView body) {
    Fields fields(body);
    ServerHello hello;
    const std::uint32_t version = fields.number(2);
    hello.random = fields.take(k_random_size);
    const ByteView session_id = fields.vector(1);
    hello.cipher = fields.number(2);
    const std::uint32_t compression = fields.number(1);
    Fields extensions(fields.vector(2));
    if (!fields.ended() || version != k_tls_1_2 || session_id.size() > 32 || compression != 0)
        return peer_fault("malformed ServerHello");
    bool is_1_3 = false;
    while (!extensions.empty()) {
        const std::uint32_t type = extensions.number(2);
        Fields value(extensions.vector(2));
        if (type == k_extension_pre_shared_key) return peer_fault("a resumed handshake proves nothing");
        if (type == k_extension_supported_versions) is_1_3 = value.number(2) == k_tls_1_3 && value.ended();
    }
    if (!extensions.good()) return peer_fault("malformed ServerHello");
    if (!is_1_3) return peer_fault("the handshake is not TLS 1.3");
    hello.is_retry =
        std::equal(hello.random.begin(), hello.random.end(), k_retry_random.begin(), k_retry_random.end(),
                   [](std::byte a, unsigned char b) { return static_cast<unsigned char>(a) == b; });
    return hello;
}

Result<Hash> hash_of(std::uint32_t cipher) {
    switch (cipher) {
        case 0x1301:                       // AES-128-GCM
        case 0x1303:                       // CHACHA20-POLY1305
        case 0x1304:                       // AES-128-CCM
        case 0x1305: return Hash::sha256;  // AES-128-CCM-8
        case 0x1302: return Hash::sha384;  // AES-256-GCM
        default: return peer_fault(fmt::format("unknown cipher suite {:04x}", cipher));
    }
}

// The certificates of a Certificate message, in both directions.
Result<std::vector<ByteView>> read_certificates(ByteView body, const char* whose) {
    Fields fields(body);
    const ByteView context = fields.vector(1);
    const ByteView list = fields.vector(3);
    if (!fields.ended() || !context.empty())
        return peer_fault(fmt::format("malformed Certificate message of the {}", whose));
    if (list.size() > k_chain_bytes_max)
        return peer_fault(
            fmt::format("the {}'s certificate chain has more than {} bytes", whose, k_chain_bytes_max));
    std::vector<ByteView> chain;
    Fields entries(list);
    while (!entries.empty()) {
        const ByteView certificate = entries.vector(3);
        static_cast<void>(
            entries.vector(2));  // extensions: OCSP responses and the like, which decide nothing here
        if (!entries.good() || certificate.empty())
            return peer_fault(fmt::format("malformed Certificate message of the {}", whose));
        if (chain.size() == k_chain_max)
            return peer_fault(
                fmt::format("the {}'s certificate chain has more than {} certificates", whose, k_chain_max));
        chain.push_back(certificate);
    }
    if (chain.empty()) return peer_fault(fmt::format("the {} presented no certificate", whose));
    return chain;
}

// From the first ClientHello to the ServerHello that counts.
Done read_hellos(Fields& messages, Handshake& handshake) {
    const auto first = take_message(messages, Message::client_hello);
    if (!first) return tl::unexpected(first.error());
    auto body = take_message(messages, Message::server_hello);
    if (!body) return tl::unexpected(body.error());
    auto hello = read_server_hello(*body);
    if (!hello) return tl::unexpected(hello.error());
    if (hello->is_retry) {
        handshake.first_hello_size = 4 + first->size();
        const std::uint32_t cipher = hello->cipher;
        if (auto second = take_message(messages, Message::client_hello); !second)
            return tl::unexpected(second.error());
        body = take_message(messages, Message::server_hello);
        if (!body) return tl::unexpected(body.error());
        hello = read_server_hello(*body);
        if (!hello) return tl::unexpected(hello.error());
        if (hello->is_retry || hello->cipher != cipher)
            return peer_fault("the second ServerHello does not fit the first");
    }
    auto hash = hash_of(hello->cipher);
    if (!hash) return tl::unexpected(hash.error());
    handshake.hash = *hash;
    constexpr std::uint32_t k_aes_256_gcm = 0x1302, k_chacha20_poly1305 = 0x1303;
    handshake.strength = hello->cipher == k_aes_256_gcm || hello->cipher == k_chacha20_poly1305 ? 256 : 128;
    handshake.server_random = hello->random;
    return {};
}

}  // namespace

Result<Handshake> read_handshake(ByteView transcript) {
    Handshake handshake{
        .transcript = transcript, .server_random = {}, .server_certificate = {}, .client_chain = {}};
    Fields messages(transcript);
    if (auto done = read_hellos(messages, handshake); !done) return tl::unexpected(done.error());
    for (const Message wanted :
         {Message::encrypted_extensions, Message::certificate_request, Message::certificate,
          Message::certificate_verify, Message::finished, Message::certificate}) {
        const auto body = take_message(messages, wanted);
        if (!body) return tl::unexpected(body.error());
        if (wanted == Message::finished && body->size() != hash_size(handshake.hash))
            return peer_fault("the server's Finished has a wrong size");
        if (wanted != Message::certificate) continue;
        const bool is_server = handshake.server_certificate.empty();
        auto chain = read_certificates(*body, is_server ? "server" : "client");
        if (!chain) return tl::unexpected(chain.error());
        if (is_server)
            handshake.server_certificate = chain->front();
        else
            handshake.client_chain = std::move(*chain);
    }
    if (!messages.ended()) return peer_fault("the handshake goes on after the client's Certificate");
    return handshake;
}

Result<CertificateVerify> read_certificate_verify(ByteView body) {
    Fields fields(body);
    CertificateVerify verify;
    verify.scheme = static_cast<std::uint16_t>(fields.number(2));
    verify.signature = fields.vector(2);
    if (!fields.ended() || verify.signature.empty()) return peer_fault("malformed CertificateVerify");
    return verify;
}

}  // namespace virtgate::netd::doorman
