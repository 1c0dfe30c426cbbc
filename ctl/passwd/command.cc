// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate passwd".
#include "ctl/passwd/command.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "config.h"
#include "ctl/output.h"
#include "ctl/passwd/listing.h"
#include "ctl/passwd/prompt.h"
#include "ctl/passwd/store.h"
#include "libshared/base/suggest.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::passwd {

namespace {

constexpr int k_exit_no = 1;
constexpr char k_default_file[] = VIRTGATE_SYSCONFDIR "/users";
// Below this it is said that the password is short, and it is taken.
constexpr std::size_t k_long_enough = 12;

constexpr char k_footer[] =
    "Example, for a user and then to see who there is:\n"
    "  virtgate passwd set alice\n"
    "  virtgate passwd list\n"
    "\"virtgate help passwd COMMAND\" tells more about each. See virtgate-passwd(1).";

int fail(const Error& error) { return say(error, spawn::k_exit_system); }
int complain(const Error& error) { return say(error.text, spawn::k_exit_usage); }

// A password in memory, overwritten at the end.
struct Secret {
    Secret() = default;
    explicit Secret(std::string secret) : text(std::move(secret)) {}
    Secret(Secret&& other) noexcept : text(std::move(other.text)) { userdb::wipe(other.text); }
    Secret& operator=(Secret&&) = delete;
    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    ~Secret() { userdb::wipe(text); }
    std::string text;
};

class PasswdCommand final : public Command {
public:
    explicit PasswdCommand(CLI::App& app);
    [[nodiscard]] bool parsed() const override;
    [[nodiscard]] int run() const override;

private:
    CLI::App *passwd_{}, *set_{}, *remove_{}, *list_{}, *check_{};

    std::string name_, file_ = k_default_file, digest_realm_;
    bool from_stdin_ = false, generated_ = false, sha1_ = false, json_ = false;

    CLI::App* add(const char* command, const char* text);
    void add_user(CLI::App* app, const char* text);

    [[nodiscard]] bool is_interactive() const { return !from_stdin_ && isatty(STDIN_FILENO) != 0; }
    [[nodiscard]] Result<Secret> new_password() const;
    [[nodiscard]] Result<userdb::User> make_user(const std::string& password, std::uint32_t iterations) const;
    [[nodiscard]] int tell_nobody(const userdb::Users& users) const;
    void tell_lost(const userdb::User& before) const;

    [[nodiscard]] int run_set() const;
    [[nodiscard]] int run_delete() const;
    [[nodiscard]] int run_list() const;
    [[nodiscard]] int run_check() const;
};

CLI::App* PasswdCommand::add(const char* command, const char* text) {
    CLI::App* app = passwd_->add_subcommand(command, text);
    app->footer("See virtgate-passwd(1).");
    app->add_option("--file", file_, "the file of users (default: " VIRTGATE_SYSCONFDIR "/users)")
        ->type_name("FILE");
    return app;
}

void PasswdCommand::add_user(CLI::App* app, const char* text) {
    app->add_option("USER", name_, text)->required();
}

PasswdCommand::PasswdCommand(CLI::App& app) {
    passwd_ = app.add_subcommand("passwd", "users who log in with a password: add, change, delete, list");
    passwd_->require_subcommand(1);
    passwd_->footer(k_footer);

    set_ = add("set", "add a user, or give one another password");
    add_user(set_, "the user's name");
    CLI::Option* from_stdin =
        set_->add_flag("--stdin", from_stdin_, "read the password from standard input, one line");
    set_->add_flag("--generate", generated_, "make a random password and print it")->excludes(from_stdin);
    set_->add_option("--digest-md5", digest_realm_,
                     "also store what DIGEST-MD5 needs in this realm; it is as good as the password")
        ->type_name("REALM");
    set_->add_flag("--scram-sha-1", sha1_, "also make a verifier for SCRAM-SHA-1");

    remove_ = add("delete", "delete a user");
    add_user(remove_, "the user's name");

    list_ = add("list", "show the users, and what they can log in with");
    list_->add_flag("--json", json_, "as JSON");

    check_ = add("check", "find out whether a password is a user's");
    add_user(check_, "the user's name");
    check_->add_flag("--stdin", from_stdin_, "read the password from standard input, one line");
}

bool PasswdCommand::parsed() const { return passwd_->parsed(); }

int PasswdCommand::run() const {
    if (list_->parsed()) return run_list();
    // Before anything is asked or touched.
    if (const Done good = userdb::check_name(name_); !good) return complain(good.error());
    if (set_->parsed()) return run_set();
    if (remove_->parsed()) return run_delete();
    return run_check();
}

Result<Secret> PasswdCommand::new_password() const {
    if (generated_) return Secret{generate()};
    if (!is_interactive()) {
        auto line = read_line(STDIN_FILENO);
        if (!line) return tl::make_unexpected(line.error());
        return Secret{std::move(*line)};
    }
    auto first = ask(STDIN_FILENO, fmt::format("New password of {}", name_));
    if (!first) return tl::make_unexpected(first.error());
    Secret secret{std::move(*first)};
    auto second = ask(STDIN_FILENO, "The same again");
    if (!second) return tl::make_unexpected(second.error());
    const Secret again{std::move(*second)};
    if (secret.text != again.text)
        return peer_fault("these are two different passwords; nothing was changed");
    return secret;
}

Result<userdb::User> PasswdCommand::make_user(const std::string& password, std::uint32_t iterations) const {
    using userdb::Hash;
    userdb::User user;
    user.name = name_;
    user.changed = std::time(nullptr);
    std::vector<Hash> hashes{Hash::sha256, Hash::sha512};
    if (sha1_) hashes.push_back(Hash::sha1);
    for (const Hash hash : hashes) {
        auto verifier = userdb::make_verifier(hash, password, iterations);
        if (!verifier) return tl::make_unexpected(std::move(verifier.error()));
        user.verifiers.push_back(std::move(*verifier));
    }
    if (!digest_realm_.empty()) {
        auto digest = userdb::make_digest_secret(name_, digest_realm_, password);
        if (!digest) return tl::make_unexpected(std::move(digest.error()));
        user.digest = std::move(*digest);
    }
    return user;
}

// What the user had and has no more, since nobody can make it from a verifier.
void PasswdCommand::tell_lost(const userdb::User& before) const {
    if (before.digest && digest_realm_.empty())
        fmt::print(stderr,
                   "virtgate: {} can log in with DIGEST-MD5 no more; \"--digest-md5 {}\" keeps that\n", name_,
                   before.digest->realm);
    if (before.find(userdb::Hash::sha1) != nullptr && !sha1_)
        fmt::print(stderr, "virtgate: {} can log in with SCRAM-SHA-1 no more; \"--scram-sha-1\" keeps that\n",
                   name_);
}

int PasswdCommand::run_set() const {
    // A file that cannot be changed is better known before a password is typed twice.
    if (const auto store = Store::open(file_, true); !store) return fail(store.error());
    const auto secret = new_password();
    if (!secret) return secret.error().fault == Fault::peer ? complain(secret.error()) : fail(secret.error());
    if (const Done good = userdb::check_password(secret->text); !good) return complain(good.error());

    auto store = Store::open(file_, true);
    if (!store) return fail(store.error());
    auto user = make_user(secret->text, store->users().preamble().iterations);
    if (!user) return user.error().fault == Fault::peer ? complain(user.error()) : fail(user.error());
    const userdb::User* before = store->users().find(name_);
    if (before != nullptr) tell_lost(*before);
    const bool known = before != nullptr, fresh = store->is_new();
    store->users().put(std::move(*user));
    if (const Done done = store->save(); !done) return fail(done.error());
    if (generated_)
        fmt::print("{}\n", secret->text);
    else if (secret->text.size() < k_long_enough)
        fmt::print(stderr,
                   "virtgate: this password is short; \"--generate\" makes one that nobody guesses\n");
    if (is_interactive() || generated_)
        fmt::print(stderr, "virtgate: {} {}{}\n", known ? "changed the password of" : "added", name_,
                   fresh ? fmt::format(", and made {}", file_) : "");
    return 0;
}

int PasswdCommand::tell_nobody(const userdb::Users& users) const {
    std::vector<std::string_view> names;
    for (const auto& [known, user] : users.all()) names.push_back(known);
    fmt::print(stderr, "virtgate: there is no user \"{}\" in {}{}\n", name_, file_,
               did_you_mean(name_, names));
    return k_exit_no;
}

int PasswdCommand::run_delete() const {
    auto store = Store::open(file_, true);
    if (!store) return fail(store.error());
    if (!store->users().remove(name_)) return tell_nobody(store->users());
    if (const Done done = store->save(); !done) return fail(done.error());
    return 0;
}

int PasswdCommand::run_list() const {
    const auto store = Store::open(file_, false);
    if (!store) return fail(store.error());
    fmt::print("{}", json_ ? list_json(store->users()) : list_text(store->users()));
    return 0;
}

int PasswdCommand::run_check() const {
    const auto store = Store::open(file_, false);
    if (!store) return fail(store.error());
    const userdb::User* user = store->users().find(name_);
    if (user == nullptr) return tell_nobody(store->users());
    auto line =
        is_interactive() ? ask(STDIN_FILENO, fmt::format("Password of {}", name_)) : read_line(STDIN_FILENO);
    if (!line) return fail(line.error());
    const Secret secret{std::move(*line)};
    for (const userdb::Verifier& verifier : user->verifiers) {
        const auto good = userdb::fits(verifier, secret.text);
        if (!good) return fail(good.error());
        if (*good) continue;
        fmt::print("This is not the password of {}.\n", name_);
        return k_exit_no;
    }
    fmt::print("This is the password of {}.\n", name_);
    return 0;
}

}  // namespace

std::unique_ptr<Command> add_command(CLI::App& app) { return std::make_unique<PasswdCommand>(app); }

}  // namespace virtgate::ctl::passwd
