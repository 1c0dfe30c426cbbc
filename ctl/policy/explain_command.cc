// SPDX-License-Identifier: LGPL-2.1-or-later
// explain_command - "virtgate policy explain", with --matrix, and "who-can".
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "ctl/audit/moment.h"
#include "ctl/policy/commands.h"
#include "ctl/policy/explanation.h"
#include "ctl/policy/identity_match.h"
#include "ctl/policy/json.h"
#include "ctl/policy/matrix.h"
#include "libshared/base/bytes.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::policy {

using virtgate::policy::Table;

namespace {

int status_of(const Error& error) {
    return error.fault == Fault::peer ? spawn::k_exit_usage : spawn::status_of(error, spawn::k_exit_system);
}

// Judges times as --as-of says. Error: peer's fault.
Done settle_time(const Options& options) {
    if (options.as_of.empty()) return {};
    if (!options.at.empty())
        return peer_fault("--at is about a call that was refused, --as-of about the rules: only one of them");
    const auto moment = audit::parse_moment(options.as_of, audit::current_moment());
    if (!moment) return peer_fault("--as-of: " + moment.error().text);
    set_as_of(std::chrono::duration_cast<std::chrono::seconds>(moment->time_since_epoch()).count());
    return {};
}

// Says why there is no identity, or not just one. JSON: {"allowed": false, "reason":
// "no-identity"|"ambiguous", "identities": [...], "near_misses": [...]}.
int refuse_unknown(const Table& table, const proto::who::Who& who, const Table::Match& match, bool json) {
    Json document{{"allowed", false}, {"reason", match.rule == nullptr ? "no-identity" : "ambiguous"}};
    Json identities = Json::array(), misses = Json::array();
    std::string text;
    if (match.rule != nullptr) {
        text = fmt::format("both {} ({}:{}) and {} ({}:{}) match: such a client is refused\n",
                           match.rule->name, escape(match.rule->file), match.rule->line, match.other->name,
                           escape(match.other->file), match.other->line);
        identities = {match.rule->name, match.other->name};
    } else {
        text = "no identity of the policy matches: such a client is refused\n";
        for (const AlmostMatch& almost : almost_matches(table, who)) {
            const std::string miss =
                fmt::format("but for {} it would be {} ({}:{})", almost.test, almost.rule->name,
                            escape(almost.rule->file), almost.rule->line);
            text += fmt::format("near miss: {}\n", miss);
            misses.push_back({{"change", "identity"},
                              {"identity", almost.rule->name},
                              {"test", almost.test},
                              {"text", miss}});
        }
    }
    document["identities"] = identities;
    document["near_misses"] = misses;
    fmt::print("{}", json ? to_text(document) : "DENY  " + text);
    return k_exit_doubt;
}

}  // namespace

int run_explain(const Options& options) {
    if (const auto done = settle_time(options); !done) return say(done.error().text, spawn::k_exit_usage);
    if (options.matrix) return run_matrix(options);
    if (!options.at.empty()) return run_explain_past(options);
    const Result<Request> request = parse_request(options.call);
    if (!request) return say(request.error().text, spawn::k_exit_usage);
    if (options.client.identity.empty() && !options.client.says_who())
        return say("who? Add --identity, --cert, --sasl or --uid", spawn::k_exit_usage);
    const auto who = make_who(options.client);
    if (!who) return say(who.error().text, status_of(who.error()));
    const Result<Loaded> loaded = open_policy(options.chosen_directories());
    if (!loaded) return say(loaded.error().text, k_exit_no);
    const Table::Rule* rule = nullptr;
    if (!options.client.identity.empty()) {
        rule = loaded->table.find(options.client.identity);
        if (rule == nullptr) return say(no_identity(*loaded, options.client.identity), k_exit_doubt);
    } else {
        const Table::Match match = loaded->table.match(*who);
        if (match.rule == nullptr || match.other != nullptr)
            return refuse_unknown(loaded->table, *who, match, options.json);
        rule = match.rule;
    }
    const Explanation explanation = explain({.policy = *loaded,
                                             .rule = *rule,
                                             .request = *request,
                                             .listener = who->listener,
                                             .who = options.client.identity.empty() ? &*who : nullptr});
    fmt::print("{}", options.json ? to_text(to_json(explanation)) : to_text(explanation));
    return explanation.allowed ? 0 : k_exit_no;
}

int run_who_can(const Options& options) {
    if (const auto done = settle_time(options); !done) return say(done.error().text, spawn::k_exit_usage);
    const Result<Request> request = parse_request(options.call);
    if (!request) return say(request.error().text, spawn::k_exit_usage);
    const auto who = make_who(options.client);
    if (!who) return say(who.error().text, status_of(who.error()));
    const Result<Loaded> loaded = open_policy(options.chosen_directories());
    if (!loaded) return say(loaded.error().text, k_exit_no);
    std::string text;
    Json list = Json::array();
    const bool is_open = !who->read_only || is_for_readers(*request);
    for (const auto& rule : loaded->table.rules()) {
        const auto rights = rights_of(rule, who->listener);
        const auto decision = judge(rights, *request);
        if (!decision.allowed || !is_open) continue;
        text += fmt::format("{:<24} {} ({}:{})\n", rule.name, decision.grant->role,
                            escape(decision.grant->file), decision.grant->line);
        list.push_back({{"identity", rule.name},
                        {"role", decision.grant->role},
                        {"file", decision.grant->file},
                        {"line", decision.grant->line}});
    }
    fmt::print("{}",
               options.json ? to_text(Json{{"call", request->describe()}, {"identities", list}}) : text);
    return list.empty() ? k_exit_no : 0;
}

int run_matrix(const Options& options) {
    const auto who = make_who(options.client);
    if (!who) return say(who.error().text, status_of(who.error()));
    const Result<Loaded> loaded = open_policy(options.chosen_directories());
    if (!loaded) return say(loaded.error().text, k_exit_no);
    const std::string& identity = options.client.identity;
    if (!identity.empty() && loaded->table.find(identity) == nullptr)
        return say(no_identity(*loaded, identity), k_exit_doubt);
    const Result<Matrix> matrix = make_matrix(loaded->table, identity, who->listener, options.call);
    if (!matrix) return say(matrix.error().text, spawn::k_exit_usage);
    fmt::print("{}", options.json ? to_text(to_json(*matrix)) : to_text(*matrix));
    return 0;
}

}  // namespace virtgate::ctl::policy
