// SPDX-License-Identifier: LGPL-2.1-or-later
// parse_tree - what all readers of policy files need: places, keys, and texts in a parsed file.
//
// Trust:  files belong to the administrator. They may be wrong, and everything wrong in them is reported.
// Owns:   nothing; a reader lives while one file is parsed.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "libshared/config/tree.h"
#include "policy/complaints.h"

namespace virtgate::policy {

class TreeReader {
public:
    // `file` is the name in places; both are borrowed.
    TreeReader(const std::string& file, Complaints& complaints) noexcept
        : file_(file), complaints_(complaints) {}

    [[nodiscard]] Place at(const config::Place& place) const { return {file_, place.line, place.column}; }
    void complain(const config::Place& place, std::string_view text) { complaints_.error(at(place), text); }
    void warn(const config::Place& place, std::string_view text) { complaints_.warning(at(place), text); }

    // The entry of `key`, or null.
    [[nodiscard]] static const config::Entry* find(const config::Table& table, std::string_view key);

    // Unknown keys are errors: a misspelt condition must not be a condition less. `where` is " of a role".
    void refuse_others(const config::Table& table, const std::vector<std::string_view>& known,
                       std::string_view where);

    // A text, or a list of texts that is not empty. Complains and returns what is a text.
    [[nodiscard]] std::vector<Text> read_texts(const config::Entry& entry, std::string_view key);

    // A text. Complains and returns none if it is something else.
    [[nodiscard]] std::optional<Text> read_text(const config::Entry& entry, std::string_view key);

private:
    const std::string& file_;
    Complaints& complaints_;
};

}  // namespace virtgate::policy
