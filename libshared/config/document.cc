// SPDX-License-Identifier: LGPL-2.1-or-later
// document - read a daemon's settings from a TOML file, and complain about everything in it that is wrong.
#include "libshared/config/document.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"
#include "libshared/base/path_fault.h"
#include "libshared/base/suggest.h"

namespace virtgate::config {

namespace {

const char* type_name(const Node& node) noexcept {
    constexpr std::array k_names{"a boolean", "an integer", "a decimal number",
                                 "a text",    "a list",     "a table"};
    return k_names.at(node.value.index());
}

Result<std::string> read_text(const std::string& path) {
    const UniqueFd file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return path_fault(errno, "cannot open", path);
    if (auto done = check_trusted(file.get(), path); !done) return tl::unexpected(std::move(done.error()));
    std::string text;
    std::array<char, 16384> buffer;
    for (;;) {
        const ssize_t n = read(file.get(), buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return path_fault(errno, "cannot read", path);
        if (n == 0) return text;
        text.append(buffer.data(), static_cast<std::size_t>(n));
        if (text.size() > k_file_max) return system_fault(0, path + " is larger than 1 MiB");
    }
}

// As in TOML.
std::string write_text(std::string_view text) {
    std::string written = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            written.append({'\\', c});
        else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            written += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
        else
            written += c;
    }
    return written + '"';
}

std::string write_texts(const std::vector<std::string>& texts) {
    std::string written;
    for (const std::string& text : texts) written += (written.empty() ? "" : ", ") + write_text(text);
    return "[" + written + "]";
}

std::string write_time(Milliseconds time) {
    return fmt::format("{}", static_cast<double>(time.count()) / 1000);
}

}  // namespace

const Node* Section::ask(std::string_view key) {
    if (table_ == nullptr) return nullptr;
    Document::Asked& asked = document_->asked_[table_];
    asked.name = name_;
    asked.keys.emplace(key);
    const auto found = table_->find(key);
    return found == table_->end() ? nullptr : &found->second.node;
}

bool Section::has(std::string_view key) const noexcept {
    return table_ != nullptr && table_->find(key) != table_->end();
}

void Section::refuse(std::string_view key, std::string_view text) {
    const Node* node = ask(key);
    document_->complain(node != nullptr ? node->place : place_, text);
}

void Section::refuse_type(std::string_view key, const Node& node, std::string_view wanted) {
    document_->complain(node.place, fmt::format("\"{}\" has to be {}, not {}", key, wanted, type_name(node)));
}

void Section::note(std::string_view key, std::string value, std::string fallback) {
    const auto found = table_ != nullptr ? table_->find(key) : Table::const_iterator{};
    Answer answer{.header = header_,
                  .key = std::string(key),
                  .value = std::move(value),
                  .fallback = std::move(fallback),
                  .line = table_ != nullptr && found != table_->end() ? found->second.key.line : 0};
    auto& answers = document_->answers_;
    const auto known = std::find_if(answers.begin(), answers.end(), [&](const Answer& one) {
        return one.header == answer.header && one.key == answer.key;
    });
    if (known == answers.end())
        answers.push_back(std::move(answer));
    else
        *known = std::move(answer);
}

std::string Section::text(std::string_view key, std::string_view fallback) {
    std::string value = read_text(key, fallback);
    note(key, write_text(value), write_text(fallback));
    return value;
}

std::string Section::read_text(std::string_view key, std::string_view fallback) {
    const Node* node = ask(key);
    if (node == nullptr) return std::string(fallback);
    if (const auto* value = std::get_if<std::string>(&node->value)) {
        // Settings end up in C strings, logs and paths; none of them has a use for a control character.
        if (std::none_of(value->begin(), value->end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
            return *value;
        document_->complain(node->place, fmt::format("\"{}\" contains a control character", key));
        return std::string(fallback);
    }
    refuse_type(key, *node, "a text");
    return std::string(fallback);
}

std::int64_t Section::integer(std::string_view key, std::int64_t fallback, std::int64_t min,
                              std::int64_t max) {
    const std::int64_t value = read_integer(key, fallback, min, max);
    note(key, fmt::format("{}", value), fmt::format("{}", fallback));
    return value;
}

std::int64_t Section::read_integer(std::string_view key, std::int64_t fallback, std::int64_t min,
                                   std::int64_t max) {
    const Node* node = ask(key);
    if (node == nullptr) return fallback;
    if (const auto* value = std::get_if<std::int64_t>(&node->value)) {
        if (*value >= min && *value <= max) return *value;
        document_->complain(node->place, fmt::format("\"{}\" has to be between {} and {}", key, min, max));
    } else {
        refuse_type(key, *node, "an integer");
    }
    return fallback;
}

bool Section::boolean(std::string_view key, bool fallback) {
    const bool value = read_boolean(key, fallback);
    note(key, fmt::format("{}", value), fmt::format("{}", fallback));
    return value;
}

bool Section::read_boolean(std::string_view key, bool fallback) {
    const Node* node = ask(key);
    if (node == nullptr) return fallback;
    if (const auto* value = std::get_if<bool>(&node->value)) return *value;
    refuse_type(key, *node, "true or false");
    return fallback;
}

Milliseconds Section::seconds(std::string_view key, Milliseconds fallback, Milliseconds min,
                              Milliseconds max) {
    const Milliseconds value = read_seconds(key, fallback, min, max);
    note(key, write_time(value), write_time(fallback));
    return value;
}

Milliseconds Section::read_seconds(std::string_view key, Milliseconds fallback, Milliseconds min,
                                   Milliseconds max) {
    const Node* node = ask(key);
    if (node == nullptr) return fallback;
    const auto* whole = std::get_if<std::int64_t>(&node->value);
    const auto* decimal = std::get_if<double>(&node->value);
    if (whole == nullptr && decimal == nullptr) {
        refuse_type(key, *node, "a number of seconds");
        return fallback;
    }
    // Compared as decimals: no number in a file can overflow here, and NaN is in no range.
    const double ms = (whole != nullptr ? static_cast<double>(*whole) : *decimal) * 1000;
    if (ms >= static_cast<double>(min.count()) && ms <= static_cast<double>(max.count()))
        return Milliseconds(std::llround(ms));
    document_->complain(node->place, fmt::format("\"{}\" has to be between {:g} and {:g} seconds", key,
                                                 static_cast<double>(min.count()) / 1000,
                                                 static_cast<double>(max.count()) / 1000));
    return fallback;
}

std::vector<std::string> Section::texts(std::string_view key, std::vector<std::string> fallback) {
    const Node* node = ask(key);
    std::vector<std::string> value = node == nullptr ? fallback : read_texts(key, *node);
    note(key, write_texts(value), write_texts(fallback));
    return value;
}

std::vector<std::string> Section::read_texts(std::string_view key, const Node& node) {
    std::vector<std::string> result;
    const auto* array = std::get_if<Array>(&node.value);
    if (array == nullptr) {
        refuse_type(key, node, "a list of texts");
        return result;
    }
    for (const Node& element : *array) {
        if (const auto* value = std::get_if<std::string>(&element.value))
            result.push_back(*value);
        else
            document_->complain(element.place, fmt::format("\"{}\" has to be a list of texts, not of {}", key,
                                                           type_name(element)));
    }
    return result;
}

Section Section::section(std::string_view key) {
    const Node* node = ask(key);
    const Table* table = nullptr;
    if (node != nullptr) {
        table = std::get_if<Table>(&node->value);
        if (table == nullptr)
            refuse_type(key, *node, fmt::format("a table ([{}])", key));
        else
            document_->asked_[table].name = key;  // an empty reader still finds unknown keys
    }
    return Section(*document_, table, node != nullptr ? node->place : place_, std::string(key),
                   fmt::format("[{}]", key));
}

std::vector<Section> Section::sections(std::string_view key) {
    const Node* node = ask(key);
    std::vector<Section> result;
    if (node == nullptr) return result;
    const auto* array = std::get_if<Array>(&node->value);
    if (array == nullptr) {
        refuse_type(key, *node, fmt::format("a list of tables ([[{}]])", key));
        return result;
    }
    for (const Node& element : *array) {
        if (const auto* table = std::get_if<Table>(&element.value))
            result.push_back(Section(*document_, table, element.place, std::string(key),
                                     fmt::format("[[{}]] {}", key, result.size() + 1)));
        else
            refuse_type(key, element, fmt::format("a list of tables ([[{}]])", key));
    }
    return result;
}

Result<std::unique_ptr<Document>> Document::load(const std::string& path) {
    auto text = read_text(path);
    if (!text) return tl::unexpected(text.error());
    return parse(*text, path);
}

Result<std::unique_ptr<Document>> Document::parse(std::string_view text, std::string file) {
    auto table = config::parse(text, file);
    if (!table) return tl::unexpected(table.error());
    return std::unique_ptr<Document>(new Document(std::move(*table), std::move(file)));
}

Section Document::root() {
    asked_[&table_];
    return Section(*this, &table_, Place{}, "", "");
}

void Document::complain(Place place, std::string_view text) {
    complaints_.emplace(std::pair(place.line, place.column), config::complain(file_, place, text));
}

Done Document::finish() {
    for (const auto& [table, asked] : asked_) {
        for (const auto& [key, entry] : *table) {
            if (asked.keys.contains(key)) continue;
            const std::string where = asked.name.empty() ? "" : fmt::format(" in [{}]", asked.name);
            complain(entry.key, fmt::format("unknown key \"{}\"{}{}", escape(key, 64), where,
                                            did_you_mean(key, asked.keys)));
        }
    }
    if (complaints_.empty()) return {};
    std::string all;
    for (const auto& [place, line] : complaints_) all += (all.empty() ? "" : "\n") + line;
    return system_fault(0, std::move(all));
}

std::string list_answers(const std::vector<Answer>& answers) {
    std::string list;
    for (const Answer& one : answers)
        list += fmt::format("setting\t{}\t{}\t{}\t{}\t{}\n", one.header, one.key, one.value, one.fallback,
                            one.line);
    return list;
}

}  // namespace virtgate::config
