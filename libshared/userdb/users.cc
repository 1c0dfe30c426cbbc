// SPDX-License-Identifier: LGPL-2.1-or-later
// users - the text of the file that "virtgate passwd" writes and virtgate-sasl reads.
#include "libshared/userdb/users.h"

#include <gnutls/gnutls.h>

#include <algorithm>
#include <charconv>

namespace virtgate::userdb {

namespace {

constexpr std::string_view k_magic = "virtgate-users";
constexpr std::string_view k_version = "1";
constexpr std::string_view k_digest_prefix = "DIGEST-MD5$";
constexpr char k_comment[] =
    "# Users who log in with a password. Written by \"virtgate passwd\"; see virtgate-users(5).\n";

// Takes the first word and the blank behind it off `line`.
std::string_view take_word(std::string_view& line) {
    const std::string_view word = line.substr(0, line.find(' '));
    line.remove_prefix(std::min(line.size(), word.size() + 1));
    return word;
}

// What follows `prefix` in `word`; nothing if it begins with something else.
std::optional<std::string_view> after(std::string_view word, std::string_view prefix) {
    if (!word.starts_with(prefix)) return {};
    return word.substr(prefix.size());
}

bool is_ascii_text(std::string_view text) noexcept {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

bool is_name_character(char c) noexcept {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           std::string_view{"._-@+"}.find(c) != std::string_view::npos;
}

bool is_realm(std::string_view realm) noexcept {
    return !realm.empty() && realm.size() <= k_realm_max && is_ascii_text(realm) &&
           realm.find_first_of(" :\"\\") == std::string_view::npos;
}

Result<Preamble> parse_preamble(std::string_view line) {
    if (take_word(line) != k_magic) return peer_fault("line 1: this is no file of virtgate users");
    if (const std::string_view version = take_word(line); version != k_version)
        return peer_fault(
            fmt::format("line 1: format {} is not known to this virtgate", escape(version, 16)));
    Preamble preamble;
    const auto iterations = after(take_word(line), "iterations=");
    const auto key = after(take_word(line), "key=");
    if (!iterations || !key || !line.empty()) return peer_fault("line 1: damaged");
    const char* end = iterations->data() + iterations->size();
    const auto [stop, failure] = std::from_chars(iterations->data(), end, preamble.iterations);
    if (failure != std::errc{} || stop != end || preamble.iterations < k_iterations_min ||
        preamble.iterations > k_iterations_max)
        return peer_fault(
            fmt::format("line 1: iterations have to be {} to {}", k_iterations_min, k_iterations_max));
    const auto bytes = from_base64(*key);
    if (!bytes || bytes->size() != k_key_size) return peer_fault("line 1: damaged key");
    std::copy(bytes->begin(), bytes->end(), preamble.key.begin());
    return preamble;
}

Result<DigestSecret> parse_digest(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    DigestSecret digest;
    if (colon == std::string_view::npos || !is_realm(text.substr(0, colon)) ||
        text.size() - colon - 1 != 2 * digest.secret.size())
        return peer_fault("damaged entry for DIGEST-MD5");
    digest.realm = text.substr(0, colon);
    for (std::size_t i = 0; i < digest.secret.size(); ++i) {
        unsigned char byte = 0;
        const char* at = text.data() + colon + 1 + 2 * i;
        const auto [stop, failure] = std::from_chars(at, at + 2, byte, 16);
        if (failure != std::errc{} || stop != at + 2) return peer_fault("damaged entry for DIGEST-MD5");
        digest.secret[i] = std::byte{byte};
    }
    return digest;
}

Result<User> parse_user(std::string_view line) {
    User user;
    user.name = take_word(line);
    if (auto good = check_name(user.name); !good) return tl::make_unexpected(std::move(good.error()));
    const auto changed = after(take_word(line), "changed=");
    const auto time = changed ? parse_time(std::string{*changed}) : std::nullopt;
    if (!time) return peer_fault("changed= has to be a time like 2026-01-31T23:59:59Z");
    user.changed = *time;
    while (!line.empty()) {
        const std::string_view word = take_word(line);
        if (const auto digest = after(word, k_digest_prefix)) {
            auto secret = parse_digest(*digest);
            if (!secret) return tl::make_unexpected(std::move(secret.error()));
            if (user.digest) return peer_fault("DIGEST-MD5 is there twice");
            user.digest = std::move(*secret);
            continue;
        }
        auto verifier = parse_verifier(word);
        if (!verifier) return tl::make_unexpected(std::move(verifier.error()));
        if (user.find(verifier->hash) != nullptr)
            return peer_fault(fmt::format("{} is there twice", mechanism_of(verifier->hash)));
        user.verifiers.push_back(std::move(*verifier));
    }
    if (user.verifiers.empty()) return peer_fault("a user without a verifier");
    return user;
}

std::string format_user(const User& user) {
    std::string line = fmt::format("{} changed={}", user.name, format_time(user.changed));
    for (const Verifier& verifier : user.verifiers) line += " " + to_text(verifier);
    if (user.digest)
        line += fmt::format(" {}{}:{}", k_digest_prefix, user.digest->realm, to_hex(user.digest->secret));
    return line;
}

// Calls `each` with every line that is no comment and its number, until it returns false.
template <class Each>
void for_lines(std::string_view text, Each each) {
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        if (!line.empty() && line.front() != '#' && !each(line, number)) return;
    }
}

std::string_view first_line(std::string_view text) { return text.substr(0, text.find('\n')); }

tl::unexpected<Error> at_line(std::size_t number, Error error) {
    return wrap(std::move(error), fmt::format("line {}", number));
}

}  // namespace

const Verifier* User::find(Hash hash) const noexcept {
    for (const Verifier& verifier : verifiers)
        if (verifier.hash == hash) return &verifier;
    return nullptr;
}

Preamble make_preamble() {
    Preamble preamble;
    const ByteVector key = random_bytes(k_key_size);
    std::copy(key.begin(), key.end(), preamble.key.begin());
    return preamble;
}

Result<Users> Users::parse(std::string_view text) {
    if (text.size() > k_file_max) return peer_fault(fmt::format("more than {} bytes", k_file_max));
    const auto preamble = parse_preamble(first_line(text));
    if (!preamble) return tl::make_unexpected(preamble.error());
    Users users{*preamble};
    std::optional<tl::unexpected<Error>> flaw;
    for_lines(text, [&](std::string_view line, std::size_t number) {
        if (number == 1) return true;
        auto user = parse_user(line);
        if (!user) {
            flaw = at_line(number, std::move(user.error()));
        } else if (users.find(user->name) != nullptr) {
            flaw = peer_fault(fmt::format("line {}: {} is there twice", number, user->name));
        } else {
            users.put(std::move(*user));
        }
        return !flaw;
    });
    if (flaw) return *flaw;
    return users;
}

const User* Users::find(std::string_view name) const noexcept {
    const auto at = users_.find(name);
    return at == users_.end() ? nullptr : &at->second;
}

void Users::put(User user) {
    std::string name = user.name;
    users_.insert_or_assign(std::move(name), std::move(user));
}

bool Users::remove(std::string_view name) {
    const auto at = users_.find(name);
    if (at == users_.end()) return false;
    users_.erase(at);
    return true;
}

std::string Users::to_text() const {
    std::string text = fmt::format("{} {} iterations={} key={}\n{}", k_magic, k_version, preamble_.iterations,
                                   to_base64(preamble_.key), k_comment);
    for (const auto& [name, user] : users_) text += format_user(user) + "\n";
    return text;
}

Result<Found> look_up(std::string_view text, std::string_view name) {
    const auto preamble = parse_preamble(first_line(text));
    if (!preamble) return tl::make_unexpected(preamble.error());
    Found found{*preamble, {}};
    std::string_view match;
    std::size_t at = 0;
    // To the end in any case, so that neither being there nor the place in the file shows in the time.
    for_lines(text, [&](std::string_view line, std::size_t number) {
        if (number != 1 && match.empty() && line.substr(0, line.find(' ')) == name) {
            match = line;
            at = number;
        }
        return true;
    });
    if (match.empty()) return found;
    auto user = parse_user(match);
    if (!user) return at_line(at, std::move(user.error()));
    found.user = std::move(*user);
    return found;
}

Done check_name(std::string_view name) {
    if (name.empty()) return peer_fault("a user's name cannot be empty");
    if (name.size() > k_name_max)
        return peer_fault(fmt::format("a user's name has at most {} characters", k_name_max));
    if (name.front() == '-') return peer_fault("a user's name cannot begin with \"-\"");
    if (!std::all_of(name.begin(), name.end(), is_name_character))
        return peer_fault(fmt::format(
            "\"{}\" is no user's name: it consists of ASCII letters, digits and the characters . _ - @ +",
            escape(name, 64)));
    return {};
}

Done check_password(std::string_view password) {
    if (password.empty()) return peer_fault("a password cannot be empty");
    if (password.size() > k_password_max)
        return peer_fault(fmt::format("a password has at most {} bytes", k_password_max));
    if (!is_plain_text(password)) return peer_fault("a password is UTF-8 text without control characters");
    gnutls_datum_t normal{};
    if (gnutls_utf8_password_normalize(reinterpret_cast<const unsigned char*>(password.data()),
                                       static_cast<unsigned>(password.size()), &normal, 0) < 0)
        return peer_fault("the password has characters that are not allowed in passwords (RFC 8265)");
    std::string same(reinterpret_cast<const char*>(normal.data), normal.size);
    wipe(MutableBytes{reinterpret_cast<std::byte*>(normal.data), normal.size});
    gnutls_free(normal.data);
    const bool stays = same == password;
    wipe(same);
    if (!stays)
        return peer_fault("the password has characters that clients send in different ways: choose others");
    return {};
}

Result<DigestSecret> make_digest_secret(std::string_view name, std::string_view realm,
                                        std::string_view password) {
    if (!is_realm(realm))
        return peer_fault("a realm for DIGEST-MD5 is ASCII without blanks, colons and quotes");
    // With other characters it depends on the client which bytes are hashed.
    if (!is_ascii_text(name) || !is_ascii_text(password))
        return peer_fault("a password for DIGEST-MD5 has to be ASCII");
    std::string text = fmt::format("{}:{}:{}", name, realm, password);
    auto hash = md5(as_bytes(text));
    wipe(text);
    if (!hash) return tl::make_unexpected(std::move(hash.error()));
    DigestSecret digest{std::string{realm}, {}};
    std::copy(hash->begin(), hash->end(), digest.secret.begin());
    wipe(*hash);
    return digest;
}

std::string format_time(std::time_t time) {
    std::tm parts{};
    gmtime_r(&time, &parts);
    char text[64];
    const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return {text, size};
}

std::optional<std::time_t> parse_time(const std::string& text) {
    std::tm parts{};
    const char* end = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    if (end == nullptr || *end != '\0') return {};
    return timegm(&parts);
}

}  // namespace virtgate::userdb
