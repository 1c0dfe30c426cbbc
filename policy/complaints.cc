// SPDX-License-Identifier: LGPL-2.1-or-later
// complaints - what is wrong with the policy files.
#include "policy/complaints.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include "libshared/base/bytes.h"

namespace virtgate::policy {

namespace {

constexpr std::size_t k_word_max = 64;  // longer words are not worth a suggestion

// Levenshtein's distance: how many letters have to be changed, added or removed.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i + 1);
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t change = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({change, row[j] + 1, diagonal + 1});
        }
    }
    return row.back();
}

}  // namespace

void Complaints::add(const Place& at, std::string_view kind, std::string_view text, std::size_t& count) {
    ++count;
    std::string place = escape(at.file);
    if (at.line != 0) place += fmt::format(":{}:{}", at.line, at.column);
    keep(at, &count == &errors_, fmt::format("{}: {}: {}", place, kind, text));
}

void Complaints::ready_error(const std::string& file, std::string line) {
    ++errors_;
    keep({.file = file}, true, std::move(line));
}

void Complaints::keep(const Place& at, bool is_error, std::string line) {
    if (entries_.size() >= k_lines_max) return;
    auto file = std::find(files_.begin(), files_.end(), at.file);
    if (file == files_.end()) file = files_.insert(files_.end(), at.file);
    entries_.push_back({at, static_cast<std::size_t>(file - files_.begin()), is_error, std::move(line)});
}

std::vector<Complaints::Line> Complaints::lines() const {
    std::vector<const Entry*> sorted;
    for (const Entry& entry : entries_) sorted.push_back(&entry);
    std::stable_sort(sorted.begin(), sorted.end(), [](const Entry* a, const Entry* b) {
        return std::tie(a->file_order, a->at.line, a->at.column) <
               std::tie(b->file_order, b->at.line, b->at.column);
    });
    std::vector<Line> lines;
    for (const Entry* entry : sorted) lines.push_back({entry->is_error, entry->text});
    if (const std::size_t more = errors_ + warnings_ - entries_.size(); more != 0)
        lines.push_back({true, fmt::format("and {} more", more)});
    return lines;
}

std::string did_you_mean(std::string_view wrong, const std::vector<std::string_view>& known) {
    std::string_view best;
    std::size_t least = std::max<std::size_t>(1, wrong.size() / 3) + 1;
    for (const std::string_view word : known) {
        if (wrong.size() > k_word_max || word.size() > k_word_max) continue;
        if (const std::size_t d = distance(wrong, word); d < least) {
            least = d;
            best = word;
        }
    }
    return best.empty() ? std::string{} : fmt::format(" (did you mean \"{}\"?)", best);
}

}  // namespace virtgate::policy
