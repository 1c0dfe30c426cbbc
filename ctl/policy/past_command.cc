// SPDX-License-Identifier: LGPL-2.1-or-later
// past_command - "virtgate policy explain --at": why was that refused, and would it be refused today?
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ctl/audit/moment.h"
#include "ctl/policy/commands.h"
#include "ctl/policy/explanation.h"
#include "ctl/policy/history.h"
#include "ctl/policy/json.h"
#include "libshared/base/bytes.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::policy {

using audit::Entry;

namespace {

constexpr std::size_t k_records_shown = 5;
constexpr std::string_view k_default_listener = "tls";

// What the policy of today says about one record.
struct Today {
    std::optional<Explanation> explanation{};
    std::string why_not{};  // there is none
    bool is_different = false;
};

// Limits, connections for reading and what was in a call's XML are not of the question that is asked again:
// that a call was refused for one of them says nothing about what a role would say.
bool is_about_grants(const Entry& entry) {
    const bool is_about_xml = entry.reason == "constraint" && entry.detail;
    return entry.reason != "limit" && entry.reason != "read-only" && entry.reason != "redacted" &&
           !is_about_xml;
}

// The identity that a client of such a record would have now; a certificate cannot be made again from its
// subject.
const virtgate::policy::Table::Rule* find_rule(const Loaded& loaded, const Entry& entry) {
    if (entry.identity && !entry.identity->empty()) return loaded.table.find(*entry.identity);
    return nullptr;
}

Today judge_today(const Loaded& loaded, const Entry& entry) {
    Today today;
    const auto request = request_of(entry);
    const auto* rule = find_rule(loaded, entry);
    if (!request) {
        today.why_not = entry.procedure
                            ? request.error().text
                            : "the client was not let in: ask with --cert, --sasl or --uid who it is today";
    } else if (rule == nullptr) {
        today.why_not = "the policy of today does not have that identity";
        today.is_different = true;
    } else {
        today.explanation = explain({.policy = loaded,
                                     .rule = *rule,
                                     .request = *request,
                                     .listener = entry.listener.value_or(std::string(k_default_listener))});
        today.is_different = today.explanation->allowed
                                 ? is_about_grants(entry)
                                 : entry.reason && today.explanation->reason != *entry.reason;
    }
    return today;
}

std::string say_today(const Entry& entry, const Today& today) {
    if (!today.explanation) return today.why_not + "\n";
    std::string text = to_text(*today.explanation);
    if (!is_about_grants(entry))
        text += fmt::format("It was refused for another reason than the rules of a role: {}\n",
                            escape(entry.reason.value_or("")));
    else
        text += today.is_different
                    ? (today.explanation->allowed ? "Today the answer is another one: it is allowed.\n"
                                                  : "Today the answer is the same, for another reason.\n")
                    : "Today the answer is the same.\n";
    return text;
}

Json record_to_json(const PastRecord& record, const Today& today) {
    Json json = Json::object();
    json["record"] = Json::parse(record.line, nullptr, false);
    if (today.explanation)
        json["today"] = to_json(*today.explanation);
    else
        json["why_not"] = today.why_not;
    json["different"] = today.is_different;
    return json;
}

}  // namespace

int run_explain_past(const Options& options) {
    const audit::Moment now = audit::current_moment();
    const auto at = audit::parse_moment(options.at, now);
    if (!at) return say("--at: " + at.error().text, spawn::k_exit_usage);
    audit::Filter filter;
    if (!options.client.identity.empty()) filter.identity = options.client.identity;
    if (options.call.size() > 1)
        return say("with --at, CALL is the name of a procedure", spawn::k_exit_usage);
    if (!options.call.empty()) filter.procedure = options.call.front();
    const std::string path = options.audit_file.empty() ? default_audit_file() : options.audit_file;
    const auto records = find_refusals(path, filter, *at, k_records_shown);
    if (!records) return say(records.error(), spawn::k_exit_system);
    if (records->empty()) return say(fmt::format("{} has no refusal of that kind", path), k_exit_doubt);
    const Result<Loaded> loaded = open_policy(options.chosen_directories());
    if (!loaded) return say(loaded.error().text, k_exit_no);
    Json list = Json::array();
    std::string text;
    bool is_allowed = true;
    for (const PastRecord& record : *records) {
        const Today today = judge_today(*loaded, record.entry);
        is_allowed = is_allowed && today.explanation && today.explanation->allowed;
        list.push_back(record_to_json(record, today));
        text += fmt::format("{}{}{}", text.empty() ? "" : "\n", describe(record.entry, now),
                            say_today(record.entry, today));
    }
    fmt::print("{}", options.json ? to_text(Json{{"records", list}}) : text);
    return is_allowed ? 0 : k_exit_no;
}

}  // namespace virtgate::ctl::policy
