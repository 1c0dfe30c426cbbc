// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate policy".
#include "ctl/policy/command.h"

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "ctl/admin/look.h"
#include "ctl/admin/reload.h"
#include "ctl/policy/commands.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::policy {

namespace {

constexpr char k_footer[] =
    "Example, to find out why something is refused:\n"
    "  virtgate policy explain --identity alice DOMAIN_DESTROY domain=web-1\n"
    "\"virtgate help policy COMMAND\" tells more about each. See virtgate-policy(1).";

class PolicyCommand final : public Command {
public:
    explicit PolicyCommand(CLI::App& app);
    [[nodiscard]] bool parsed() const override;
    [[nodiscard]] int run() const override;

private:
    struct Entry {
        CLI::App* app;
        int (*run)(const Options&);
    };
    CLI::App* policy_{};
    std::vector<Entry> entries_{};
    Options options_{};

    CLI::App* add(const char* command, const char* text, int (*run)(const Options&));
    void add_json(CLI::App* app) { app->add_flag("--json", options_.json, "as JSON"); }
    void add_option(CLI::App* app, const char* name, std::string& value, const char* type, const char* text) {
        app->add_option(name, value, text)->type_name(type);
    }
    void add_directories(CLI::App* app);
    void add_arguments(CLI::App* app);
    void add_audit(CLI::App* app);
    void add_client(CLI::App* app);

    void add_readers();
    void add_questions();
    void add_history();
};

CLI::App* PolicyCommand::add(const char* command, const char* text, int (*run)(const Options&)) {
    CLI::App* app = policy_->add_subcommand(command, text);
    app->footer("See virtgate-policy(1).");
    entries_.push_back({app, run});
    return app;
}

void PolicyCommand::add_directories(CLI::App* app) {
    app->add_option("--dir", options_.directories,
                    "directory of policy files; may be repeated, later ones hide files of earlier ones "
                    "(default: those of the installed daemon)")
        ->type_name("DIR")
        ->allow_extra_args(false);
}

void PolicyCommand::add_arguments(CLI::App* app) {
    app->add_option("DIR", options_.directories,
                    "directories of policy files (default: those of the daemon)");
}

void PolicyCommand::add_audit(CLI::App* app) {
    add_option(app, "--file", options_.audit_file, "FILE",
               "records of the auditor, or - (default: the daemon's)");
}

void PolicyCommand::add_client(CLI::App* app) {
    ClientWords& client = options_.client;
    add_option(app, "--identity", client.identity, "NAME", "the policy's name for the client");
    add_option(app, "--cert", client.certificate, "FILE", "the client's certificate (PEM)");
    add_option(app, "--subject", client.subject, "DN", "the subject of its certificate: CN=alice,O=Acme");
    app->add_option("--san-dns", client.san_dns, "a DNS name in its certificate; may be repeated")
        ->type_name("NAME")
        ->allow_extra_args(false);
    add_option(app, "--sasl", client.sasl, "USER", "the name that it logs in with");
    add_option(app, "--mech", client.mechanism, "MECHANISM", "how it logs in: SCRAM-SHA-256");
    add_option(app, "--tls", client.tls, "VERSION", "it comes over TLS of this version: 1.3");
    add_option(app, "--strength", client.strength, "BITS", "of its encryption (default: 256, of TCP 0)");
    add_option(app, "--source", client.source, "ADDRESS", "its address");
    add_option(app, "--listener", client.listener, "NAME", "where it comes in: tls, tcp, unix or unix-ro");
    add_option(app, "--uid", client.uid, "N", "its user, on a UNIX socket");
    add_option(app, "--gid", client.gid, "N", "its group, on a UNIX socket (default: like --uid)");
}

void PolicyCommand::add_readers() {
    CLI::App* check = add("check", "find what is wrong with policy files", run_check);
    add_arguments(check);
    check->add_flag("--strict", options_.strict, "exit status 2 if there are warnings");
    add_json(check);

    CLI::App* show = add("show", "list all that an identity may do, or the identities, or groups", run_show);
    show->add_option("GROUP", options_.group, "list the procedures of a built-in group: @lifecycle");
    add_option(show, "--identity", options_.client.identity, "NAME", "whose rights");
    show->add_flag("--groups", options_.groups, "list the built-in groups of procedures");
    add_directories(show);
    add_json(show);

    CLI::App* diff = add("diff", "compare two policies by what they allow", run_diff);
    diff->add_option("OLD", options_.before, "directory of the old policy")->required();
    diff->add_option("NEW", options_.after, "directory of the new policy")->required();
    add_json(diff);

    CLI::App* test = add("test", "run the test cases beside a policy (*.policytest.toml)", run_test);
    add_arguments(test);
    add_json(test);

    CLI::App* reload =
        add("reload", "have the daemon read the policy anew, and tell what came of it",
            [](const Options& options) {
                return admin::run_policy_reload(admin::find_sockets(options.suite), options.json);
            });
    add_option(reload, "--dir", options_.suite, "DIR",
               "the directory of \"virtgate up\", whose daemon it is");
    add_json(reload);

    CLI::App* edit =
        add("edit", "change a policy file with $EDITOR; it is replaced only if it is right", run_edit);
    edit->add_option("FILE", options_.file, "the file")->required();
}

void PolicyCommand::add_questions() {
    CLI::App* explain = add("explain", "tell whether a call is allowed, and which rule decides", run_explain);
    explain->add_option("CALL", options_.call, "DOMAIN_CREATE domain=NAME flags=START_PAUSED");
    add_client(explain);
    add_option(explain, "--at", options_.at, "TIME",
               "the call that was refused then, from the auditor's records");
    add_audit(explain);
    add_option(explain, "--as-of", options_.as_of, "TIME",
               "with rules as they hold at that time: 2026-12-24T18:00:00Z (default: now)");
    explain->add_flag("--matrix", options_.matrix,
                      "what each identity may do, by group, or by procedure if CALL names some");
    add_directories(explain);
    add_json(explain);

    CLI::App* who_can = add("who-can", "list the identities for which a call is allowed", run_who_can);
    who_can->add_option("CALL", options_.call, "DOMAIN_DESTROY domain=NAME")->required();
    add_option(who_can, "--listener", options_.client.listener, "NAME", "where they come in (default: tls)");
    add_option(who_can, "--as-of", options_.as_of, "TIME",
               "with rules as they hold at that time (default: now)");
    add_directories(who_can);
    add_json(who_can);
}

void PolicyCommand::add_history() {
    CLI::App* learn = add("learn", "propose a role from what an identity did", run_learn);
    learn->add_option("--identity", options_.client.identity, "whose calls")->required()->type_name("NAME");
    add_option(learn, "--since", options_.since, "TIME", "since when: 7d, 12h, 2026-11-01 (default: 7d)");
    learn->add_flag("--refused", options_.refused, "also propose what was refused");
    add_audit(learn);
    add_directories(learn);
    add_json(learn);

    CLI::App* unused = add("unused", "list what is allowed and was never used", run_unused);
    add_option(unused, "--identity", options_.client.identity, "NAME", "of this identity only");
    add_option(unused, "--since", options_.since, "TIME", "since when: 90d, 2026-11-01 (default: 90d)");
    add_audit(unused);
    add_directories(unused);
    add_json(unused);
}

PolicyCommand::PolicyCommand(CLI::App& app) {
    policy_ = app.add_subcommand("policy", "who may do what: check, explain and compare policies");
    policy_->require_subcommand(1);
    policy_->footer(k_footer);
    add_readers();
    add_questions();
    add_history();
}

bool PolicyCommand::parsed() const { return policy_->parsed(); }

int PolicyCommand::run() const {
    for (const Entry& entry : entries_)
        if (entry.app->parsed()) return entry.run(options_);
    return spawn::k_exit_usage;
}

}  // namespace

std::unique_ptr<Command> add_command(CLI::App& app) { return std::make_unique<PolicyCommand>(app); }

}  // namespace virtgate::ctl::policy
