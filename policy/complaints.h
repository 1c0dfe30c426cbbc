// SPDX-License-Identifier: LGPL-2.1-or-later
// complaints - what is wrong with the policy files, in the form that editors and people know:
//   10-roles.toml:4:12: error: unknown role "operater" (did you mean "operator"?)
//
// All that is wrong is collected, so that one run shows everything.
//
// Trust:  the texts quote files that only an administrator can write; they are escaped all the same.
// Limits: k_lines_max errors and as many warnings are kept, the others only counted.
// Owns:   the lines.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace virtgate::policy {

// Where something is written. Lines and columns count from 1; line 0 means the file as a whole.
struct Place {
    std::string file{};
    std::uint32_t line = 0;
    std::uint32_t column = 0;
};

// A text and where it is written.
struct Text {
    std::string text{};
    Place at{};
};

class Complaints {
public:
    static constexpr std::size_t k_lines_max = 200;

    void error(const Place& at, std::string_view text) { add(at, true, text); }
    // `line` is a complaint about `file` that somebody else has put into the form above.
    void ready_error(const std::string& file, std::string line);
    void warning(const Place& at, std::string_view text) { add(at, false, text); }

    [[nodiscard]] std::size_t errors() const noexcept { return errors_; }
    // True if no error more would be kept, so that looking for more is in vain.
    [[nodiscard]] bool is_full() const noexcept { return errors_ >= k_lines_max; }
    [[nodiscard]] std::size_t warnings() const noexcept { return warnings_; }

    struct Line {
        bool is_error = false;
        std::string text{};       // all of it, in the form above
        Place at{};               // where; no file: about nothing in particular
        std::string message{};    // what stands behind "error: "
        std::string_view code{};  // what kind of mistake, for programs: complaint_codes.h
    };
    // In the order of files (of their paths), lines and columns. No newlines.
    [[nodiscard]] std::vector<Line> lines() const;

private:
    void add(const Place& at, bool is_error, std::string_view text);
    void keep(Line line);
    std::vector<Line> kept_;
    std::size_t errors_ = 0;
    std::size_t warnings_ = 0;
    std::size_t kept_errors_ = 0;
    std::size_t kept_warnings_ = 0;
};

}  // namespace virtgate::policy
