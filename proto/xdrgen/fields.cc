// SPDX-License-Identifier: LGPL-2.1-or-later
// fields - the checker's part that reads declarations, their types and their annotations.
#include <fmt/format.h>

#include "proto/xdrgen/checker.h"
#include "proto/xdrgen/parser.h"
#include "proto/xdrgen/words.h"

namespace virtgate::proto::xdrgen {

namespace {

std::optional<Kind> builtin(std::string_view name) {
    static constexpr std::pair<std::string_view, Kind> k_builtins[] = {
        {"int", Kind::i32},
        {"unsigned int", Kind::u32},
        {"hyper", Kind::i64},
        {"unsigned hyper", Kind::u64},
        {"float", Kind::f32},
        {"double", Kind::f64},
        {"bool", Kind::boolean},
        {"char", Kind::character},
        {"unsigned char", Kind::u8},
        {"short", Kind::i16},
        {"unsigned short", Kind::u16},
    };
    for (const auto& [word, kind] : k_builtins)
        if (word == name) return kind;
    return std::nullopt;
}

}  // namespace

std::optional<Wide> Checker::evaluate(const Value& value) {
    if (value.name.empty()) return value.number;
    const auto found = constants_.find(value.name);
    if (found != constants_.end()) return found->second;
    std::vector<std::string_view> known;
    for (const auto& [name, number] : constants_) known.push_back(name);
    messages_.error(
        value.at, fmt::format("no constant is called \"{}\"{}", value.name, did_you_mean(value.name, known)));
    return std::nullopt;
}

// The same for a word of an annotation.
std::optional<Wide> Checker::evaluate_word(const Word& word) {
    Value value;
    value.at = word.at;
    if (!parse_number(word.text, value.number)) value.name = word.text;
    return evaluate(value);
}

std::optional<std::uint32_t> Checker::evaluate_bound(const Declaration& declaration) {
    if (!declaration.bound) {
        messages_.error(declaration.name.at,
                        fmt::format("\"{}\" needs a bound: <MAX>", declaration.name.text));
        return std::nullopt;
    }
    const auto bound = evaluate(*declaration.bound);
    if (!bound) return std::nullopt;
    // Room is left so that a length rounded up to whole words still fits 32 bits.
    if (*bound < 1 || *bound > k_word_max - 7) {
        messages_.error(declaration.bound->at, "a bound is at least 1 and below 2^32 - 8");
        return std::nullopt;
    }
    return static_cast<std::uint32_t>(*bound);
}

TypeId Checker::find_type(const Word& name) {
    const auto found = names_.find(name.text);
    if (found != names_.end()) return found->second;
    std::vector<std::string_view> known{"int",    "hyper",  "double", "bool",
                                        "string", "opaque", "char",   "unsigned"};
    for (const auto& [type_name, id] : names_) known.push_back(type_name);
    messages_.error(name.at, fmt::format("no type is called \"{}\" up to here{}", name.text,
                                         did_you_mean(name.text, known)));
    return k_void;
}

std::optional<TypeId> Checker::read_single_type(const Word& name) {
    if (const auto kind = builtin(name.text)) return types_.simple(*kind);
    if (name.text == "quadruple") {
        messages_.error(name.at, "quadruple is not supported");
        return std::nullopt;
    }
    const TypeId id = find_type(name);
    return id == k_void ? std::nullopt : std::optional(id);
}

// The type of a declaration, or k_void after a message.
TypeId Checker::read_type(const Declaration& declaration) {
    const Word& name = declaration.type;
    if (name.text == "void") {
        messages_.error(name.at, "void stands for no field; leave the declaration out");
        return k_void;
    }
    if (name.text == "string" || name.text == "opaque") {
        const bool string = name.text == "string";
        if (declaration.form != Form::variable && (string || declaration.form != Form::fixed)) {
            messages_.error(name.at, string
                                         ? "a string is written \"string name<MAX>\""
                                         : "opaque is written \"opaque name<MAX>\" or \"opaque name[SIZE]\"");
            return k_void;
        }
        const auto bound = evaluate_bound(declaration);
        if (!bound) return k_void;
        if (declaration.form == Form::fixed) return types_.bounded(Kind::fixed_opaque, *bound);
        return types_.bounded(string ? Kind::string : Kind::opaque, *bound);
    }
    const auto element = read_single_type(name);
    if (!element) return k_void;
    switch (declaration.form) {
        case Form::single: return *element;
        case Form::optional: return types_.made_of(Kind::optional, *element, 0);
        case Form::fixed:
        case Form::variable: break;
    }
    const auto bound = evaluate_bound(declaration);
    if (!bound) return k_void;
    if (types_.at(*element).kind == Kind::boolean) {
        messages_.error(name.at, "an array of bool is not supported; use int");
        return k_void;
    }
    return types_.made_of(declaration.form == Form::fixed ? Kind::fixed_array : Kind::array, *element,
                          *bound);
}

Field Checker::read_field(const Declaration& declaration) {
    Field field;
    field.name = lower_name(declaration.name.text);
    field.at = declaration.name.at;
    field.prose = declaration.notes.prose;
    field.type = read_type(declaration);
    if (field.type == k_void)
        field.type =
            types_.simple(Kind::i32);  // has been reported; the rest of the file is checked with an int
    else
        apply_field_notes(declaration, field);
    return field;
}

void Checker::apply_field_notes(const Declaration& declaration, Field& field) {
    for (const Annotation& annotation : declaration.notes.annotations) {
        const std::string& word = annotation.word.text;
        if (word == "range") {
            apply_range(annotation, field);
        } else if (word == "name") {
            const TypeId named = types_.with_name(field.type);
            if (named == k_void)
                messages_.error(annotation.word.at, "@name belongs to a string");
            else
                field.type = named;
        } else if (word == "flags") {
            field.is_flags = true;
        } else if (word == "quantity") {
            field.is_quantity = true;
            if (annotation.arguments.empty())
                messages_.error(annotation.word.at, "say what the quantity is: @quantity bytes to copy");
        } else {
            messages_.error(annotation.word.at,
                            fmt::format("@{} does not belong to a field{}", word,
                                        did_you_mean(word, {"range", "name", "flags", "quantity"})));
        }
    }
}

// @range MIN..MAX; what follows is prose.
void Checker::apply_range(const Annotation& annotation, Field& field) {
    const auto dots =
        annotation.arguments.empty() ? std::string::npos : annotation.arguments[0].text.find("..");
    if (dots == std::string::npos) {
        messages_.error(annotation.word.at, "write @range MIN..MAX");
        return;
    }
    const Word& word = annotation.arguments[0];
    Word upper{word.text.substr(dots + 2), word.at};
    upper.at.column += static_cast<std::uint32_t>(dots + 2);
    const auto minimum = evaluate_word({word.text.substr(0, dots), word.at});
    const auto maximum = evaluate_word(upper);
    if (!minimum || !maximum) return;
    const TypeId ranged = types_.with_range(field.type, *minimum, *maximum);
    if (ranged == k_void) {
        messages_.error(annotation.word.at, "@range belongs to an integer of 4 or 8 bytes");
        return;
    }
    TypeId inner = field.type;
    while (types_.at(inner).element != k_void) inner = types_.at(inner).element;
    const Kind kind = types_.at(inner).kind;
    if (*minimum > *maximum || *minimum < lowest(kind) || *maximum > highest(kind)) {
        messages_.error(word.at, "no value of this type is in the range, or the range leaves the type");
        return;
    }
    field.type = ranged;
}

}  // namespace virtgate::proto::xdrgen
