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

}  // namespace virtgate::policy
