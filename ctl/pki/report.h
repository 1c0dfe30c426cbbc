// SPDX-License-Identifier: LGPL-2.1-or-later
// report - what "virtgate pki check" has found, for people and for programs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace virtgate::ctl::pki {

enum class Level : unsigned char {
    good,     // as it should be
    warning,  // works, but not for long, or not with everybody
    problem,  // does not work
};

struct Finding {
    Level level{};
    std::string code;    // a word for programs, listed in virtgate-pki(1); it never changes its meaning
    std::string where;   // the file, or "host:port"
    std::string what;    // what is wrong
    std::string remedy;  // what to do; empty for what is good
};

// The findings in the order in which they were made.
class Report {
public:
    void good(std::string where, std::string what) {
        findings_.push_back({Level::good, "good", std::move(where), std::move(what), {}});
    }
    void warn(std::string_view code, std::string where, std::string what, std::string remedy) {
        findings_.push_back(
            {Level::warning, std::string{code}, std::move(where), std::move(what), std::move(remedy)});
    }
    void refuse(std::string_view code, std::string where, std::string what, std::string remedy) {
        findings_.push_back(
            {Level::problem, std::string{code}, std::move(where), std::move(what), std::move(remedy)});
    }

    [[nodiscard]] const std::vector<Finding>& findings() const noexcept { return findings_; }
    [[nodiscard]] std::size_t count(Level level) const noexcept;
    [[nodiscard]] bool has(std::string_view code) const noexcept;

    // Some lines, with a sum at the end.
    [[nodiscard]] std::string to_text() const;
    // {"good": BOOL, "findings": [{"level", "code", "where", "what", "remedy"}]}, and a newline.
    [[nodiscard]] std::string to_json() const;

private:
    std::vector<Finding> findings_;
};

}  // namespace virtgate::ctl::pki
