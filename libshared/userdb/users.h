// SPDX-License-Identifier: LGPL-2.1-or-later
// users - the text of the file that "virtgate passwd" writes and virtgate-sasl reads.
//
//     virtgate-users 1 iterations=N key=BASE64
//     # a comment
//     NAME changed=2026-01-31T23:59:59Z VERIFIER [VERIFIER…] [DIGEST-MD5$REALM:32 HEX DIGITS]
//
// The key in the first line makes the salts of users who do not exist (see make_decoy()), with the
// iterations beside it: a stranger cannot tell them from the real ones. See virtgate-users(5).
//
// Trust:  the file belongs to the administrator. A damaged line is refused with its number.
// Limits: k_file_max bytes, k_name_max bytes a name.
// Owns:   copies of everything; the text may go.
#pragma once

#include <array>
#include <ctime>
#include <map>
#include <vector>

#include "libshared/userdb/scram.h"

namespace virtgate::userdb {

inline constexpr std::size_t k_file_max = 16U << 20;
inline constexpr std::size_t k_name_max = 128;
inline constexpr std::size_t k_realm_max = 255;
inline constexpr std::size_t k_password_max = 1024;
inline constexpr std::uint32_t k_iterations_default = 20'000;
inline constexpr std::size_t k_key_size = 32;

// H(name:realm:password) of RFC 2831, with MD5: as good as the password itself for DIGEST-MD5 in that realm.
struct DigestSecret {
    std::string realm;
    std::array<std::byte, 16> secret{};
};

struct User {
    std::string name;
    std::time_t changed = 0;  // seconds since 1970, UTC
    std::vector<Verifier> verifiers;
    std::optional<DigestSecret> digest;

    // The verifier of `hash`, or null.
    [[nodiscard]] const Verifier* find(Hash hash) const noexcept;
};

// What the first line says.
struct Preamble {
    std::uint32_t iterations =
        k_iterations_default;  // of new verifiers, and of those of users who do not exist
    std::array<std::byte, k_key_size> key{};
};
// With a random key.
[[nodiscard]] Preamble make_preamble();

class Users {
public:
    // No user yet, and a new key.
    static Users make_new() { return Users{make_preamble()}; }
    // All of the file's text. Error: peer's fault, "line 7: …".
    static Result<Users> parse(std::string_view text);

    [[nodiscard]] const Preamble& preamble() const noexcept { return preamble_; }
    void set_iterations(std::uint32_t iterations) noexcept { preamble_.iterations = iterations; }
    [[nodiscard]] const std::map<std::string, User, std::less<>>& all() const noexcept { return users_; }
    // Null if there is no such user.
    [[nodiscard]] const User* find(std::string_view name) const noexcept;
    // Adds `user`, or replaces the one of that name.
    void put(User user);
    // False if there is no such user.
    bool remove(std::string_view name);
    [[nodiscard]] std::string to_text() const;

private:
    explicit Users(const Preamble& preamble) : preamble_(preamble) {}
    Preamble preamble_;
    std::map<std::string, User, std::less<>> users_;
};

struct Found {
    Preamble preamble;
    std::optional<User> user;
};
// Finds one user without building all of them; the time does not tell whether `name` is there. Other users'
// lines are not judged. Error: peer's fault, if the first line or that user's is damaged.
[[nodiscard]] Result<Found> look_up(std::string_view text, std::string_view name);

// May `name` be a user's? Letters, digits and . _ - @ + of ASCII, not beginning with "-": SASL's mechanisms
// have different ideas of the same name with anything else. Error: peer's fault, says why not.
[[nodiscard]] Done check_name(std::string_view name);

// May `password` be one? UTF-8 without control characters, in the form that RFC 8265 prescribes: clients that
// normalise and clients that do not must send the same bytes. Error: peer's fault, says why not.
[[nodiscard]] Done check_password(std::string_view password);

// What DIGEST-MD5 needs. `name`, `realm` and `password` have to be ASCII without control characters, colons
// and blanks in the realm: error: peer's fault. System's fault, if MD5 is not to be had.
[[nodiscard]] Result<DigestSecret> make_digest_secret(std::string_view name, std::string_view realm,
                                                      std::string_view password);

// "2026-01-31T23:59:59Z", and back; empty if it is none.
[[nodiscard]] std::string format_time(std::time_t time);
[[nodiscard]] std::optional<std::time_t> parse_time(const std::string& text);

}  // namespace virtgate::userdb
