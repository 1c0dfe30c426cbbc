// SPDX-License-Identifier: LGPL-2.1-or-later
// matrix - who may do what, as a table for reviews: groups of procedures or single ones, by identity.
//
// Limits: one row for each group or procedure, one column for each identity; nothing is left out.
// Owns:   copies.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "libshared/base/result.h"
#include "policy/table.h"

namespace virtgate::ctl::policy {

struct Matrix {
    // Of the procedures of a row, how many an identity may call always, with some flags only, and on some
    // objects only.
    struct Cell {
        std::uint32_t always = 0, flags = 0, objects = 0;
    };
    struct Row {
        std::string name{};            // "@lifecycle" or "remote.DOMAIN_CREATE"
        std::uint32_t procedures = 0;  // in the group; 1 of a procedure
        std::vector<Cell> cells{};     // by identity
    };
    std::string listener{};
    std::vector<std::string> identities{};
    std::vector<Row> rows{};
    bool is_of_groups = false;
};

// The table at `listener`, of `identity` only unless that is empty. `words` are groups ("@lifecycle": each of
// its procedures), procedures and patterns of them ("DOMAIN_*"); without any, the rows are the built-in
// groups. Error: peer's fault, a word means nothing.
[[nodiscard]] Result<Matrix> make_matrix(const virtgate::policy::Table& table, std::string_view identity,
                                         const std::string& listener, const std::vector<std::string>& words);

[[nodiscard]] std::string to_text(const Matrix& matrix);
[[nodiscard]] nlohmann::ordered_json to_json(const Matrix& matrix);

}  // namespace virtgate::ctl::policy
