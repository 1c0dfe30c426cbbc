// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate policy".
#include "ctl/policy/command.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "config.h"
#include "ctl/files.h"
#include "ctl/policy/difference.h"
#include "ctl/policy/explanation.h"
#include "ctl/policy/loaded.h"
#include "ctl/policy/test_cases.h"
#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::policy {

namespace {

constexpr int k_exit_no = 1;
constexpr int k_exit_doubt = 2;

const std::vector<std::string> k_directories{"/usr/lib/virtgate/policy.d", VIRTGATE_SYSCONFDIR "/policy.d"};

constexpr char k_footer[] =
    "Example, to find out why something is refused:\n"
    "  virtgate policy explain --identity alice DOMAIN_DESTROY domain=web-1\n"
    "\"virtgate help policy COMMAND\" tells more about each. See virtgate-policy(1).";

int say(std::string_view text, int status) {
    fmt::print(stderr, "virtgate: {}\n", text);
    return status;
}

}  // namespace

struct Command::Words {
    CLI::App *policy{}, *check{}, *show{}, *explain{}, *who_can{}, *diff{}, *test{}, *edit{};

    std::vector<std::string> directories, call;
    std::string file, old_directory, new_directory;
    ClientWords client;
    bool json = false, strict = false;

    CLI::App* add(const char* command, const char* text);
    void add_directories(CLI::App* app);
    void add_client(CLI::App* app);

    [[nodiscard]] Result<Loaded> open(const std::vector<std::string>& from) const;
    [[nodiscard]] std::vector<std::string> chosen() const {
        return directories.empty() ? k_directories : directories;
    }
    [[nodiscard]] int run_check() const;
    [[nodiscard]] int run_show() const;
    [[nodiscard]] int run_explain() const;
    [[nodiscard]] int run_who_can() const;
    [[nodiscard]] int run_diff() const;
    [[nodiscard]] int run_test() const;
    [[nodiscard]] int run_edit() const;
};

CLI::App* Command::Words::add(const char* command, const char* text) {
    CLI::App* app = policy->add_subcommand(command, text);
    app->footer("See virtgate-policy(1).");
    return app;
}

void Command::Words::add_directories(CLI::App* app) {
    app->add_option("--dir", directories,
                    "directory of policy files; may be repeated, later ones hide files of earlier ones "
                    "(default: those "
                    "of the installed daemon)")
        ->type_name("DIR")
        ->allow_extra_args(false);
}

void Command::Words::add_client(CLI::App* app) {
    app->add_option("--identity", client.identity, "the policy's name for the client")->type_name("NAME");
    app->add_option("--subject", client.subject, "the subject of its certificate: CN=alice,O=Acme")
        ->type_name("DN");
    app->add_option("--san-dns", client.san_dns, "a DNS name in its certificate; may be repeated")
        ->type_name("NAME")
        ->allow_extra_args(false);
    app->add_option("--sasl", client.sasl, "the name that it logs in with")->type_name("USER");
    app->add_option("--mech", client.mechanism, "how it logs in: SCRAM-SHA-256")->type_name("MECHANISM");
    app->add_option("--source", client.source, "its address")->type_name("ADDRESS");
    app->add_option("--listener", client.listener, "where it comes in: tls, tcp, unix or unix-ro")
        ->type_name("NAME");
    app->add_option("--uid", client.uid, "its user, on a UNIX socket")->type_name("N");
    app->add_option("--gid", client.gid, "its group, on a UNIX socket (default: like --uid)")->type_name("N");
}

Command::Command(CLI::App& app) : words_(std::make_unique<Words>()) {
    Words& words = *words_;
    words.policy = app.add_subcommand("policy", "who may do what: check, explain and compare policies");
    words.policy->require_subcommand(1);
    words.policy->footer(k_footer);

    words.check = words.add("check", "find what is wrong with policy files");
    words.check->add_option("DIR", words.directories,
                            "directories of policy files (default: those of the daemon)");
    words.check->add_flag("--strict", words.strict, "exit status 2 if there are warnings");
    words.check->add_flag("--json", words.json, "as JSON");

    words.show = words.add("show", "list all that an identity may do, or the identities");
    words.show->add_option("--identity", words.client.identity, "whose rights")->type_name("NAME");
    words.add_directories(words.show);

    words.explain = words.add("explain", "tell whether a call is allowed, and which rule decides");
    words.explain->add_option("CALL", words.call, "DOMAIN_CREATE domain=NAME flags=START_PAUSED")->required();
    words.add_client(words.explain);
    words.add_directories(words.explain);
    words.explain->add_flag("--json", words.json, "as JSON");

    words.who_can = words.add("who-can", "list the identities for which a call is allowed");
    words.who_can->add_option("CALL", words.call, "DOMAIN_DESTROY domain=NAME")->required();
    words.who_can->add_option("--listener", words.client.listener, "where they come in (default: tls)")
        ->type_name("NAME");
    words.add_directories(words.who_can);

    words.diff = words.add("diff", "compare two policies by what they allow");
    words.diff->add_option("OLD", words.old_directory, "directory of the old policy")->required();
    words.diff->add_option("NEW", words.new_directory, "directory of the new policy")->required();

    words.test = words.add("test", "run the test cases beside a policy (*.policytest.toml)");
    words.test->add_option("DIR", words.directories,
                           "directories of policy files (default: those of the daemon)");

    words.edit = words.add("edit", "change a policy file with $EDITOR; it is replaced only if it is right");
    words.edit->add_option("FILE", words.file, "the file")->required();
}

Command::~Command() = default;

bool Command::parsed() const { return words_->policy->parsed(); }

int Command::run() const {
    const Words& words = *words_;
    if (words.check->parsed()) return words.run_check();
    if (words.show->parsed()) return words.run_show();
    if (words.explain->parsed()) return words.run_explain();
    if (words.who_can->parsed()) return words.run_who_can();
    if (words.diff->parsed()) return words.run_diff();
    if (words.test->parsed()) return words.run_test();
    return words.run_edit();
}

// A policy without errors; they have been said.
Result<Loaded> Command::Words::open(const std::vector<std::string>& from) const {
    Loaded loaded = load(from);
    if (loaded.complaints.errors() == 0) return loaded;
    fmt::print(stderr, "{}", say_complaints(loaded.complaints, false));
    return peer_fault("the policy has errors and would not be used");
}

int Command::Words::run_check() const {
    const Loaded loaded = load(chosen());
    const auto lines = loaded.complaints.lines();
    fmt::print("{}", say_complaints(loaded.complaints, json));
    if (loaded.complaints.errors() != 0) return k_exit_no;
    if (!json) fmt::print("{} identities, no errors.\n", loaded.table.identities());
    return strict && !lines.empty() ? k_exit_doubt : 0;
}

int Command::Words::run_show() const {
    const Result<Loaded> loaded = open(chosen());
    if (!loaded) return say(loaded.error().text, k_exit_no);
    if (client.identity.empty()) {
        for (const auto& rule : loaded->table.rules())
            fmt::print("{:<24} {}\n", rule.name, rule.role.empty() ? "(no role)" : rule.role);
        return 0;
    }
    const auto* rule = loaded->table.find(client.identity);
    if (rule == nullptr)
        return say(fmt::format("there is no identity \"{}\"", client.identity), k_exit_doubt);
    fmt::print("{}", virtgate::ctl::policy::show(*rule));
    return 0;
}

int Command::Words::run_explain() const {
    const Result<Request> request = parse_request(call);
    if (!request) return say(request.error().text, spawn::k_exit_usage);
    const Result<Loaded> loaded = open(chosen());
    if (!loaded) return say(loaded.error().text, k_exit_no);
    const auto who = make_who(client);
    if (!who) return say(who.error().text, spawn::k_exit_usage);
    const virtgate::policy::Table::Rule* rule = loaded->table.find(client.identity);
    if (client.identity.empty()) {
        const auto match = loaded->table.match(*who);
        rule = match.rule;
        if (match.other != nullptr)
            return say(fmt::format("both {} ({}:{}) and {} ({}:{}) match: such a client is refused",
                                   match.rule->name, match.rule->file, match.rule->line, match.other->name,
                                   match.other->file, match.other->line),
                       k_exit_doubt);
    }
    if (rule == nullptr)
        return say("no identity of the policy matches: such a client is refused", k_exit_doubt);
    const Explanation explanation = virtgate::ctl::policy::explain(*rule, who->listener, *request);
    fmt::print("{}", json ? explanation.json : explanation.text);
    return explanation.allowed ? 0 : k_exit_no;
}

int Command::Words::run_who_can() const {
    const Result<Request> request = parse_request(call);
    if (!request) return say(request.error().text, spawn::k_exit_usage);
    const Result<Loaded> loaded = open(chosen());
    if (!loaded) return say(loaded.error().text, k_exit_no);
    bool anybody = false;
    const auto objects = request->objects();
    for (const auto& rule : loaded->table.rules()) {
        const auto rights = rights_of(rule, client.listener.empty() ? "tls" : client.listener);
        const auto decision = rights.judge(*request->program, *request->procedure, request->flags, objects);
        if (!decision.allowed) continue;
        anybody = true;
        fmt::print("{:<24} {} ({}:{})\n", rule.name, decision.grant->role, escape(decision.grant->file),
                   decision.grant->line);
    }
    return anybody ? 0 : k_exit_no;
}

int Command::Words::run_diff() const {
    const Result<Loaded> before = open({old_directory});
    const Result<Loaded> after = open({new_directory});
    if (!before || !after) return say("there is nothing to compare", k_exit_doubt);
    const std::string text = compare(before->table, after->table);
    fmt::print("{}", text);
    return text.empty() ? 0 : k_exit_no;
}

int Command::Words::run_test() const {
    const Result<Loaded> loaded = open(chosen());
    if (!loaded) return say(loaded.error().text, k_exit_no);
    const Result<TestRun> run = run_tests(chosen(), loaded->table);
    if (!run) return say(run.error().text, k_exit_no);
    fmt::print("{}{} cases, {} failed.\n", run->text, run->cases, run->failed);
    return run->failed == 0 ? 0 : k_exit_no;
}

int Command::Words::run_edit() const {
    const Result<std::string> path = absolute_path(file);
    if (!path) return say(path.error().text, spawn::k_exit_usage);
    const auto slash = path->rfind('/');
    const std::string directory = path->substr(0, slash), name = path->substr(slash + 1);
    if (!name.ends_with(".toml")) return say("the name of a policy file ends in .toml", spawn::k_exit_usage);
    const Result<std::string> before = read_text(*path);
    if (!before) return say(before.error().text, spawn::k_exit_system);
    // A directory that hides the file while the rest of the policy stays.
    char place[] = "/tmp/virtgate-policy-XXXXXX";
    if (mkdtemp(place) == nullptr) return say("cannot make a directory for the copy", spawn::k_exit_system);
    const std::string copy = fmt::format("{}/{}", place, name);
    struct stat status {};
    const mode_t mode = stat(path->c_str(), &status) == 0 ? status.st_mode & 0777 : 0640;
    if (const Done done = write_new_file(copy, *before, mode); !done)
        return say(done.error().text, spawn::k_exit_system);
    const char* editor = std::getenv("VISUAL");
    if (editor == nullptr) editor = std::getenv("EDITOR");
    if (editor == nullptr) editor = "editor";
    const pid_t child = fork();
    if (child == 0) {
        execlp("sh", "sh", "-c", "exec $0 \"$1\"", editor, copy.c_str(), nullptr);
        _exit(127);
    }
    int ended = 0;
    if (child < 0 || waitpid(child, &ended, 0) != child || ended != 0)
        return say(fmt::format("the editor failed; the copy is {}", copy), spawn::k_exit_system);
    std::vector<std::string> all = k_directories;
    if (std::find(all.begin(), all.end(), directory) == all.end()) all = {directory};
    all.emplace_back(place);
    const Loaded loaded = load(all);
    fmt::print(stderr, "{}", say_complaints(loaded.complaints, false));
    if (loaded.complaints.errors() != 0)
        return say(fmt::format("the policy was not changed; what you wrote is {}", copy), k_exit_no);
    const Result<std::string> after = read_text(copy);
    if (!after) return say(after.error().text, spawn::k_exit_system);
    if (const Done done = replace_file(*path, *after, mode); !done)
        return say(done.error().text, spawn::k_exit_system);
    unlink(copy.c_str());
    rmdir(place);
    fmt::print("Replaced {}. \"systemctl reload virtgate-workerd\" puts it into force.\n", *path);
    return 0;
}

}  // namespace virtgate::ctl::policy
