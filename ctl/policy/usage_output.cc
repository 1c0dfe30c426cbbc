// SPDX-License-Identifier: LGPL-2.1-or-later
// usage_output - what nobody used, for people and for programs.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "ctl/policy/json.h"
#include "ctl/policy/question.h"
#include "ctl/policy/usage.h"
#include "ctl/policy/words.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::policy {

namespace {

constexpr std::size_t k_width = 100;

// Names in lines of bearable length, indented.
std::string list_names(const std::vector<std::string>& names) {
    std::string text, line;
    for (const std::string& name : names) {
        const std::string bare = name.substr(name.find('.') + 1);
        if (!line.empty() && line.size() + bare.size() > k_width) text += std::exchange(line, {}) + "\n";
        line += (line.empty() ? "      " : " ") + bare;
    }
    return text + line + "\n";
}

std::string to_text(const UnusedWord& word) {
    const std::string text =
        fmt::format("  {:<36} {}   ", escape(word.word.text, 128), say_place(word.word.at));
    if (word.procedures == 1) return text + "not used\n";
    if (word.unused.size() == word.procedures)
        return text + fmt::format("none of its {} procedures\n", word.procedures);
    return text + fmt::format("not {} of its {}:\n", word.unused.size(), word.procedures) +
           list_names(word.unused);
}

}  // namespace

std::string to_text(const UsageReport& report) {
    std::string text;
    if (report.first)
        text += fmt::format("Records from {} to {}, {} calls in the time that was asked for.\n",
                            say_moment(*report.first), say_moment(*report.last), report.records);
    for (const std::string& warning : report.warnings) text += fmt::format("warning: {}\n", warning);
    for (const GrantUsage& grant : report.grants) {
        if (grant.words.empty()) continue;
        text += fmt::format("{}: {} as {}: {} of {} procedures used{}\n", say_place(grant.at), grant.identity,
                            grant.role, grant.used, grant.procedures,
                            grant.unrecorded != 0 ? fmt::format(", {} not recorded", grant.unrecorded) : "");
        for (const UnusedWord& word : grant.words) text += to_text(word);
    }
    return text;
}

Json to_json(const UsageReport& report) {
    Json json = Json::object();
    if (report.first) json["first"] = say_moment(*report.first);
    if (report.last) json["last"] = say_moment(*report.last);
    json["calls"] = report.records;
    json["warnings"] = report.warnings;
    json["grants"] = Json::array();
    for (const GrantUsage& grant : report.grants) {
        Json one{{"identity", grant.identity}, {"role", grant.role}};
        one.update(to_json(grant.at));
        one["audit"] = say_audit(grant.audit);
        one["procedures"] = grant.procedures;
        one["used"] = grant.used;
        one["not_recorded"] = grant.unrecorded;
        one["unused"] = Json::array();
        for (const UnusedWord& word : grant.words) {
            Json entry{{"word", word.word.text}};
            entry.update(to_json(word.word.at));
            entry["of"] = word.procedures;
            entry["procedures"] = word.unused;
            one["unused"].push_back(std::move(entry));
        }
        json["grants"].push_back(std::move(one));
    }
    return json;
}

}  // namespace virtgate::ctl::policy
