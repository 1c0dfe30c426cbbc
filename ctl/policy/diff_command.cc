// SPDX-License-Identifier: LGPL-2.1-or-later
// diff_command - "virtgate policy diff" and "test".
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ctl/policy/commands.h"
#include "ctl/policy/effects.h"
#include "ctl/policy/json.h"
#include "ctl/policy/test_cases.h"

namespace virtgate::ctl::policy {

namespace {

void add(const std::vector<Effect>& effects, char sign, std::string& text, Json& list) {
    for (const Effect& effect : effects) {
        text += fmt::format("{} {}\n", sign, effect.to_text());
        list.push_back(to_json(effect));
    }
}

}  // namespace

int run_diff(const Options& options) {
    const Result<Loaded> before = open_policy({options.before});
    const Result<Loaded> after = open_policy({options.after});
    if (!before || !after) return say("there is nothing to compare", k_exit_doubt);
    const Difference difference = compare(before->table, after->table);
    std::string text;
    Json gone = Json::array(), fresh = Json::array();
    add(difference.gone, '-', text, gone);
    add(difference.fresh, '+', text, fresh);
    fmt::print("{}", options.json ? to_text(Json{{"gone", gone}, {"new", fresh}}) : text);
    return difference.empty() ? 0 : k_exit_no;
}

int run_test(const Options& options) {
    const Result<Loaded> loaded = open_policy(options.chosen_directories());
    if (!loaded) return say(loaded.error().text, k_exit_no);
    const Result<TestRun> run = run_tests(options.chosen_directories(), *loaded);
    if (!run) return say(run.error().text, k_exit_no);
    std::string text;
    Json list = Json::array();
    for (const FailedCase& failed : run->failed) {
        text += fmt::format("{}:{}:{}: {} was expected: {} by {}\n", failed.at.file, failed.at.line,
                            failed.at.column, failed.expected, failed.call, failed.identity);
        Json one = to_json(failed.at);
        one["identity"] = failed.identity;
        one["call"] = failed.call;
        one["expected"] = failed.expected;
        one["reason"] = failed.reason;
        list.push_back(std::move(one));
    }
    if (options.json)
        fmt::print("{}", to_text(Json{{"cases", run->cases}, {"failed", list}}));
    else
        fmt::print("{}{} cases, {} failed.\n", text, run->cases, run->failed.size());
    return run->failed.empty() ? 0 : k_exit_no;
}

}  // namespace virtgate::ctl::policy
