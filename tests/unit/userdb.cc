// SPDX-License-Identifier: LGPL-2.1-or-later
// userdb - verifiers, decoys, and the file that they are kept in.
#include <criterion/criterion.h>

#include "libshared/userdb/users.h"

using namespace virtgate;
using namespace virtgate::userdb;

namespace {

// The examples of RFC 5802 and RFC 7677: user "user", password "pencil".
constexpr char k_sha1[] =
    "SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE=";
constexpr char k_sha256[] =
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

User make_user(const std::string& name, const std::string& password = "open sesame") {
    User user;
    user.name = name;
    user.changed = 1700000000;
    user.verifiers.push_back(*make_verifier(Hash::sha256, password, k_iterations_min));
    return user;
}

void expect_flaw(const std::string& text, const char* part) {
    const auto users = Users::parse(text);
    cr_assert(!users, "accepted: %s", text.c_str());
    cr_expect(users.error().text.find(part) != std::string::npos, "\"%s\" instead of \"%s\"",
              users.error().text.c_str(), part);
}

}  // namespace

Test(userdb, verifiers_of_the_standards) {
    for (const char* text : {k_sha1, k_sha256}) {
        const auto verifier = parse_verifier(text);
        cr_assert(verifier.has_value(), "%s", text);
        cr_expect(to_text(*verifier) == text);
        cr_expect(*fits(*verifier, "pencil"));
        cr_expect_not(*fits(*verifier, "pencil "));
        cr_expect_not(*fits(*verifier, ""));
    }
}

Test(userdb, new_verifiers_fit_and_differ) {
    for (const Hash hash : {Hash::sha1, Hash::sha256, Hash::sha512}) {
        const auto one = make_verifier(hash, "correct horse", 4096),
                   two = make_verifier(hash, "correct horse", 4096);
        cr_expect(*fits(*one, "correct horse"));
        cr_expect_not(*fits(*one, "correct house"));
        cr_expect(one->salt != two->salt && one->stored_key != two->stored_key);
        cr_expect_eq(one->stored_key.size(), size_of(hash));
        const auto again = parse_verifier(to_text(*one));
        cr_expect(again && again->stored_key == one->stored_key && again->hash == hash);
    }
}

Test(userdb, damaged_verifiers_are_refused) {
    const std::string good = k_sha256;
    cr_assert(parse_verifier(good).has_value());
    for (std::size_t i = 0; i < good.size(); ++i)
        cr_expect_not(parse_verifier(good.substr(0, i)).has_value(), "%zu", i);
    const auto with = [&](std::string_view from, std::string_view to) {
        std::string text = good;
        text.replace(text.find(from), from.size(), to);
        return parse_verifier(text).has_value();
    };
    cr_expect(with("4096", "4097"));
    for (const char* iterations :
         {"", "0", "4095", "-4096", "4096x", " 4096", "10000001", "99999999999999999999"})
        cr_expect_not(with("4096", iterations), "%s", iterations);
    cr_expect_not(with("SHA-256", "SHA-384"));
    cr_expect_not(with("SHA-256", "SHA-512"));
    cr_expect_not(with("SCRAM", "scram"));
    cr_expect_not(with("W22Z", "W2 Z"));
    cr_expect_not(with("gQ==", "gR=="), "bits that nobody reads");
    cr_expect_not(with("WG5d", "WG5dWG5d"));
    cr_expect_not(with("4096:W22ZaJ0SNY7soEsUEjb6gQ==", "4096:"), "no salt");
}

Test(userdb, base64_has_one_spelling) {
    cr_expect(to_base64(as_bytes("")) == "");
    cr_expect(to_base64(as_bytes("f")) == "Zg==");
    cr_expect(to_base64(as_bytes("fo")) == "Zm8=");
    cr_expect(to_base64(as_bytes("foobar")) == "Zm9vYmFy");
    for (const char* text : {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "/+8="}) {
        const auto bytes = from_base64(text);
        cr_assert(bytes.has_value(), "%s", text);
        cr_expect(to_base64(*bytes) == text);
    }
    for (const char* text :
         {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "====", "Z===", "Zg= ", "Z-8=", "\nZg=="})
        cr_expect_not(from_base64(text).has_value(), "%s", text);
}

Test(userdb, decoys_are_stable_and_fit_nobody) {
    const Preamble preamble = make_preamble(), other = make_preamble();
    for (const Hash hash : {Hash::sha1, Hash::sha256, Hash::sha512}) {
        const Verifier one = make_decoy(hash, preamble.key, "mallory", 4096);
        const Verifier again = make_decoy(hash, preamble.key, "mallory", 4096);
        cr_expect(one.salt == again.salt, "the salt changes");
        cr_expect(one.stored_key != again.stored_key, "a decoy that could be guessed");
        cr_expect(one.salt != make_decoy(hash, preamble.key, "mallorx", 4096).salt);
        cr_expect(one.salt != make_decoy(hash, other.key, "mallory", 4096).salt);
        cr_expect(
            one.salt !=
            make_decoy(hash == Hash::sha1 ? Hash::sha256 : Hash::sha1, preamble.key, "mallory", 4096).salt);
        const auto real = make_verifier(hash, "x", 4096);
        cr_expect_eq(to_text(one).size(), to_text(*real).size(), "a decoy looks different");
        cr_expect_not(*fits(one, ""));
        cr_expect_not(*fits(one, "mallory"));
    }
}

Test(userdb, file_is_written_and_read) {
    Users users = Users::make_new();
    users.set_iterations(5000);
    User alice = make_user("alice");
    alice.verifiers.push_back(*make_verifier(Hash::sha512, "open sesame", 5000));
    alice.digest = *make_digest_secret("alice", "host.example.org", "open sesame");
    users.put(alice);
    users.put(make_user("bob@EXAMPLE.ORG"));
    const std::string text = users.to_text();
    const auto again = Users::parse(text);
    cr_assert(again.has_value(), "%s", again ? "" : again.error().text.c_str());
    cr_expect(again->to_text() == text);
    cr_expect_eq(again->preamble().iterations, 5000U);
    cr_expect(again->preamble().key == users.preamble().key);
    const User* found = again->find("alice");
    cr_assert_not_null(found);
    cr_expect_eq(found->changed, 1700000000);
    cr_assert_not_null(found->find(Hash::sha512));
    cr_expect(*fits(*found->find(Hash::sha512), "open sesame"));
    cr_assert(found->digest.has_value());
    cr_expect_str_eq(found->digest->realm.c_str(), "host.example.org");
    cr_expect_null(again->find("bob"));
    cr_expect_not_null(again->find("bob@EXAMPLE.ORG"));
    cr_expect(text.find("open sesame") == std::string::npos, "the password is in the file");

    Users changed = *again;
    cr_expect(changed.remove("alice"));
    cr_expect_not(changed.remove("alice"));
    changed.put(make_user("bob@EXAMPLE.ORG", "another"));
    cr_expect_eq(changed.all().size(), 1U);
    cr_expect_not(*fits(*changed.find("bob@EXAMPLE.ORG")->find(Hash::sha256), "open sesame"));
}

Test(userdb, two_files_have_two_keys) {
    cr_expect(Users::make_new().preamble().key != Users::make_new().preamble().key);
}

Test(userdb, digest_secret_is_that_of_rfc_2831) {
    const auto digest = make_digest_secret("alice", "host.example.org", "open sesame");
    cr_assert(digest.has_value());
    cr_expect(to_hex(digest->secret) == "7bdaaa99ace46c9e37f47feabd27097e");
    cr_expect_not(make_digest_secret("alice", "", "x").has_value());
    cr_expect_not(make_digest_secret("alice", "two words", "x").has_value());
    cr_expect_not(make_digest_secret("alice", "a:b", "x").has_value());
    cr_expect_not(make_digest_secret("alice", "realm", "p\xc3\xa4ss").has_value());
}

Test(userdb, damaged_files_are_refused_with_the_line) {
    const std::string head = Users::make_new().to_text(), verifier = k_sha256;
    const std::string good = head + "alice changed=2026-01-31T23:59:59Z " + verifier + "\n";
    cr_assert(Users::parse(good).has_value());
    cr_assert(Users::parse(good.substr(0, good.size() - 1)).has_value(), "without the last line's end");
    expect_flaw("", "line 1: this is no file of virtgate users");
    expect_flaw("root:x:0:0\n", "line 1: this is no file of virtgate users");
    expect_flaw("virtgate-users 2 iterations=4096 key=x\n", "format 2 is not known");
    expect_flaw("virtgate-users 1 iterations=12 key=AAAA\n", "line 1: ");
    expect_flaw("virtgate-users 1 iterations=4096 key=AAAA\n", "line 1: damaged key");
    expect_flaw("virtgate-users 1 iterations=4096\n", "line 1: damaged");
    expect_flaw(good + "alice changed=2026-01-31T23:59:59Z " + verifier + "\n",
                "line 4: alice is there twice");
    expect_flaw(head + "alice " + verifier + "\n", "line 3: changed=");
    expect_flaw(head + "alice changed=yesterday " + verifier + "\n", "line 3: changed=");
    expect_flaw(head + "alice changed=2026-01-31T23:59:59Z\n", "line 3: a user without a verifier");
    expect_flaw(head + "al:ice changed=2026-01-31T23:59:59Z " + verifier + "\n",
                "line 3: \"al:ice\" is no user's name");
    expect_flaw(head + "alice changed=2026-01-31T23:59:59Z " + verifier + " " + verifier + "\n",
                "SCRAM-SHA-256 is there twice");
    expect_flaw(head + "alice changed=2026-01-31T23:59:59Z " + verifier + "  x\n", "line 3: ");
    for (const char* digest :
         {"DIGEST-MD5$", "DIGEST-MD5$realm", "DIGEST-MD5$realm:00",
          "DIGEST-MD5$:00112233445566778899aabbccddeeff", "DIGEST-MD5$realm:00112233445566778899aabbccddeefg",
          "DIGEST-MD5$realm:00112233445566778899aabbccddeeff00"})
        expect_flaw(head + "alice changed=2026-01-31T23:59:59Z " + verifier + " " + digest + "\n",
                    "damaged entry for DIGEST-MD5");
    expect_flaw(std::string(k_file_max + 1, 'x'), "more than");
}

Test(userdb, one_user_is_looked_up) {
    Users users = Users::make_new();
    users.put(make_user("alice"));
    users.put(make_user("alicia"));
    // Another user's damaged line does not keep alice out; her own does.
    const std::string text = users.to_text() + "zoe nonsense\n";
    const auto alice = look_up(text, "alice");
    cr_assert(alice && alice->user);
    cr_expect_str_eq(alice->user->name.c_str(), "alice");
    cr_expect(alice->preamble.key == users.preamble().key);
    for (const char* name : {"ali", "alice ", "alice changed=", "", "#", "virtgate-users", "bob"}) {
        const auto nobody = look_up(text, name);
        cr_expect(nobody && !nobody->user, "%s", name);
    }
    cr_expect_not(look_up(text, "zoe").has_value());
    cr_expect_not(look_up("", "alice").has_value());
}

Test(userdb, names) {
    for (const char* name : {"alice", "a", "Alice.B-c_d+e@EXAMPLE.ORG", "0", "@"})
        cr_expect(check_name(name).has_value(), "%s", name);
    cr_expect(check_name(std::string(k_name_max, 'a')).has_value());
    for (const std::string name : {"", "-x", "a b", "a\tb", "a\nb", "a:b", "a,b", "a=b", "#a", "\xc3\xa4",
                                   "a\x7f", "a\"b", "a/b", "a\\b"})
        cr_expect_not(check_name(name).has_value(), "%s", name.c_str());
    cr_expect_not(check_name(std::string(k_name_max + 1, 'a')).has_value());
    cr_expect_not(check_name(std::string_view{"a\0b", 3}).has_value());
}

Test(userdb, passwords) {
    for (const std::string password :
         {"x", "correct horse battery staple", "p\xc3\xa4ssword", "\xe2\x82\xac", " leading"})
        cr_expect(check_password(password).has_value(), "%s", password.c_str());
    cr_expect(check_password(std::string(k_password_max, 'x')).has_value());
    cr_expect_not(check_password(std::string(k_password_max + 1, 'x')).has_value());
    for (const std::string_view password : {std::string_view{""}, std::string_view{"a\0b", 3},
                                            std::string_view{"a\nb"}, std::string_view{"\xff\xfe"},
                                            // an "a" and two dots as two characters, which some clients join
                                            std::string_view{"a\xcc\x88"},
                                            // a blank that is not ASCII's
                                            std::string_view{"a\xe3\x80\x80"}})
        cr_expect_not(check_password(password).has_value());
}

Test(userdb, times) {
    cr_expect(format_time(1700000000) == "2023-11-14T22:13:20Z");
    cr_expect_eq(parse_time("2023-11-14T22:13:20Z").value_or(0), 1700000000);
    for (const char* text :
         {"", "2023-11-14", "2023-11-14T22:13:20", "2023-11-14T22:13:20Zx", "2023-13-14T22:13:20Z"})
        cr_expect_not(parse_time(text).has_value(), "%s", text);
}

Test(userdb, secrets_are_wiped_and_compared) {
    std::string text = "secret";
    wipe(text);
    cr_expect(text.empty());
    ByteVector bytes(4, std::byte{7});
    wipe(bytes);
    cr_expect(bytes == ByteVector(4, std::byte{0}));
    cr_expect(same_secret(as_bytes("ab"), as_bytes("ab")));
    cr_expect_not(same_secret(as_bytes("ab"), as_bytes("ac")));
    cr_expect_not(same_secret(as_bytes("ab"), as_bytes("abc")));
    cr_expect(random_bytes(32) != random_bytes(32));
}
