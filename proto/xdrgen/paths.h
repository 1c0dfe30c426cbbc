// SPDX-License-Identifier: LGPL-2.1-or-later
// paths - find the field that "msg.domain.name" or "records[].domain" names.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/xdrgen/model.h"

namespace virtgate::proto::xdrgen {

struct Place {
    std::vector<std::uint32_t>
        steps;              // field numbers and layout::k_each; optionals are passed without a step
    TypeId type = k_void;   // of what was found, without optionals around it
    bool list = false;      // an array was passed, or is what was found
    bool nullable = false;  // an optional was passed
};

// The place that `path` names within `root`. A failure is reported at `at`.
[[nodiscard]] std::optional<Place> find_place(const std::vector<Type>& types, TypeId root,
                                              std::string_view path, Position at, Messages& messages);

}  // namespace virtgate::proto::xdrgen
