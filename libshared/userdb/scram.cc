// SPDX-License-Identifier: LGPL-2.1-or-later
// scram - what is stored of a password so that SCRAM can check it, and nobody can read it back.
#include "libshared/userdb/scram.h"

#include <array>
#include <charconv>

namespace virtgate::userdb {

namespace {

struct Named {
    Hash hash;
    std::string_view mechanism;
};
constexpr std::array k_mechanisms{Named{Hash::sha1, "SCRAM-SHA-1"}, Named{Hash::sha256, "SCRAM-SHA-256"},
                                  Named{Hash::sha512, "SCRAM-SHA-512"}};

struct Keys {
    ByteVector stored, server;
};

// RFC 5802, section 3.
Result<Keys> derive_keys(Hash hash, std::string_view password, ByteView salt, std::uint32_t iterations) {
    auto salted = stretch(hash, password, salt, iterations);
    if (!salted) return tl::make_unexpected(std::move(salted.error()));
    ByteVector client = hmac(hash, *salted, as_bytes("Client Key"));
    Keys keys{digest(hash, client), hmac(hash, *salted, as_bytes("Server Key"))};
    wipe(client);
    wipe(*salted);
    return keys;
}

// Takes what comes before `end` off the front of `text`; nothing if it has no `end`.
std::optional<std::string_view> take_until(std::string_view& text, char end) {
    const std::size_t at = text.find(end);
    if (at == std::string_view::npos) return {};
    const std::string_view part = text.substr(0, at);
    text.remove_prefix(at + 1);
    return part;
}

}  // namespace

std::string_view mechanism_of(Hash hash) noexcept {
    for (const Named& entry : k_mechanisms)
        if (entry.hash == hash) return entry.mechanism;
    panic("a hash that does not exist");
}

std::optional<Hash> hash_of(std::string_view mechanism) noexcept {
    for (const Named& entry : k_mechanisms)
        if (entry.mechanism == mechanism) return entry.hash;
    return {};
}

Result<Verifier> make_verifier(Hash hash, std::string_view password, std::uint32_t iterations) {
    Verifier verifier{hash, iterations, random_bytes(k_salt_size), {}, {}};
    auto keys = derive_keys(hash, password, verifier.salt, iterations);
    if (!keys) return tl::make_unexpected(std::move(keys.error()));
    verifier.stored_key = std::move(keys->stored);
    verifier.server_key = std::move(keys->server);
    return verifier;
}

Verifier make_decoy(Hash hash, ByteView key, std::string_view name, std::uint32_t iterations) {
    std::string text{mechanism_of(hash)};
    text += '\0';
    text += name;
    ByteVector salt = hmac(Hash::sha256, key, as_bytes(text));
    salt.resize(k_salt_size);
    return {hash, iterations, std::move(salt), random_bytes(size_of(hash)), random_bytes(size_of(hash))};
}

Result<bool> fits(const Verifier& verifier, std::string_view password) {
    const auto keys = derive_keys(verifier.hash, password, verifier.salt, verifier.iterations);
    if (!keys) return tl::make_unexpected(keys.error());
    return same_secret(keys->stored, verifier.stored_key);
}

std::string to_text(const Verifier& verifier) {
    return fmt::format("{}${}:{}${}:{}", mechanism_of(verifier.hash), verifier.iterations,
                       to_base64(verifier.salt), to_base64(verifier.stored_key),
                       to_base64(verifier.server_key));
}

Result<Verifier> parse_verifier(std::string_view text) {
    const auto mechanism = take_until(text, '$');
    const auto iterations = mechanism ? take_until(text, ':') : std::nullopt;
    const auto salt = iterations ? take_until(text, '$') : std::nullopt;
    const auto stored = salt ? take_until(text, ':') : std::nullopt;
    if (!stored) return peer_fault("a verifier is MECHANISM$ITERATIONS:SALT$STOREDKEY:SERVERKEY");
    const auto hash = hash_of(*mechanism);
    if (!hash) return peer_fault(fmt::format("unknown mechanism \"{}\"", escape(*mechanism, 32)));

    Verifier verifier{*hash, 0, {}, {}, {}};
    const char* end = iterations->data() + iterations->size();
    const auto [stop, failure] = std::from_chars(iterations->data(), end, verifier.iterations);
    if (failure != std::errc{} || stop != end || verifier.iterations < k_iterations_min ||
        verifier.iterations > k_iterations_max)
        return peer_fault(
            fmt::format("the number of iterations has to be {} to {}", k_iterations_min, k_iterations_max));
    auto salt_bytes = from_base64(*salt), stored_bytes = from_base64(*stored),
         server_bytes = from_base64(text);
    if (!salt_bytes || !stored_bytes || !server_bytes) return peer_fault("damaged base64 in a verifier");
    if (salt_bytes->empty() || salt_bytes->size() > 64 || stored_bytes->size() != size_of(*hash) ||
        server_bytes->size() != size_of(*hash))
        return peer_fault("a key of a wrong length in a verifier");
    verifier.salt = std::move(*salt_bytes);
    verifier.stored_key = std::move(*stored_bytes);
    verifier.server_key = std::move(*server_bytes);
    return verifier;
}

}  // namespace virtgate::userdb
