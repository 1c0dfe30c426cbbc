// SPDX-License-Identifier: LGPL-2.1-or-later
// messages - the complaints of one run.
#include "proto/xdrgen/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>

namespace virtgate::proto::xdrgen {

namespace {

constexpr std::size_t k_most_printed = 100;

// How many single-character changes lead from `a` to `b` (Levenshtein).
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row[b.size()];
}

}  // namespace

std::uint32_t Messages::add_file(std::string name) {
    files_.push_back(std::move(name));
    return static_cast<std::uint32_t>(files_.size() - 1);
}

void Messages::error(Position at, std::string_view text) { lines_.push_back({at, std::string(text)}); }

std::string Messages::text() const {
    std::vector<const Line*> sorted;
    for (const Line& line : lines_) sorted.push_back(&line);
    std::stable_sort(sorted.begin(), sorted.end(), [](const Line* a, const Line* b) {
        return std::tie(a->at.file, a->at.line, a->at.column) <
               std::tie(b->at.file, b->at.line, b->at.column);
    });
    std::string out;
    for (std::size_t i = 0; i < sorted.size(); ++i) {
        if (i == k_most_printed) {
            fmt::format_to(std::back_inserter(out), "and {} more errors\n", sorted.size() - i);
            break;
        }
        const Position at = sorted[i]->at;
        out += at.file < files_.size() ? files_[at.file] : std::string("?");
        if (at.line != 0) fmt::format_to(std::back_inserter(out), ":{}:{}", at.line, at.column);
        fmt::format_to(std::back_inserter(out), ": error: {}\n", sorted[i]->text);
    }
    return out;
}

std::string_view suggest(std::string_view wrong, const std::vector<std::string_view>& known) {
    std::string_view best;
    // More changes than that make another word, not a slip.
    std::size_t least = wrong.size() < 3 ? 0 : wrong.size() / 3 + 1;
    for (const std::string_view candidate : known) {
        const std::size_t changes = distance(wrong, candidate);
        if (changes != 0 && changes <= least && (best.empty() || changes < least)) {
            best = candidate;
            least = changes;
        }
    }
    return best;
}

std::string did_you_mean(std::string_view wrong, const std::vector<std::string_view>& known) {
    const std::string_view best = suggest(wrong, known);
    return best.empty() ? std::string() : fmt::format(" (did you mean \"{}\"?)", best);
}

}  // namespace virtgate::proto::xdrgen
