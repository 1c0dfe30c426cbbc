// SPDX-License-Identifier: LGPL-2.1-or-later
// suggest - what somebody probably meant to type.
#include "libshared/base/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace virtgate {

namespace {

// Longer words are no typing mistakes, and the table below grows with the square.
constexpr std::size_t k_word_max = 64;

// Number of single-letter edits, a swap of neighbours counted as one.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        now[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = last[j - 1] + (a[i - 1] != b[j - 1]);
            now[j] = std::min({last[j] + 1, now[j - 1] + 1, replaced});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = std::min(now[j], before[j - 2] + 1);
        }
        before.swap(last);
        last.swap(now);
    }
    return last[b.size()];
}

}  // namespace

std::string_view suggest_among(std::string_view typed, std::span<const std::string_view> known) {
    if (typed.empty() || typed.size() > k_word_max) return {};
    std::string_view best;
    std::size_t least = k_word_max;
    for (const std::string_view word : known) {
        if (word.size() > k_word_max) continue;
        const bool begins = typed.size() > 1 && word.starts_with(typed);
        // So many letters more or less are too many edits already.
        const std::size_t most = std::max<std::size_t>(1, word.size() / 3);
        if (!begins && std::max(typed.size(), word.size()) - std::min(typed.size(), word.size()) > most)
            continue;
        const std::size_t edits = begins ? 0 : distance(typed, word);
        // As many edits as letters make another word.
        const bool near = begins || (edits < typed.size() && edits <= most);
        if (near && edits < least) {
            least = edits;
            best = word;
        }
    }
    return best;
}

std::string did_you_mean_among(std::string_view typed, std::span<const std::string_view> known) {
    const std::string_view word = suggest_among(typed, known);
    return word.empty() ? std::string{} : fmt::format(" (did you mean \"{}\"?)", word);
}

}  // namespace virtgate
