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

}  // namespace virtgate::proto::xdrgen
