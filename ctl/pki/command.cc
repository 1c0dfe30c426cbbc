// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate pki".
#include "ctl/pki/command.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "config.h"
#include "ctl/files.h"
#include "ctl/pki/check.h"
#include "ctl/pki/install.h"
#include "ctl/pki/lifetime.h"
#include "ctl/pki/listing.h"
#include "ctl/pki/names.h"
#include "ctl/pki/places.h"
#include "ctl/pki/store.h"
#include "ctl/pki/tar.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/user.h"

namespace virtgate::ctl::pki {

namespace {

constexpr int k_exit_problems = 1;
constexpr int k_authority_days = 3650, k_leaf_days = 365, k_days_max = 36500;

constexpr char k_footer[] =
    "Example, for a server and somebody who uses it:\n"
    "  virtgate pki init --organisation Example\n"
    "  virtgate pki server host1.example.org host1 192.0.2.1\n"
    "  virtgate pki client alice\n"
    "  virtgate pki export alice --output alice.tar\n"
    "\"virtgate help pki COMMAND\" tells more about each. See virtgate-pki(1).";

int fail(const Error& error) {
    fmt::print(stderr, "virtgate: {}\n", error.text);
    return spawn::status_of(error, spawn::k_exit_system);
}

int complain(const std::string& text) {
    fmt::print(stderr, "virtgate: {}\n", text);
    return spawn::k_exit_usage;
}

std::string say_end(const Issued& made, std::time_t now) {
    return fmt::format("{}, on {}{}", say_expiry(now, made.facts.from, made.facts.until),
                       say_time(made.facts.until),
                       made.cut ? ", together with the authority (less than asked for)" : "");
}

std::string host_name() {
    char name[65]{};
    if (gethostname(name, sizeof name - 1) < 0) return "this machine";
    return name;
}

// One word for a shell; names may have blanks.
std::string quote(const std::string& word) {
    return word.find_first_of(" '$`*?!&|()[]{}~") == std::string::npos ? word : fmt::format("'{}'", word);
}

class PkiCommand final : public Command {
public:
    explicit PkiCommand(CLI::App& app);
    [[nodiscard]] bool parsed() const override;
    [[nodiscard]] int run() const override;

private:
    // The commands, to ask which was given.
    CLI::App *pki_{}, *init_{}, *server_{}, *client_{}, *renew_{}, *revoke_{}, *list_{}, *crl_{}, *output_{},
        *install_{}, *check_{};

    std::string directory_, organisation_, key_type_, file_, target_, user_;
    std::vector<std::string> names_;
    std::string name_;
    int days_ = 0, patience_ = 10;
    bool of_server_ = false, of_client_ = false, new_key_ = false, json_ = false, all_ = false,
         with_crl_ = false, replace_ = false;
    CheckOptions options_;

    void add_making(CLI::App& pki_app);
    void add_tending(CLI::App& pki_app);
    void add_looking(CLI::App& pki_app);
    CLI::App* add(CLI::App& pki_app, const char* command, const char* text);
    // One that makes certificates which the authority signs.
    CLI::App* add_leaf(CLI::App& pki_app, const char* command, const char* text, const char* names);
    void add_days(CLI::App* app, const char* text);
    void add_key_type(CLI::App* app, const char* text);
    void add_name(CLI::App* app, const char* text);

    [[nodiscard]] Result<std::string> place() const;
    [[nodiscard]] Result<Store> open(Access access) const;
    [[nodiscard]] Result<Kind> choose_kind(const Store& store, bool records) const;
    [[nodiscard]] std::string call(const std::string& words) const;
    [[nodiscard]] std::time_t lifetime(int usual) const { return (days_ != 0 ? days_ : usual) * k_day; }
    [[nodiscard]] Order order(std::time_t now, int usual_days) const;

    [[nodiscard]] int run_init() const;
    [[nodiscard]] int run_server() const;
    [[nodiscard]] int run_client() const;
    [[nodiscard]] int run_renew() const;
    [[nodiscard]] int run_revoke() const;
    [[nodiscard]] int run_crl() const;
    [[nodiscard]] int run_list() const;
    [[nodiscard]] int run_export() const;
    [[nodiscard]] int run_install() const;
    [[nodiscard]] int run_check() const;
};

// ---- the command line

CLI::App* PkiCommand::add(CLI::App& pki_app, const char* command, const char* text) {
    CLI::App* app = pki_app.add_subcommand(command, text);
    app->footer("See virtgate-pki(1).");
    app->add_option("--dir", directory_,
                    "directory of the authority (default: " VIRTGATE_SYSCONFDIR
                    "/pki for root, else ~/.local/share/virtgate/pki)")
        ->type_name("DIR");
    return app;
}

void PkiCommand::add_days(CLI::App* app, const char* text) {
    app->add_option("--days", days_, text)->check(CLI::Range(1, k_days_max))->type_name("N");
}

void PkiCommand::add_key_type(CLI::App* app, const char* text) {
    app->add_option("--key-type", key_type_, text)
        ->check(CLI::IsMember({"ecdsa", "ed25519", "rsa"}))
        ->type_name("TYPE");
}

void PkiCommand::add_name(CLI::App* app, const char* text) {
    app->add_option("NAME", name_, text)->required();
    CLI::Option* one = app->add_flag("--server", of_server_, "the certificate of the server of this name");
    app->add_flag("--client", of_client_, "the certificate of the client of this name")->excludes(one);
}

CLI::App* PkiCommand::add_leaf(CLI::App& pki_app, const char* command, const char* text, const char* names) {
    CLI::App* app = add(pki_app, command, text);
    app->add_option("NAME", names_, names)->required()->type_name("…");
    app->add_option("--organisation", organisation_, "O of the subject (default: that of the authority)")
        ->type_name("NAME");
    add_days(app, "how long it is valid (default: 365)");
    add_key_type(app, "kind of its key: ecdsa, ed25519 or rsa (default: that of the authority)");
    return app;
}

void PkiCommand::add_making(CLI::App& pki_app) {
    init_ = add(pki_app, "init", "make a certificate authority");
    init_->add_option("--organisation", organisation_, "O of the authority, and of what it issues")
        ->type_name("NAME");
    add_days(init_, "how long it is valid (default: 3650)");
    add_key_type(init_, "kind of its key: ecdsa (P-256, the default), ed25519 or rsa (3072 bits)");

    server_ = add_leaf(pki_app, "server", "make a certificate for a server",
                       "the host names and addresses by which clients reach the server");
    client_ = add_leaf(pki_app, "client", "make a certificate for each of some clients",
                       "the name of a client, as the policy knows it");
}

void PkiCommand::add_tending(CLI::App& pki_app) {
    renew_ = add(pki_app, "renew", "issue a certificate anew, for the same names and key");
    add_name(renew_, "the first name of the server, or the name of the client");
    renew_->add_flag("--new-key", new_key_, "make a new key too");
    add_days(renew_, "how long it is valid from now on (default: 365)");

    revoke_ = add(pki_app, "revoke", "declare all certificates of a name invalid");
    add_name(revoke_, "the first name of the server, or the name of the client");

    crl_ = add(pki_app, "crl", "write the list of revoked certificates anew");
    add_days(crl_, "how long it is in force (default: as long as the authority)");

    list_ = add(pki_app, "list", "show what was issued, and how long it is valid");
    list_->add_flag("--all", all_, "also what was replaced by a newer certificate");
    list_->add_flag("--json", json_, "as JSON");
}

void PkiCommand::add_looking(CLI::App& pki_app) {
    output_ = add(pki_app, "export", "pack a certificate, its key and the authority's certificate");
    add_name(output_, "the first name of the server, or the name of the client");
    output_->add_option("--output", file_, "the archive to make (default: standard output)")
        ->type_name("FILE");
    output_->add_flag("--crl", with_crl_, "put the list of revoked certificates in, too");

    install_ = add(pki_app, "install", "put a server's certificate where virtgate-netd looks for it");
    install_->add_option("NAME", name_, "the first name of the server")->required();
    install_->add_option("--to", target_, "the directory (default: " VIRTGATE_SYSCONFDIR "/tls)")
        ->type_name("DIR");
    install_
        ->add_option("--user", user_,
                     "whom the key belongs to then (default: for root " VIRTGATE_NET_USER ")")
        ->type_name("USER");
    install_->add_flag("--replace", replace_, "also in the place of another authority's");

    check_ = add(pki_app, "check", "find out what is wrong with certificates, or with a connection");
    check_
        ->add_option("HOST", options_.peer,
                     "connect to this server: HOST, HOST:PORT, or the URI that does not work "
                     "(default: only look at files)")
        ->type_name("[:PORT]");
    check_->add_option("--name", options_.name, "what the server's certificate has to be for (default: HOST)")
        ->type_name("NAME");
    check_->add_option("--pkipath", options_.pkipath, "directory with libvirt's names for the files")
        ->type_name("DIR");
    check_->add_option("--ca", options_.ca, "certificates of the authorities that are trusted")
        ->type_name("FILE");
    check_->add_option("--certificate", options_.certificate, "the certificate to show, or to look at")
        ->type_name("FILE");
    check_->add_option("--key", options_.key, "its private key")->type_name("FILE");
    check_->add_option("--crl", options_.crl, "list of revoked certificates")->type_name("FILE");
    check_->add_option("--priority", options_.priority, "GnuTLS's priority string, as libvirt's tls_priority")
        ->type_name("WORDS");
    check_->add_option("--timeout", patience_, "seconds to wait for the server (default: 10)")
        ->check(CLI::Range(1, 3600))
        ->type_name("N");
    check_->add_flag("--json", json_, "as JSON");
}

PkiCommand::PkiCommand(CLI::App& app) {
    pki_ = app.add_subcommand("pki", "certificates: make, renew, revoke, pack, and find out what is wrong");
    pki_->require_subcommand(1);
    pki_->footer(k_footer);
    add_making(*pki_);
    add_tending(*pki_);
    add_looking(*pki_);
}

bool PkiCommand::parsed() const { return pki_->parsed(); }

int PkiCommand::run() const {
    const std::pair<const CLI::App*, int (PkiCommand::*)() const> commands[] = {
        {init_, &PkiCommand::run_init},       {server_, &PkiCommand::run_server},
        {client_, &PkiCommand::run_client},   {renew_, &PkiCommand::run_renew},
        {revoke_, &PkiCommand::run_revoke},   {list_, &PkiCommand::run_list},
        {crl_, &PkiCommand::run_crl},         {output_, &PkiCommand::run_export},
        {install_, &PkiCommand::run_install}, {check_, &PkiCommand::run_check}};
    for (const auto& [app, function] : commands)
        if (app->parsed()) return (this->*function)();
    return spawn::k_exit_usage;
}

// ---- what the commands have in common

Result<std::string> PkiCommand::place() const {
    const std::string path = directory_.empty() ? default_directory() : directory_;
    if (path.empty()) return system_fault(0, "there is no home directory; give --dir");
    return absolute_path(path);
}

Result<Store> PkiCommand::open(Access access) const {
    const Result<std::string> path = place();
    if (!path) return tl::make_unexpected(path.error());
    return Store::open(*path, access);
}

// A host that moves guests to others is server and client under the same name.
Result<Kind> PkiCommand::choose_kind(const Store& store, bool records) const {
    if (of_server_) return Kind::server;
    if (of_client_) return Kind::client;
    const std::vector<Kind> kinds = store.kinds_of(name_, records);
    if (kinds.size() == 1) return kinds.front();
    if (kinds.size() > 1)
        return system_fault(0,
                            fmt::format("\"{}\" is a server and a client: add --server or --client", name_));
    return system_fault(0, fmt::format("there is no server or client \"{}\" in {}; \"{}\" shows who is there",
                                       name_, store.directory(), call("list")));
}

// A command line for the next step, as it has to be typed.
std::string PkiCommand::call(const std::string& words) const {
    const std::string where = directory_.empty() ? "" : fmt::format(" --dir {}", directory_);
    return fmt::format("virtgate pki {}{}", words, where);
}

Order PkiCommand::order(std::time_t now, int usual_days) const {
    Order order;
    order.organisation = organisation_;
    if (!key_type_.empty()) order.key_type = parse_key_type(key_type_);
    order.now = now;
    order.lifetime = lifetime(usual_days);
    return order;
}

// ---- the commands

int PkiCommand::run_init() const {
    if (!organisation_.empty())
        if (const Done done = check_subject_part("the organisation", organisation_); !done)
            return complain(done.error().text);
    const Result<std::string> path = place();
    if (!path) return fail(path.error());
    const std::time_t now = std::time(nullptr);
    Order wish = order(now, k_authority_days);
    wish.common_name = ("certificate authority of " + host_name()).substr(0, 64);
    const Result<Store> store = Store::make(*path, wish);
    if (!store) return fail(store.error());
    const Facts& facts = store->authority();
    fmt::print("Made the authority {} in {}; it {}, on {}.\n", facts.subject, *path,
               say_expiry(now, facts.from, facts.until), say_time(facts.until));
    fmt::print(
        "Whoever reads {} can be anybody: keep a copy in a safe place, and no other.\n"
        "The list of revoked certificates, {}, is empty and in force as long as the authority.\n"
        "Next: \"{}\" for each server, \"{}\" for each client.\n",
        store->authority_key_path(), store->crl_path(), call("server NAME…"), call("client NAME"));
    return 0;
}

int PkiCommand::run_server() const {
    const Result<ServerNames> server_names = parse_server_names(names_);
    if (!server_names) return complain(server_names.error().text);
    if (!organisation_.empty())
        if (const Done done = check_subject_part("the organisation", organisation_); !done)
            return complain(done.error().text);
    Result<Store> store = open(Access::write);
    if (!store) return fail(store.error());
    const std::time_t now = std::time(nullptr);
    Order wish = order(now, k_leaf_days);
    wish.common_name = server_names->common_name;
    wish.dns = server_names->dns;
    wish.addresses = server_names->addresses;
    const Result<Issued> made = store->issue(Kind::server, wish);
    if (!made) return fail(made.error());
    fmt::print("Made a certificate for {}; it {}.\n", made->facts.say_names(), say_end(*made, now));
    fmt::print(
        "On this machine, in netd.toml:\n"
        "  [tls]\n"
        "  certificate = \"{0}/{1}\"\n  key = \"{0}/{2}\"\n  ca = \"{3}\"\n  crl = \"{4}\"\n"
        "On another: \"{5}\".\n",
        made->directory, certificate_file(Kind::server), key_file(Kind::server), store->authority_path(),
        store->crl_path(),
        call(fmt::format("export {} --server --output server.tar", quote(names_.front()))));
    return 0;
}

int PkiCommand::run_client() const {
    for (const std::string& one : names_)
        if (const Done done = check_client_name(one); !done) return complain(done.error().text);
    if (!organisation_.empty())
        if (const Done done = check_subject_part("the organisation", organisation_); !done)
            return complain(done.error().text);
    Result<Store> store = open(Access::write);
    if (!store) return fail(store.error());
    const std::time_t now = std::time(nullptr);
    for (const std::string& one : names_) {
        Order wish = order(now, k_leaf_days);
        wish.common_name = one;
        const Result<Issued> made = store->issue(Kind::client, wish);
        if (!made) return fail(made.error());
        const std::string& o = made->facts.organisation;
        fmt::print("Made a certificate for {}; it {}.\n", made->facts.subject, say_end(*made, now));
        fmt::print("  In the policy: x509 = {{ CN = \"{}\"{} }}\n", one,
                   o.empty() ? "" : fmt::format(", O = \"{}\"", o));
        fmt::print("  To hand it over: \"{}\"; here: \"pkipath={}\" in the URI.\n",
                   call(fmt::format("export {} --client --output client.tar", quote(one))), made->directory);
    }
    return 0;
}

int PkiCommand::run_renew() const {
    Result<Store> store = open(Access::write);
    if (!store) return fail(store.error());
    const Result<Kind> kind = choose_kind(*store, false);
    if (!kind) return fail(kind.error());
    const std::time_t now = std::time(nullptr);
    const Result<Issued> made = store->renew(*kind, name_, now, lifetime(k_leaf_days), new_key_);
    if (!made) return fail(made.error());
    fmt::print("Renewed {}{}; it {}.\n", made->facts.subject, new_key_ ? " with a new key" : "",
               say_end(*made, now));
    if (new_key_)
        fmt::print("What it replaces is in {}, and valid until it expires: \"{}\" ends both.\n", made->aside,
                   call("revoke " + quote(name_)));
    if (*kind == Kind::server)
        fmt::print(
            "Next: \"systemctl reload virtgate-netd\" where it is used, after a copy if that is another "
            "machine.\n");
    else
        fmt::print("Next: hand it over again, with \"{}\".\n",
                   call(fmt::format("export {} --client --output client.tar", quote(name_))));
    return 0;
}

int PkiCommand::run_revoke() const {
    Result<Store> store = open(Access::write);
    if (!store) return fail(store.error());
    const Result<Kind> kind = choose_kind(*store, true);
    if (!kind) return fail(kind.error());
    const Result<Store::Revoked> revoked = store->revoke(*kind, name_, std::time(nullptr));
    if (!revoked) return fail(revoked.error());
    for (const Facts& facts : revoked->certificates)
        fmt::print("Revoked {} (serial number {}).\n", facts.subject, facts.serial);
    if (!revoked->aside.empty()) fmt::print("Its files are in {} now.\n", revoked->aside);
    fmt::print(
        "Next: copy {} to each server (\"crl\" in netd.toml; /etc/pki/CA/cacrl.pem for libvirtd) and\n"
        "\"systemctl reload virtgate-netd\" there; until then the certificate is accepted.\n",
        store->crl_path());
    return 0;
}

int PkiCommand::run_crl() const {
    Result<Store> store = open(Access::write);
    if (!store) return fail(store.error());
    const std::time_t now = std::time(nullptr);
    const auto until = days_ != 0 ? std::optional<std::time_t>{now + days_ * k_day} : std::nullopt;
    if (const Done done = store->write_crl(now, until); !done) return fail(done.error());
    const Result<CrlFacts> facts = store->read_crl();
    if (!facts) return fail(facts.error());
    fmt::print("Wrote {} with {} revoked certificate{}; it is in force until {}.\n", store->crl_path(),
               facts->count, facts->count == 1 ? "" : "s", say_time(facts->until));
    fmt::print("After that nobody is let in where it is used, until a newer one is there.\n");
    return 0;
}

int PkiCommand::run_list() const {
    const Result<Store> store = open(Access::read);
    if (!store) return fail(store.error());
    const std::time_t now = std::time(nullptr);
    const Result<std::string> text = list_store(*store, now, all_, json_);
    if (!text) return fail(text.error());
    fmt::print("{}", *text);
    return 0;
}

int PkiCommand::run_export() const {
    if (file_.empty() && isatty(STDOUT_FILENO) != 0)
        return complain(
            "there is a private key in the archive, which is not for a terminal: give --output FILE, "
            "or send it to a file or another program");
    const Result<Store> store = open(Access::read);
    if (!store) return fail(store.error());
    const Result<Kind> kind = choose_kind(*store, false);
    if (!kind) return fail(kind.error());
    const Files files = files_in(store->bundle_path(*kind, name_), *kind);
    std::vector<TarMember> members;
    std::vector<std::string> contents;
    contents.reserve(4);  // the members point into it
    std::vector<std::pair<std::string, mode_t>> wanted{
        {files.ca, k_certificate_mode}, {files.certificate, k_certificate_mode}, {files.key, k_key_mode}};
    if (with_crl_) wanted.emplace_back(store->crl_path(), k_certificate_mode);
    for (const auto& [path, mode] : wanted) {
        Result<std::string> content = read_file(path);
        if (!content) return fail(content.error());
        contents.push_back(std::move(*content));
        members.push_back({path.substr(path.rfind('/') + 1), mode, contents.back()});
    }
    const std::string archive = make_tar(members, std::time(nullptr));
    if (file_.empty()) {
        if (std::fwrite(archive.data(), 1, archive.size(), stdout) == archive.size() &&
            std::fflush(stdout) == 0)
            return 0;
        return fail(system_fault(errno, "cannot write to standard output").value());
    }
    if (const Done done = write_new_file(file_, archive, k_key_mode); !done) return fail(done.error());
    fmt::print("Made {} with {}. There is a private key in it: send it by a safe way, and remove it then.\n",
               file_, *kind == Kind::server ? "the files of a server" : "the files of a client");
    if (*kind == Kind::server)
        fmt::print("There: \"tar -xf {} -C DIRECTORY\", and the paths of the files in netd.toml.\n", file_);
    else
        fmt::print(
            "There: \"mkdir -p ~/.pki/libvirt && tar -xf {} -C ~/.pki/libvirt\", or any directory and "
            "\"pkipath=DIRECTORY\" in the URI.\n",
            file_);
    return 0;
}

int PkiCommand::run_install() const {
    InstallOrder order{.directory = target_.empty() ? netd_directory() : target_, .replace = replace_};
    // Another user's file takes root; everybody else keeps what he copies.
    if (!user_.empty() || geteuid() == 0) {
        const std::string wanted = user_.empty() ? VIRTGATE_NET_USER : user_;
        const auto user = spawn::find_user(wanted);
        if (!user) return fail(user.error());
        if (!*user)
            return complain(
                fmt::format("there is no user {}, whose virtgate-netd would be: give --user", wanted));
        order.owner = {(*user)->uid, (*user)->gid};
    }
    const Result<Store> store = open(Access::read);
    if (!store) return fail(store.error());
    const std::vector<Kind> kinds = store->kinds_of(name_, false);
    if (std::find(kinds.begin(), kinds.end(), Kind::server) == kinds.end())
        return complain(fmt::format("there is no server \"{}\" in {}; \"{}\" shows who is there", name_,
                                    store->directory(), call("list")));
    const auto changed = install_server(*store, name_, order);
    if (!changed) return fail(changed.error());
    for (const std::string& path : *changed) fmt::print("{}\n", path);
    fmt::print("{}", changed->empty()
                         ? "Nothing has changed.\n"
                         : "A virtgate-netd that runs with these files notices that by itself.\n");
    return 0;
}

int PkiCommand::run_check() const {
    CheckOptions wish = options_;
    wish.directory = directory_;
    wish.patience = std::chrono::seconds(patience_);
    if (wish.certificate.empty() && !wish.key.empty()) return complain("--key wants --certificate too");
    if (!wish.peer.empty()) {
        if (!wish.certificate.empty() && wish.key.empty()) return complain("--certificate wants --key too");
        if (const Result<Peer> peer = parse_peer(wish.peer); !peer) return complain(peer.error().text);
    }
    if (!wish.directory.empty()) {
        const Result<std::string> path = place();
        if (!path) return fail(path.error());
        wish.directory = *path;
    }
    const Result<Report> report = pki::check(wish, std::time(nullptr));
    if (!report) return fail(report.error());
    fmt::print("{}", json_ ? report->to_json() : report->to_text());
    return report->count(Level::problem) == 0 ? 0 : k_exit_problems;
}

}  // namespace

std::unique_ptr<Command> add_command(CLI::App& app) { return std::make_unique<PkiCommand>(app); }

}  // namespace virtgate::ctl::pki
