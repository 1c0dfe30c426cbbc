// SPDX-License-Identifier: LGPL-2.1-or-later
// tree - a parsed TOML file, with the place of every key and value.
#include "libshared/config/tree.h"

#include <toml++/toml.h>

#include <algorithm>

namespace virtgate::config {

namespace {

Place place_of(const toml::source_region& region) noexcept {
    return {region.begin.line, region.begin.column};
}

// Converts toml++'s nodes; remembers the first that has no place in ours.
class Converter {
public:
    Table convert(const toml::table& from) {
        Table to;
        for (const auto& [key, value] : from)
            to.emplace(std::string(key.str()), Entry{place_of(key.source()), convert(value)});
        return to;
    }

    [[nodiscard]] const Place* stranger() const noexcept { return found_ ? &stranger_ : nullptr; }

private:
    Node convert(const toml::node& from) {
        Node to{place_of(from.source()), false};
        if (const auto* text = from.as_string())
            to.value = text->get();
        else if (const auto* number = from.as_integer())
            to.value = number->get();
        else if (const auto* decimal = from.as_floating_point())
            to.value = decimal->get();
        else if (const auto* truth = from.as_boolean())
            to.value = truth->get();
        else if (const auto* table = from.as_table())
            to.value = convert(*table);
        else if (const auto* array = from.as_array())
            to.value = convert(*array);
        else
            note_stranger(to.place);
        return to;
    }

    Array convert(const toml::array& from) {
        Array to;
        for (const auto& element : from) to.push_back(convert(element));
        return to;
    }

    void note_stranger(Place place) noexcept {
        if (!found_) stranger_ = place;
        found_ = true;
    }

    Place stranger_{};
    bool found_ = false;
};

// What is too much, or empty. A tree takes a hundred times the room of its text if that is nothing but brackets and
// commas, so these are counted before; those in texts and remarks count, too.
std::string flaw_of_size(std::string_view text) {
    const auto count = [&](auto... c) {
        return std::count_if(text.begin(), text.end(), [=](char each) { return ((each == c) || ...); });
    };
    if (count('[', '{') > k_tables_max) return fmt::format("more than {} tables and lists", k_tables_max);
    if (count('=', ',') > k_values_max) return fmt::format("more than {} values", k_values_max);
    return {};
}

// The parser quotes what it did not expect, also a newline.
std::string in_one_line(std::string_view text) {
    std::string line;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        line += byte < 0x20 || byte == 0x7f ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
    }
    return line;
}

}  // namespace

std::string complain(std::string_view file, Place place, std::string_view text) {
    return fmt::format("{}:{}:{}: error: {}", file, place.line, place.column, text);
}

Result<Table> parse(std::string_view text, std::string_view file) {
    if (const std::string flaw = flaw_of_size(text); !flaw.empty())
        return system_fault(0, complain(file, {}, flaw));
    Converter converter;
    Table table;
    try {
        table = converter.convert(toml::parse(text, file));
    } catch (const toml::parse_error& error) {  // the library's way to say it; it ends here
        return system_fault(0, complain(file, place_of(error.source()), in_one_line(error.description())));
    }
    if (const Place* place = converter.stranger())
        return system_fault(0, complain(file, *place, "no setting is a date or a time"));
    return table;
}

}  // namespace virtgate::config
