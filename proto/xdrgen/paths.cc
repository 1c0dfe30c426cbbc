// SPDX-License-Identifier: LGPL-2.1-or-later
// paths - find the field that a path names.
#include "proto/xdrgen/paths.h"

#include <fmt/format.h>

namespace virtgate::proto::xdrgen {

namespace {

// Passes optionals and arrays around `place`'s type.
void unwrap(const std::vector<Type>& types, Place& place, bool arrays) {
    for (;;) {
        const Type& type = types[place.type];
        if (type.kind == Kind::optional) {
            place.nullable = true;
        } else if (arrays && (type.kind == Kind::array || type.kind == Kind::fixed_array)) {
            place.list = true;
            place.steps.push_back(layout::k_each);
        } else {
            return;
        }
        place.type = type.element;
    }
}

bool enter_field(const std::vector<Type>& types, Place& place, std::string_view name, Position at,
                 Messages& messages) {
    const Type& type = types[place.type];
    if (type.kind != Kind::structure) {
        messages.error(at, fmt::format("\"{}\" is looked for in something that is no structure", name));
        return false;
    }
    std::vector<std::string_view> known;
    for (std::size_t i = 0; i < type.fields.size(); ++i) {
        if (type.fields[i].name == name) {
            place.steps.push_back(static_cast<std::uint32_t>(i));
            place.type = type.fields[i].type;
            return true;
        }
        known.push_back(type.fields[i].name);
    }
    messages.error(at, fmt::format("{} has no field \"{}\"{}", type.name, name, did_you_mean(name, known)));
    return false;
}

}  // namespace

std::optional<Place> find_place(const std::vector<Type>& types, TypeId root, std::string_view path,
                                Position at, Messages& messages) {
    Place place;
    place.type = root;
    if (root == k_void) {
        messages.error(at, fmt::format("\"{}\" is looked for in void", path));
        return std::nullopt;
    }
    while (!path.empty()) {
        const std::size_t end = std::min(path.find('.'), path.size());
        std::string_view part = path.substr(0, end);
        path.remove_prefix(std::min(end + 1, path.size()));
        const bool each = part.ends_with("[]");
        if (each) part.remove_suffix(2);
        unwrap(types, place, false);
        if (!enter_field(types, place, part, at, messages)) return std::nullopt;
        if (each) {
            const bool was_list = place.list;
            place.list = false;
            unwrap(types, place, true);
            if (!place.list) {
                messages.error(at, fmt::format("\"{}\" is no array", part));
                return std::nullopt;
            }
            place.list = place.list || was_list;
        }
    }
    unwrap(types, place, false);
    return place;
}

}  // namespace virtgate::proto::xdrgen
