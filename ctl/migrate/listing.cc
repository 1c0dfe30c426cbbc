// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - the report of a plan, as text and as JSON.
#include "ctl/migrate/listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace virtgate::ctl::migrate {

namespace {

constexpr std::size_t k_value_max = 60;
constexpr std::array k_outcomes{Outcome::open, Outcome::taken, Outcome::stays, Outcome::unneeded};
constexpr std::array<std::string_view, 4> k_json_words{"taken", "unneeded", "stays", "open"};

std::string list_finding(const Finding& finding) {
    std::string line = "  ";
    if (finding.at.line != 0) line += fmt::format("line {}: ", finding.at.line);
    if (!finding.key.empty()) line += finding.key;
    if (!finding.value.empty())
        line +=
            finding.value.size() > k_value_max ? std::string(" = ...") : fmt::format(" = {}", finding.value);
    if (finding.at.line == 0 && !finding.key.empty() && !finding.key.starts_with('/')) line += " (not set)";
    if (!finding.where.empty()) line += fmt::format("\n      -> {}", finding.where);
    if (!finding.text.empty()) line += fmt::format("\n      {}", finding.text);
    return line + "\n";
}

}  // namespace

std::string list_plan(const Plan& plan, const std::vector<std::string>& written) {
    std::string list = fmt::format("{}, as {} reads it\n", plan.file, plan.daemon);
    for (const Outcome outcome : k_outcomes) {
        std::string part;
        for (const Finding& finding : plan.findings)
            if (finding.outcome == outcome) part += list_finding(finding);
        if (!part.empty()) list += fmt::format("\n{}:\n{}", word_for(outcome), part);
    }
    if (plan.findings.empty()) list += "\nIt sets nothing.\n";
    if (!written.empty()) {
        list += "\nwritten:\n";
        for (const std::string& path : written) list += fmt::format("  {}\n", path);
        return list;
    }
    for (const File& file : plan.files) list += fmt::format("\n--- {}\n{}", file.path, file.text);
    return list + "\nNothing was written: --output DIRECTORY does that.\n";
}

std::string plan_to_json(const Plan& plan, const std::vector<std::string>& written) {
    using Json = nlohmann::ordered_json;
    Json findings = Json::array(), files = Json::array();
    for (const Finding& finding : plan.findings) {
        Json one{{"key", finding.key}, {"value", finding.value}};
        one["line"] = finding.at.line == 0 ? Json() : Json(finding.at.line);
        one["column"] = finding.at.line == 0 ? Json() : Json(finding.at.column);
        one["outcome"] = k_json_words[static_cast<std::size_t>(finding.outcome)];
        one["where"] = finding.where;
        one["text"] = finding.text;
        findings.push_back(std::move(one));
    }
    for (const File& file : plan.files) files.push_back({{"path", file.path}, {"text", file.text}});
    const Json root{{"file", plan.file},
                    {"daemon", plan.daemon},
                    {"findings", std::move(findings)},
                    {"files", std::move(files)},
                    {"written", written}};
    return root.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace virtgate::ctl::migrate
