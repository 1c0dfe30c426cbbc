// SPDX-License-Identifier: LGPL-2.1-or-later
// audit_command - "virtgate policy learn" and "unused": what the auditor's records say about a policy.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ctl/audit/moment.h"
#include "ctl/audit/reader.h"
#include "ctl/policy/commands.h"
#include "ctl/policy/history.h"
#include "ctl/policy/json.h"
#include "ctl/policy/learned.h"
#include "ctl/policy/usage.h"
#include "libshared/spawn/exit.h"
#include "policy/parse.h"

namespace virtgate::ctl::policy {

namespace {

constexpr char k_learn_since[] = "7d", k_unused_since[] = "90d";

struct Period {
    audit::Moment since{}, now{};
};

Result<Period> parse_period(const std::string& since, const char* otherwise) {
    const audit::Moment now = audit::current_moment();
    const auto moment = audit::parse_moment(since.empty() ? otherwise : since, now);
    if (!moment) return wrap(moment.error(), "--since");
    return Period{*moment, now};
}

std::string audit_file(const Options& options) {
    return options.audit_file.empty() ? default_audit_file() : options.audit_file;
}

// A name that no role has, also not with "-2" and the like behind it.
std::string free_role_name(const Loaded& loaded, const std::string& identity) {
    constexpr std::size_t k_room = 8;  // for numbers
    for (int i = 1;; ++i) {
        const std::string prefix = i == 1 ? "learned-" : fmt::format("learned{}-", i);
        const std::string name = (prefix + identity).substr(0, virtgate::policy::k_name_max - k_room);
        const auto& roles = loaded.source.roles;
        if (std::none_of(roles.begin(), roles.end(),
                         [&](const auto& role) { return role.name.text.starts_with(name); }))
            return name;
    }
}

void warn_of_broken(const audit::Summary& summary, const std::string& path) {
    if (summary.broken != 0)
        static_cast<void>(
            say(fmt::format("{} lines of {} are no records: passed over", summary.broken, path), 0));
}

}  // namespace

int run_learn(const Options& options) {
    const auto period = parse_period(options.since, k_learn_since);
    if (!period) return say(period.error().text, spawn::k_exit_usage);
    const Result<Loaded> loaded = open_policy(options.chosen_directories());
    if (!loaded) return say(loaded.error().text, k_exit_no);
    const std::string& identity = options.client.identity;
    if (loaded->table.find(identity) == nullptr) return say(no_identity(*loaded, identity), k_exit_doubt);
    const std::string path = audit_file(options);
    Lesson lesson(options.refused);
    const auto summary = audit::read_entries(path, {.identity = identity, .since = period->since},
                                             [&](const audit::Entry& entry) {
                                                 lesson.add(entry);
                                                 return true;
                                             });
    if (!summary) return say(summary.error(), spawn::k_exit_system);
    warn_of_broken(*summary, path);
    if (lesson.calls() == 0)
        return say(fmt::format("{} has no call of {} in that time", path, identity), k_exit_doubt);
    const ProposalFrame frame{.identity = identity,
                              .role = free_role_name(*loaded, identity),
                              .since = period->since,
                              .until = period->now};
    fmt::print("{}", options.json ? to_text(to_json(lesson, frame)) : to_toml(lesson, frame));
    return 0;
}

int run_unused(const Options& options) {
    const auto period = parse_period(options.since, k_unused_since);
    if (!period) return say(period.error().text, spawn::k_exit_usage);
    const Result<Loaded> loaded = open_policy(options.chosen_directories());
    if (!loaded) return say(loaded.error().text, k_exit_no);
    const std::string& identity = options.client.identity;
    if (!identity.empty() && loaded->table.find(identity) == nullptr)
        return say(no_identity(*loaded, identity), k_exit_doubt);
    const std::string path = audit_file(options);
    Usage usage(*loaded, identity);
    const auto summary = audit::read_entries(path, {}, [&](const audit::Entry& entry) {
        usage.add(entry, period->since);
        return true;
    });
    if (!summary) return say(summary.error(), spawn::k_exit_system);
    warn_of_broken(*summary, path);
    const UsageReport report = usage.report(period->since, period->now);
    fmt::print("{}", options.json ? to_text(to_json(report)) : to_text(report));
    if (!report.first) return k_exit_doubt;
    return std::any_of(report.grants.begin(), report.grants.end(),
                       [](const GrantUsage& grant) { return !grant.words.empty(); })
               ? k_exit_no
               : 0;
}

}  // namespace virtgate::ctl::policy
