// SPDX-License-Identifier: LGPL-2.1-or-later
// report - what "virtgate pki check" has found, for people and for programs.
#include "ctl/pki/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace virtgate::ctl::pki {

namespace {

std::string_view name_of(Level level) {
    switch (level) {
        case Level::good: return "good";
        case Level::warning: return "warning";
        case Level::problem: return "problem";
    }
    return {};
}

std::string say_count(std::size_t number, std::string_view what) {
    if (number == 0) return fmt::format("no {}s", what);
    return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

}  // namespace

std::size_t Report::count(Level level) const noexcept {
    return static_cast<std::size_t>(std::count_if(findings_.begin(), findings_.end(),
                                                  [level](const Finding& f) { return f.level == level; }));
}

bool Report::has(std::string_view code) const noexcept {
    return std::any_of(findings_.begin(), findings_.end(),
                       [code](const Finding& f) { return f.code == code; });
}

std::string Report::to_text() const {
    std::string text;
    for (const Finding& finding : findings_) {
        text += fmt::format("{:<9}{}: {}\n", name_of(finding.level), finding.where, finding.what);
        if (!finding.remedy.empty()) text += fmt::format("         {}\n", finding.remedy);
    }
    return text + fmt::format("{}, {}\n", say_count(count(Level::problem), "problem"),
                              say_count(count(Level::warning), "warning"));
}

std::string Report::to_json() const {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const Finding& finding : findings_)
        rows.push_back({{"level", name_of(finding.level)},
                        {"code", finding.code},
                        {"where", finding.where},
                        {"what", finding.what},
                        {"remedy", finding.remedy}});
    const nlohmann::ordered_json document{{"good", count(Level::problem) == 0},
                                          {"findings", std::move(rows)}};
    // A file's name need not be UTF-8.
    return document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace virtgate::ctl::pki
