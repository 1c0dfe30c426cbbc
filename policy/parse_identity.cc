// SPDX-License-Identifier: LGPL-2.1-or-later
// parse_identity - read one [identity.NAME] of a policy file.
#include "policy/parse_identity.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "policy/attributes.h"
#include "policy/glob.h"
#include "policy/network.h"
#include "policy/table.h"

namespace virtgate::policy {

namespace {

using proto::policy::MatchKind;
using proto::policy::NameTest;
using proto::policy::TextTest;
using proto::policy::X509Test;
using proto::who::AlternativeNameKind;

constexpr std::string_view k_glob_prefix = "glob:";
constexpr std::string_view k_tls_version = "1.3";
constexpr std::int64_t k_strength_max = 1024;
constexpr std::int64_t k_id_max = 0xfffffffe;  // the last number means "none" to the kernel
constexpr std::size_t k_serial_digits_max = 128;

struct SanKey {
    std::string_view key;
    AlternativeNameKind kind;
};
constexpr std::array k_san_keys{
    SanKey{"san_dns", AlternativeNameKind::name_dns},
    SanKey{"san_uri", AlternativeNameKind::name_uri},
    SanKey{"san_email", AlternativeNameKind::name_email},
    SanKey{"san_ip", AlternativeNameKind::name_ip},
};

// What Cyrus SASL's plugins offer to a server that asks for identities.
const std::vector<std::string_view> k_mechanisms{
    "SCRAM-SHA-256", "SCRAM-SHA-512", "SCRAM-SHA-384", "SCRAM-SHA-224", "SCRAM-SHA-1", "GSSAPI",  "GS2-KRB5",
    "GSS-SPNEGO",    "DIGEST-MD5",    "CRAM-MD5",      "PLAIN",         "LOGIN",       "EXTERNAL"};

class IdentityParser {
public:
    explicit IdentityParser(TreeReader& reader) : reader_(reader) {}

    IdentitySource run(const Text& name, const config::Table& table) {
        IdentitySource identity{.name = name, .all = {}, .any = {}};
        std::vector<std::string_view> known = k_keys;
        known.emplace_back("any");
        reader_.refuse_others(table, known, " of an identity");
        identity.all = read_tests(table, {name.at.line, name.at.column});
        const config::Entry* any = TreeReader::find(table, "any");
        if (any != nullptr) read_any(*any, identity);
        if (identity.any.empty()) refuse_contradiction(identity.all, identity.all);
        for (const TestSource& test : identity.any) refuse_contradiction(identity.all, test);
        const bool says_who = identifies(identity.all);
        if (table.empty() || (any == nullptr && !says_who && !has_trouble_))
            complain_about_nobody({name.at.line, name.at.column},
                                  fmt::format("the identity \"{}\"", name.text), identity.all);
        for (const TestSource& test : identity.any)
            if (!says_who && !identifies(test) && !has_trouble_)
                complain_about_nobody({test.at.line, test.at.column}, "this alternative", test);
        return identity;
    }

private:
    static inline const std::vector<std::string_view> k_keys{"x509", "sasl",   "mechanism",
                                                             "unix", "source", "require"};

    // Wrong values leave tests out, so complaints that something is missing would only confuse then.
    void complain(const config::Place& place, std::string_view text) {
        has_trouble_ = true;
        reader_.complain(place, text);
    }

    static bool identifies(const TestSource& source) noexcept { return policy::identifies(source.test); }

    void complain_about_nobody(const config::Place& place, std::string_view what, const TestSource& source) {
        const bool is_bound = !source.test.sources.empty() || source.test.tls ||
                              source.test.certificate_shown || source.test.strength != 0;
        if (is_bound)
            complain(place,
                     fmt::format("{} would match everybody who comes that way: add \"x509\", \"sasl\" or "
                                 "\"unix\"",
                                 what));
        else
            complain(place, fmt::format("{} has no conditions", what));
    }

    void read_any(const config::Entry& entry, IdentitySource& identity) {
        const auto* list = std::get_if<config::Array>(&entry.node.value);
        if (list == nullptr || list->empty())
            return complain(entry.node.place, "\"any\" has to be a list of tables, of which one has to hold");
        if (list->size() > proto::policy::k_alternatives_max)
            return complain(entry.node.place,
                            fmt::format("more than {} alternatives", proto::policy::k_alternatives_max));
        for (const config::Node& node : *list) {
            const auto* table = std::get_if<config::Table>(&node.value);
            if (table == nullptr) {
                complain(node.place, "\"any\" has to be a list of tables, of which one has to hold");
                continue;
            }
            reader_.refuse_others(*table, k_keys, " of an alternative");
            identity.any.push_back(read_tests(*table, node.place));
        }
    }

    // A test that nobody can pass is a mistake in thinking, and better found here than by those who cannot
    // come in.
    void refuse_contradiction(const TestSource& a, const TestSource& b) {
        const auto has = [&](auto member) {
            return static_cast<bool>(a.test.*member) || static_cast<bool>(b.test.*member);
        };
        using Test = proto::policy::ClientTest;
        const bool is_far = !a.test.sources.empty() || !b.test.sources.empty() || has(&Test::tls) ||
                            has(&Test::certificate_shown) || has(&Test::strength) || has(&Test::certificate);
        if (has(&Test::local) && is_far)
            complain(
                {b.at.line, b.at.column},
                "nobody can match: a client with \"unix\" has no address, no certificate and no encryption");
    }

    TestSource read_tests(const config::Table& table, const config::Place& place) {
        TestSource source{.test = {}, .user = {}, .group = {}, .at = reader_.at(place)};
        if (const auto* entry = TreeReader::find(table, "x509")) read_x509(*entry, source.test.certificate);
        if (const auto* entry = TreeReader::find(table, "sasl"))
            if (auto name = read_test(*entry, "sasl"))
                source.test.login = {.name = std::move(*name), .mechanisms = {}};
        if (const auto* entry = TreeReader::find(table, "mechanism"))
            read_mechanisms(*entry, TreeReader::find(table, "sasl") != nullptr, source);
        if (const auto* entry = TreeReader::find(table, "unix")) read_unix(*entry, source);
        if (const auto* entry = TreeReader::find(table, "source")) read_sources(*entry, source);
        if (const auto* entry = TreeReader::find(table, "require")) read_require(*entry, source);
        return source;
    }

    // The table in `entry`, if it is one that is not empty.
    const config::Table* read_table(const config::Entry& entry, std::string_view key, std::string_view of) {
        const auto* table = std::get_if<config::Table>(&entry.node.value);
        if (table == nullptr)
            complain(entry.node.place, fmt::format("\"{}\" has to be a table of {}", key, of));
        else if (table->empty())
            complain(entry.node.place, fmt::format("an empty table of {} would match everybody", of));
        else if (table->size() <= proto::policy::k_conditions_max)
            return table;
        else
            complain(entry.node.place, fmt::format("too many {}", of));
        return nullptr;
    }

    // ---- certificates ----------------------------------------

    void read_x509(const config::Entry& entry, std::optional<X509Test>& test) {
        const config::Table* table = read_table(entry, "x509", "attributes");
        if (table == nullptr) return;
        X509Test x509;
        for (const auto& [key, value] : *table) {
            if (const SanKey* san = find_san(key))
                read_san(*san, value, x509);
            else if (key == "serial")
                read_serial(value, x509);
            else if (key == "fingerprint")
                read_fingerprint(value, x509);
            else if (key == "issuer")
                read_issuer(value, x509);
            else
                read_attribute(key, value, x509.subject, subject_keys());
        }
        test = std::move(x509);
    }

    static const SanKey* find_san(std::string_view key) {
        const auto* san = std::find_if(k_san_keys.begin(), k_san_keys.end(),
                                       [&](const SanKey& each) { return each.key == key; });
        return san == k_san_keys.end() ? nullptr : san;
    }

    static const std::vector<std::string_view>& subject_keys() {
        static const std::vector<std::string_view> k_all = [] {
            std::vector<std::string_view> all = known_attributes();
            for (const SanKey& san : k_san_keys) all.push_back(san.key);
            all.insert(all.end(), {"serial", "fingerprint", "issuer"});
            return all;
        }();
        return k_all;
    }

    void read_attribute(const std::string& attribute, const config::Entry& entry,
                        std::vector<NameTest>& tests, const std::vector<std::string_view>& known) {
        const std::string_view canonical = canonical_attribute(attribute);
        if (canonical.empty())
            complain(entry.key, fmt::format("unknown attribute \"{}\"{}", escape(attribute),
                                            did_you_mean(attribute, known)));
        if (auto value = read_test(entry, attribute))
            tests.push_back({.attribute = std::string(canonical), .value = std::move(*value)});
    }

    void read_issuer(const config::Entry& entry, X509Test& x509) {
        const config::Table* table = read_table(entry, "issuer", "attributes");
        if (table == nullptr) return;
        for (const auto& [key, value] : *table) read_attribute(key, value, x509.issuer, known_attributes());
    }

    void read_san(const SanKey& san, const config::Entry& entry, X509Test& x509) {
        auto value = read_test(entry, san.key);
        if (!value) return;
        if (san.kind == AlternativeNameKind::name_ip) {
            value->pattern = canonical_address(value->pattern);
            if (value->kind != MatchKind::match_exact || value->pattern.empty())
                return complain(entry.node.place, "\"san_ip\" has to be one IPv4 or IPv6 address");
        }
        x509.names.push_back({.kind = san.kind, .value = std::move(*value)});
    }

    // Hexadecimal digits in lower case. Colons between them are how most tools print such numbers.
    std::string read_digits(const config::Entry& entry, std::string_view key, std::string_view wanted) {
        const auto text = reader_.read_text(entry, key);
        has_trouble_ |= !text;
        std::string digits;
        if (!text) return digits;
        for (const char c : text->text) {
            if (c == ':') continue;
            const bool is_digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
            if (!is_digit) {
                complain(entry.node.place, wanted);
                return {};
            }
            digits += static_cast<char>(c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
        }
        if (digits.empty()) complain(entry.node.place, wanted);
        return digits;
    }

    void read_serial(const config::Entry& entry, X509Test& x509) {
        constexpr std::string_view k_wanted = "\"serial\" has to be a text of hexadecimal digits, not 0";
        x509.serial = read_digits(entry, "serial", k_wanted);
        if (x509.serial.empty()) return;
        x509.serial.erase(0, x509.serial.find_first_not_of('0'));
        if (x509.serial.empty() || x509.serial.size() > k_serial_digits_max)
            complain(entry.node.place, k_wanted);
    }

    void read_fingerprint(const config::Entry& entry, X509Test& x509) {
        constexpr std::string_view k_wanted =
            "\"fingerprint\" has to be the SHA-256 of the certificate: 64 hexadecimal digits, colons allowed";
        const std::string digits = read_digits(entry, "fingerprint", k_wanted);
        if (digits.empty()) return;
        if (digits.size() != 2 * std::size_t{proto::who::k_fingerprint_size})
            return complain(entry.node.place, k_wanted);
        const auto value = [&](std::size_t i) {
            return digits[i] <= '9' ? digits[i] - '0' : digits[i] - 'a' + 10;
        };
        for (std::size_t i = 0; i < digits.size(); i += 2)
            x509.fingerprint.push_back(static_cast<std::byte>(16 * value(i) + value(i + 1)));
    }

    // ---- SASL and UNIX ----------------------------------------

    void read_mechanisms(const config::Entry& entry, bool has_sasl, TestSource& source) {
        const std::vector<Text> names = reader_.read_texts(entry, "mechanism");
        has_trouble_ |= names.empty();
        if (!has_sasl)
            return complain(
                entry.key,
                "\"mechanism\" says how \"sasl\" was proved: add sasl = \"NAME\", or \"glob:*\" for all");
        if (names.size() > proto::policy::k_mechanisms_max)
            return complain(entry.node.place, "too many mechanisms");
        for (const Text& name : names) {
            if (std::find(k_mechanisms.begin(), k_mechanisms.end(), name.text) == k_mechanisms.end())
                reader_.warn({name.at.line, name.at.column},
                             fmt::format("unknown mechanism \"{}\"{}", escape(name.text),
                                         did_you_mean(name.text, k_mechanisms)));
            if (source.test.login) source.test.login->mechanisms.push_back(name.text);
        }
    }

    void read_unix(const config::Entry& entry, TestSource& source) {
        const config::Table* table = read_table(entry, "unix", "users and groups");
        if (table == nullptr) return;
        reader_.refuse_others(*table, {"uid", "gid", "user", "group"}, " of \"unix\"");
        proto::policy::LocalTest local;
        if (const auto* uid = TreeReader::find(*table, "uid")) local.uid = read_id(*uid, "uid");
        if (const auto* gid = TreeReader::find(*table, "gid"))
            if (const auto number = read_id(*gid, "gid")) local.groups.push_back(*number);
        if (const auto* user = TreeReader::find(*table, "user")) source.user = read_account(*user, "user");
        if (const auto* group = TreeReader::find(*table, "group"))
            source.group = read_account(*group, "group");
        source.test.local = std::move(local);
    }

    std::optional<std::uint32_t> read_id(const config::Entry& entry, std::string_view key) {
        const auto* number = std::get_if<std::int64_t>(&entry.node.value);
        if (number != nullptr && *number >= 0 && *number <= k_id_max)
            return static_cast<std::uint32_t>(*number);
        complain(entry.node.place, fmt::format("\"{}\" has to be a number from 0 to {}", key, k_id_max));
        return std::nullopt;
    }

    // A name as it is: the user database knows no patterns, and could not be asked for all of its names.
    std::optional<Text> read_account(const config::Entry& entry, std::string_view key) {
        auto name = reader_.read_text(entry, key);
        has_trouble_ |= !name;
        if (name && (name->text.empty() || name->text.find('\0') != name->text.npos ||
                     name->text.starts_with(k_glob_prefix))) {
            complain(entry.node.place, fmt::format("\"{}\" has to be one name", key));
            return std::nullopt;
        }
        return name;
    }

    // ---- where from ----------------------------------------

    void read_sources(const config::Entry& entry, TestSource& source) {
        const std::vector<Text> texts = reader_.read_texts(entry, "source");
        has_trouble_ |= texts.empty();
        if (texts.size() > proto::policy::k_sources_max)
            return complain(entry.node.place,
                            fmt::format("more than {} ranges", proto::policy::k_sources_max));
        for (const Text& text : texts) {
            auto network = parse_network(text.text);
            if (network)
                source.test.sources.push_back(std::move(*network));
            else
                complain({text.at.line, text.at.column}, network.error().text);
        }
    }

    void read_require(const config::Entry& entry, TestSource& source) {
        const config::Table* table = read_table(entry, "require", "requirements");
        if (table == nullptr) return;
        reader_.refuse_others(*table, {"tls", "client_cert", "ssf"}, " of \"require\"");
        if (const auto* tls = TreeReader::find(*table, "tls")) {
            const auto* version = std::get_if<std::string>(&tls->node.value);
            source.test.tls = is_true(*tls) || (version != nullptr && *version == k_tls_version);
            if (!source.test.tls)
                complain(tls->node.place,
                         fmt::format("\"tls\" has to be true or \"{}\", the only version there is",
                                     k_tls_version));
        }
        if (const auto* certificate = TreeReader::find(*table, "client_cert")) {
            source.test.certificate_shown = is_true(*certificate);
            if (!source.test.certificate_shown)
                complain(certificate->node.place, "\"client_cert\" has to be true; leave it out otherwise");
        }
        if (const auto* ssf = TreeReader::find(*table, "ssf")) {
            const auto* bits = std::get_if<std::int64_t>(&ssf->node.value);
            if (bits == nullptr || *bits < 1 || *bits > k_strength_max)
                complain(ssf->node.place,
                         fmt::format("\"ssf\" has to be a number of bits from 1 to {}", k_strength_max));
            else
                source.test.strength = static_cast<std::uint32_t>(*bits);
        }
    }

    static bool is_true(const config::Entry& entry) noexcept {
        const auto* value = std::get_if<bool>(&entry.node.value);
        return value != nullptr && *value;
    }

    // A text that is compared exactly, or "glob:" and a pattern.
    std::optional<TextTest> read_test(const config::Entry& entry, std::string_view key) {
        const auto text = reader_.read_text(entry, key);
        has_trouble_ |= !text;
        if (!text) return std::nullopt;
        const bool is_glob = text->text.starts_with(k_glob_prefix);
        std::string pattern = is_glob ? text->text.substr(k_glob_prefix.size()) : text->text;
        std::string_view flaw = is_glob ? flaw_of_glob(pattern) : std::string_view{};
        if (pattern.empty())
            flaw = "an empty text matches nothing";
        else if (pattern.size() > proto::who::k_text_max)
            flaw = "the text is too long";
        else if (std::any_of(pattern.begin(), pattern.end(),
                             [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
            flaw = "the text contains a control character, which no name has";
        if (flaw.empty())
            return TextTest{.kind = is_glob ? MatchKind::match_glob : MatchKind::match_exact,
                            .pattern = std::move(pattern)};
        complain(entry.node.place, flaw);
        return std::nullopt;
    }

    TreeReader& reader_;
    bool has_trouble_ = false;
};

}  // namespace

IdentitySource parse_identity(const Text& name, const config::Table& table, TreeReader& reader) {
    return IdentityParser(reader).run(name, table);
}

}  // namespace virtgate::policy
