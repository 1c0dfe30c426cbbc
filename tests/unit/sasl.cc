// SPDX-License-Identifier: LGPL-2.1-or-later
// sasl - virtgate-sasl against clients of libsasl2: who gets in, who does not, and that nothing stays.
#include <criterion/criterion.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>

#include "libshared/base/clock.h"
#include "libshared/rpc/header.h"
#include "libshared/userdb/users.h"
#include "netd/doorman/sasl/library.h"
#include "netd/doorman/sasl/mechanisms.h"
#include "proto/codec.h"
#include "tests/unit/support/sasl_stage.h"

using namespace virtgate;
using namespace virtgate::test;
using channel::Outcome;
using userdb::Hash;

namespace {

// Of every answer to somebody who is not let in.
constexpr int k_auth_failed = 45;

const std::vector<std::string> k_all{"SCRAM-SHA-256", "SCRAM-SHA-512", "SCRAM-SHA-1", "DIGEST-MD5", "PLAIN"};

Login try_login(SaslStage& stage, const std::string& mechanism, const std::string& user,
                const std::string& password, bool needs_layer = false, const std::string& realm = "") {
    Visitor visitor = stage.open(needs_layer);
    Client client(user, password, needs_layer, realm);
    return log_in(visitor, client, mechanism);
}

std::string text_of(const Token& token) { return token ? std::string{as_text(*token)} : "(nil)"; }
Token token_of(std::string_view text) {
    const ByteView bytes = as_bytes(text);
    return ByteVector(bytes.begin(), bytes.end());
}

// The part of SCRAM's first answer that begins with `key`.
std::string part_of(const Token& token, std::string_view key) {
    const std::string text = text_of(token);
    const std::size_t at = text.find(key);
    if (at == std::string::npos) return {};
    return text.substr(at, text.find(',', at + 1) - at);
}

void expect_refused(const Answer& answer, const char* what) {
    cr_expect_eq(answer.outcome, Outcome::done, "%s: no answer", what);
    cr_expect(answer.refused, "%s: not refused", what);
    cr_expect_eq(answer.code, k_auth_failed, "%s: code %d", what, answer.code);
}

// The process is gone: nothing more comes.
void expect_over(Visitor& visitor, const char* what) {
    const Answer rest = visitor.receive();
    cr_expect_eq(rest.outcome, Outcome::closed, "%s: the exchange is not over", what);
}

}  // namespace

Test(sasl, offers_what_is_configured_and_possible) {
    SaslStage stage(make_config({"PLAIN", "SCRAM-SHA-512", "DIGEST-MD5", "SCRAM-SHA-256"}), make_users());
    const auto offers = stage.ask_mechanisms();
    const std::vector<std::string> all{"PLAIN", "SCRAM-SHA-512", "DIGEST-MD5", "SCRAM-SHA-256"},
        strong{"DIGEST-MD5"};
    cr_expect(offers.below_encryption == all);
    cr_expect(offers.with_layer == strong);
    cr_expect(stage.end(), "it outlives its supervisor");
}

Test(sasl, lets_users_in_who_know_their_password) {
    SaslStage stage(make_config(k_all), make_users());
    for (const std::string& mechanism : k_all) {
        const Login login = try_login(stage, mechanism, "alice", "open sesame");
        cr_expect(login.complete, "%s: %s", mechanism.c_str(), login.last.text.c_str());
        cr_expect(login.last.result.name == "alice");
        cr_expect_eq(login.last.result.strength, 0U);
        cr_expect(!login.last.clear);
    }
    cr_expect(stage.wait_for_children(0), "processes stay behind");
}

// Nothing but the text for the log may tell somebody who guesses names from somebody who guesses passwords.
Test(sasl, strangers_fail_like_wrong_passwords) {
    SaslStage stage(make_config(k_all), make_users());
    for (const std::string& mechanism : k_all) {
        const Login wrong = try_login(stage, mechanism, "alice", "open barley");
        const Login unknown = try_login(stage, mechanism, "mallory", "open sesame");
        const Login again = try_login(stage, mechanism, "mallory", "open sesame");
        for (const Login* login : {&wrong, &unknown, &again}) expect_refused(login->last, mechanism.c_str());
        cr_expect_eq(wrong.calls, unknown.calls, "%s fails in another step", mechanism.c_str());
        cr_assert_eq(wrong.answers.size(), unknown.answers.size());
        for (std::size_t i = 0; i < wrong.answers.size(); ++i) {
            cr_expect_eq(text_of(wrong.answers[i]).size(), text_of(unknown.answers[i]).size(), "%s",
                         mechanism.c_str());
            cr_expect(part_of(wrong.answers[i], ",i=") == part_of(unknown.answers[i], ",i="));
            cr_expect(part_of(unknown.answers[i], ",s=") == part_of(again.answers[i], ",s="),
                      "the salt changes");
        }
        cr_expect(unknown.last.text.find("no user 'mallory'") != std::string::npos, "%s",
                  unknown.last.text.c_str());
        cr_expect(wrong.last.text.find("alice") != std::string::npos, "%s", wrong.last.text.c_str());
    }
}

Test(sasl, lacking_a_verifier_looks_like_a_wrong_password) {
    SaslStage stage(make_config({"SCRAM-SHA-512", "DIGEST-MD5"}), make_users());
    const Login bob = try_login(stage, "SCRAM-SHA-512", "bob", "builder");
    cr_expect_eq(bob.calls, 2);
    expect_refused(bob.last, "SCRAM-SHA-512");
    expect_refused(try_login(stage, "DIGEST-MD5", "bob", "builder").last, "DIGEST-MD5");
}

// What is stored for DIGEST-MD5 is good in one realm only.
Test(sasl, digest_md5_of_another_realm_is_refused) {
    auto config = make_config({"DIGEST-MD5"});
    config.host_name = "elsewhere.example.org";
    SaslStage stage(std::move(config), make_users());
    const Login login = try_login(stage, "DIGEST-MD5", "alice", "open sesame");
    cr_expect_eq(login.calls, 2);
    expect_refused(login.last, "another realm");
}

Test(sasl, a_changed_file_works_at_once) {
    SaslStage stage(make_config(), make_users());
    auto users = *userdb::Users::parse(make_users());
    users.put(make_user("carol", "new here", {Hash::sha256}));
    users.remove("alice");
    cr_expect(!try_login(stage, "SCRAM-SHA-256", "carol", "new here").complete);
    stage.rewrite_users(users.to_text());
    cr_expect(try_login(stage, "SCRAM-SHA-256", "carol", "new here").complete);
    cr_expect(!try_login(stage, "SCRAM-SHA-256", "alice", "open sesame").complete);
    stage.rewrite_users("this is something else\n");
    const Login broken = try_login(stage, "SCRAM-SHA-256", "carol", "new here");
    cr_expect_eq(broken.calls, 2);
    expect_refused(broken.last, "a damaged file");
}

Test(sasl, realm_is_appended_and_taken_off) {
    auto config = make_config({"SCRAM-SHA-256", "PLAIN"});
    config.realm = "EXAMPLE.ORG";
    SaslStage stage(std::move(config), make_users());
    for (const char* mechanism : {"SCRAM-SHA-256", "PLAIN"}) {
        const Login login = try_login(stage, mechanism, "alice", "open sesame");
        cr_expect(login.complete, "%s", mechanism);
        cr_expect(login.last.result.name == "alice@EXAMPLE.ORG");
        cr_expect(try_login(stage, mechanism, "alice@EXAMPLE.ORG", "open sesame").complete);
        expect_refused(try_login(stage, mechanism, "alice@ELSEWHERE.ORG", "open sesame").last, mechanism);
    }
}

Test(sasl, mechanisms_that_were_not_offered_are_refused) {
    SaslStage stage(make_config({"SCRAM-SHA-256", "DIGEST-MD5"}), make_users());
    for (const char* name : {"PLAIN", "ANONYMOUS", "EXTERNAL", "GSSAPI", "SCRAM-SHA-512", "scram-sha-256", "",
                             "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256 PLAIN", "*"}) {
        Visitor visitor = stage.open();
        expect_refused(visitor.begin(name, token_of("n,,n=alice,r=abcdefghijklmnop")), name);
        expect_over(visitor, name);
    }
    // On plain TCP the mechanism has to encrypt.
    Visitor visitor = stage.open(true);
    expect_refused(visitor.begin("SCRAM-SHA-256", token_of("n,,n=alice,r=abcdefghijklmnop")), "no layer");
}

Test(sasl, plain_is_not_possible_without_encryption) {
    SaslStage stage(make_config({"PLAIN"}), make_users());
    cr_expect(stage.ask_mechanisms().with_layer.empty());
    Visitor visitor = stage.open(true);
    expect_refused(visitor.begin("PLAIN", token_of(std::string_view{"\0alice\0open sesame", 18})), "PLAIN");
}

Test(sasl, nobody_logs_in_as_somebody_else) {
    SaslStage stage(make_config({"PLAIN", "SCRAM-SHA-256"}), make_users());
    Visitor good = stage.open();
    cr_expect(
        good.begin("PLAIN", token_of(std::string_view{"alice\0alice\0open sesame", 23})).result.complete);
    Visitor other = stage.open();
    expect_refused(other.begin("PLAIN", token_of(std::string_view{"bob\0alice\0open sesame", 21})), "bob");
    Visitor root = stage.open();
    expect_refused(root.begin("PLAIN", token_of(std::string_view{"root\0alice\0open sesame", 22})), "root");
}

Test(sasl, names_that_cannot_be_are_refused_alike) {
    SaslStage stage(make_config({"PLAIN", "SCRAM-SHA-256"}), make_users());
    const std::vector<std::string> names{
        "",           " ",       std::string(1024, 'a'), std::string(5000, 'a'),
        "a\nb",       "-",       "\xc3\xa4lice",         "\xff\xfe",
        "alic\u212e", "alice,x", "virtgate-users",       "#",
        "..",         "a\tb",    "alice changed="};
    for (const std::string& name : names) {
        Visitor plain = stage.open();
        std::string token = '\0' + name;
        token += '\0';
        token += "open sesame";
        expect_refused(plain.begin("PLAIN", token_of(token)), name.c_str());
        Visitor scram = stage.open();
        const Answer first =
            scram.begin("SCRAM-SHA-256", token_of("n,,n=" + name + ",r=abcdefghijklmnopqrst"));
        if (first.refused) {
            expect_refused(first, name.c_str());
            continue;
        }
        const std::string nonce = part_of(first.result.data, "r=");
        expect_refused(scram.go_on(token_of("c=biws," + nonce + ",p=" + std::string(43, 'A') + "=")),
                       name.c_str());
    }
    for (const std::string_view token :
         {std::string_view{"\0ali\0ce\0open sesame", 19}, std::string_view{"\0\0", 2},
          std::string_view{"\0alice\0", 7}, std::string_view{"", 0}}) {
        Visitor visitor = stage.open();
        expect_refused(visitor.begin("PLAIN", token_of(token)), "PLAIN");
    }
    cr_expect(try_login(stage, "PLAIN", "alice", "open sesame").complete);
}

Test(sasl, nil_is_not_empty) {
    SaslStage stage(make_config({"PLAIN"}), make_users());
    // A client that has nothing to say yet is asked for its first token, with an empty one.
    Visitor nil = stage.open();
    const Answer asked = nil.begin("PLAIN", {});
    cr_assert(!asked.refused && !asked.result.complete);
    cr_expect(asked.result.data.has_value() && asked.result.data->empty());
    const Answer done = nil.go_on(token_of(std::string_view{"\0alice\0open sesame", 18}));
    cr_expect(done.result.complete);
    cr_expect_not(done.result.data.has_value());
    // One that says something empty has begun, wrongly.
    Visitor empty = stage.open();
    expect_refused(empty.begin("PLAIN", ByteVector{}), "empty");
}

Test(sasl, out_of_order_ends_the_exchange) {
    SaslStage stage(make_config(), make_users());
    const auto begin = *proto::encode(proto::exchange::BeginArgs{"SCRAM-SHA-256", {}});
    const auto go_on = *proto::encode(proto::exchange::GoOnArgs{token_of("x")});
    Visitor step_first = stage.open();
    cr_expect_eq(step_first.call(2, go_on).outcome, Outcome::closed);
    Visitor twice = stage.open();
    cr_expect_eq(twice.call(1, begin).outcome, Outcome::done);
    cr_expect_eq(twice.call(1, begin).outcome, Outcome::closed);
    for (const std::uint32_t procedure : {0U, 3U, 67U, ~0U}) {
        Visitor unknown = stage.open();
        cr_expect_eq(unknown.call(procedure, begin).outcome, Outcome::closed);
    }
    Visitor after = stage.open();
    Client client("alice", "open sesame");
    cr_assert(log_in(after, client, "SCRAM-SHA-256").complete);
    cr_expect_eq(after.call(2, go_on).outcome, Outcome::closed);
    Visitor mixed = stage.open();
    cr_expect_eq(mixed.call(1, go_on).outcome, Outcome::closed, "GO_ON's arguments for BEGIN");
    Visitor foreign = stage.open();
    auto header = rpc::make_call(0x20008086, 1, proto::exchange::Procedure::begin, 1);
    cr_assert_eq(channel::send_packet(foreign.get(), rpc::make_frame(header, begin)), Outcome::done);
    expect_over(foreign, "a foreign program");
    cr_expect(stage.wait_for_children(0));
}

Test(sasl, tokens_of_every_size) {
    SaslStage stage(make_config({"SCRAM-SHA-256", "DIGEST-MD5", "PLAIN"}), make_users());
    for (const char* mechanism : {"SCRAM-SHA-256", "DIGEST-MD5", "PLAIN"})
        for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{9}, std::size_t{61440}})
            for (const char fill : {'\0', 'n', ',', '"', '\xff'}) {
                Visitor visitor = stage.open();
                Answer answer = visitor.begin(mechanism, token_of(std::string(size, fill)));
                if (answer.outcome == Outcome::done && !answer.refused)
                    answer = visitor.go_on(token_of(std::string(size, fill)));
                expect_refused(answer, mechanism);
            }
    // One byte more than a token may have does not even reach libsasl2.
    ByteVector payload =
        *proto::encode(proto::exchange::BeginArgs{"PLAIN", token_of(std::string(61440, 'x'))});
    const std::byte* size_at = payload.data() + 4 + 8 + 4;
    cr_assert_eq(load_be32(size_at), 61440U);
    store_be32(payload.data() + 16, 61441);
    payload.resize(payload.size() + 4);
    Visitor visitor = stage.open();
    cr_expect_eq(visitor.call(1, payload).outcome, Outcome::closed);
    cr_expect(stage.wait_for_children(0));
}

Test(sasl, garbage_ends_the_exchange_and_nothing_else) {
    SaslStage stage(make_config(k_all), make_users());
    unsigned seed = 1;
    for (int i = 0; i < 100; ++i) {
        std::string noise(1 + rand_r(&seed) % 2000, '\0');
        std::generate(noise.begin(), noise.end(), [&] { return static_cast<char>(rand_r(&seed)); });
        Visitor raw = stage.open();
        cr_assert_eq(channel::send_packet(raw.get(), as_bytes(noise)), Outcome::done);
        expect_over(raw, "noise");
        const std::string& mechanism = k_all[static_cast<std::size_t>(i) % k_all.size()];
        Visitor token = stage.open();
        Answer answer = token.begin(mechanism, token_of(noise));
        if (answer.outcome == Outcome::done && !answer.refused) answer = token.go_on(token_of(noise));
        expect_refused(answer, mechanism.c_str());
    }
    cr_expect(stage.wait_for_children(0));
    cr_expect(try_login(stage, "SCRAM-SHA-256", "alice", "open sesame").complete);
}

Test(sasl, late_clients_are_left) {
    auto config = make_config();
    config.exchange_timeout = 200;
    SaslStage stage(std::move(config), make_users());
    const Instant start = system_clock().now();
    Visitor silent = stage.open(), half = stage.open();
    half.begin("SCRAM-SHA-256", {});
    expect_over(silent, "silent");
    expect_over(half, "half");
    cr_expect_lt(milliseconds_since(start), 2000.0);
    cr_expect(stage.wait_for_children(0));
}

// VIRTGATE_TEST_ABORTS: how many, for long runs.
Test(sasl, aborts_leave_nothing_behind, .timeout = 3600) {
    SaslStage stage(make_config({"SCRAM-SHA-256", "DIGEST-MD5"}), make_users());
    const char* wish = getenv("VIRTGATE_TEST_ABORTS");
    const int count = wish != nullptr ? atoi(wish) : 300;
    const auto abort_one = [&](int i) {
        Visitor visitor = stage.open();
        Client client("alice", "open sesame");
        const bool digest = (i & 1) != 0;
        if (i % 4 == 0) return visitor.leave();
        Answer answer = visitor.begin(digest ? "DIGEST-MD5" : "SCRAM-SHA-256",
                                      digest ? Token{} : (client.start("SCRAM-SHA-256"), client.token()));
        cr_assert_eq(answer.outcome, Outcome::done);
        if (i % 4 == 1) return visitor.leave();
        if (digest) client.start("DIGEST-MD5");
        client.step(answer.result.data);
        const auto last = proto::encode(proto::exchange::GoOnArgs{client.token()});
        if (i % 4 == 2) static_cast<void>(visitor.call(2, *last));  // to the end
        visitor.leave();                                            // or in the middle of an answer
    };
    for (int i = 0; i < 50; ++i) abort_one(i);
    cr_assert(stage.wait_for_children(0));
    const std::size_t fds = stage.count_fds(), kib = SaslStage::data_kib(stage.pid());
    for (int i = 0; i < count; ++i) {
        abort_one(i);
        // Not more at a time than are allowed, or nothing would be tried.
        if (i % 100 == 99) cr_assert(stage.wait_for_children(0), "processes stay behind");
    }
    cr_assert(stage.wait_for_children(0), "processes stay behind");
    cr_expect_eq(stage.count_fds(), fds);
    const std::size_t after = SaslStage::data_kib(stage.pid());
    cr_expect_leq(after, kib + 64, "%zu KiB before, %zu after", kib, after);
    cr_expect(try_login(stage, "SCRAM-SHA-256", "alice", "open sesame").complete);
}

Test(sasl, sixty_four_at_a_time) {
    SaslStage stage(make_config(), make_users());
    std::vector<Visitor> visitors;
    std::vector<std::unique_ptr<Client>> clients;
    std::vector<Answer> answers;
    for (int i = 0; i < 64; ++i) {
        visitors.push_back(stage.open());
        clients.push_back(std::make_unique<Client>("alice", i % 2 == 0 ? "open sesame" : "wrong"));
        clients.back()->start("SCRAM-SHA-256");
        answers.push_back(visitors.back().begin("SCRAM-SHA-256", clients.back()->token()));
    }
    cr_expect_eq(stage.children().size(), 64U);
    for (std::size_t i = 0; i < 64; ++i) {
        clients[i]->step(answers[i].result.data);
        const Answer last = visitors[i].go_on(clients[i]->token());
        cr_expect_eq(last.result.complete, i % 2 == 0);
        cr_expect_eq(last.refused, i % 2 != 0);
    }
    cr_expect(stage.wait_for_children(0));
}

Test(sasl, more_processes_than_allowed_are_refused) {
    auto config = make_config();
    config.exchanges = 2;
    SaslStage stage(std::move(config), make_users());
    Visitor one = stage.open(), two = stage.open();
    one.begin("SCRAM-SHA-256", {});
    two.begin("SCRAM-SHA-256", {});
    Visitor three = stage.open();
    expect_over(three, "the third");
    one.leave();
    cr_assert(stage.wait_for_children(1));
    cr_expect(try_login(stage, "SCRAM-SHA-256", "alice", "open sesame").complete);
}

Test(sasl, processes_end_with_the_one_that_made_them) {
    for (const bool by_force : {true, false}) {
        SaslStage stage(make_config(), make_users());
        Visitor visitor = stage.open();
        visitor.begin("SCRAM-SHA-256", {});
        cr_assert_eq(stage.children().size(), 1U);
        if (by_force)
            kill(stage.pid(), SIGKILL);
        else
            cr_assert(stage.end());
        expect_over(visitor, "its maker has ended");
    }
}

Test(sasl, an_exchange_has_its_own_channel_only) {
    SaslStage stage(make_config(), make_users());
    Visitor other = stage.open(), visitor = stage.open();
    other.begin("SCRAM-SHA-256", {});
    visitor.begin("SCRAM-SHA-256", {});
    for (const pid_t pid : stage.children())
        for (int fd = 4; fd < 64; ++fd)
            cr_expect_neq(access(fmt::format("/proc/{}/fd/{}", pid, fd).c_str(), F_OK), 0, "descriptor %d",
                          fd);
}

// A database of Cyrus SASL has clear text passwords, and libsasl2 makes the verifiers at each login.
Test(sasl, cyrus_database) {
    const std::string path = fmt::format("/tmp/virtgate-test-sasldb-{}", getpid());
    unlink(path.c_str());
    const std::string command = fmt::format(
        "printf 'open sesame' | saslpasswd2 -p -c -f {} -a libvirt -u host.example.org alice", path);
    cr_assert_eq(system(command.c_str()), 0, "saslpasswd2 of sasl2-bin does not work");
    auto config = make_config({"SCRAM-SHA-256", "SCRAM-SHA-512", "DIGEST-MD5", "PLAIN"});
    config.sasldb = path;
    SaslStage stage(config);
    for (const std::string& mechanism : config.mechanisms) {
        const Login good = try_login(stage, mechanism, "alice", "open sesame");
        cr_expect(good.complete, "%s: %s", mechanism.c_str(), good.last.text.c_str());
        const Login wrong = try_login(stage, mechanism, "alice", "open barley");
        const Login unknown = try_login(stage, mechanism, "mallory", "open sesame");
        const Login again = try_login(stage, mechanism, "mallory", "open sesame");
        for (const Login* login : {&wrong, &unknown, &again}) expect_refused(login->last, mechanism.c_str());
        cr_expect_eq(wrong.calls, unknown.calls, "%s fails in another step", mechanism.c_str());
        for (std::size_t i = 0; i < wrong.answers.size(); ++i) {
            cr_expect_eq(text_of(wrong.answers[i]).size(), text_of(unknown.answers[i]).size());
            cr_expect(part_of(unknown.answers[i], ",s=") == part_of(again.answers[i], ",s="),
                      "the salt changes");
        }
    }
    unlink(path.c_str());
}

// Prints what a login costs; VIRTGATE_TEST_LOGINS: how many. It takes a small part of this time.
Test(sasl, logins_are_quick) {
    SaslStage stage(make_config(), make_users());
    const char* wish = getenv("VIRTGATE_TEST_LOGINS");
    const int count = wish != nullptr ? atoi(wish) : 20;
    double forks = 0, wrong = 0, unknown = 0;
    for (int i = 0; i < count; ++i) {
        const Instant start = system_clock().now();
        Visitor visitor = stage.open();
        visitor.begin("SCRAM-SHA-256", token_of("n,,n=alice,r=abcdefghijklmnopqrst"));
        forks += milliseconds_since(start);
        const auto time = [&](const char* user) {
            Visitor guess = stage.open();
            const Answer first =
                guess.begin("SCRAM-SHA-256", token_of(fmt::format("n,,n={},r=abcdefghij", user)));
            const Instant begin = system_clock().now();
            guess.go_on(
                token_of("c=biws," + part_of(first.result.data, "r=") + ",p=" + std::string(43, 'A') + "="));
            return milliseconds_since(begin);
        };
        wrong += time("alice");
        unknown += time("mallory");
    }
    fmt::print(stderr,
               "login: {:.2f} ms to fork and answer, refused in {:.2f} ms (wrong) and {:.2f} ms (unknown)\n",
               forks / count, wrong / count, unknown / count);
    cr_expect_lt(forks / count, 500.0);
}

Test(sasl, configurations_that_cannot_work) {
    const auto refuse = [](proto::config::SaslConfig config, const char* part) {
        const auto library = netd::doorman::sasl::Library::load(std::move(config));
        cr_assert(!library, "%s", part);
        cr_expect(library.error().text.find(part) != std::string::npos, "%s", library.error().text.c_str());
    };
    refuse(make_config({}), "no SASL mechanism");
    refuse(make_config({"ANONYMOUS"}), "there is no SASL mechanism \"ANONYMOUS\"");
    refuse(make_config({"SCRAM-SHA-256"}), "needs a file of users or a sasldb");
    auto config = make_config({"SCRAM-SHA-256"});
    config.users = "/nonexistent";
    config.sasldb = "/nonexistent";
    refuse(config, "not from both");
    config = make_config({"GSSAPI"});
    config.keytab = "/nonexistent";
    refuse(config, "cannot read the keytab /nonexistent");
}

Test(sasl, plugins_are_told_by_their_names) {
    using netd::doorman::sasl::is_plugin;
    cr_expect(is_plugin("/usr/lib/sasl2/libscram.so.2", "libscram"));
    cr_expect(is_plugin("libscram.so", "libscram"));
    cr_expect_not(is_plugin("/usr/lib/sasl2/libscramble.so", "libscram"));
    cr_expect_not(is_plugin("/usr/lib/libscram.so/libntlm.so", "libscram"));
    cr_expect_null(netd::doorman::sasl::find_mechanism("LOGIN"));
}
