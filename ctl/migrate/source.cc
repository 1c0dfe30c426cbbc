// SPDX-License-Identifier: LGPL-2.1-or-later
// source - read a configuration file of libvirt's daemons.
#include "ctl/migrate/source.h"

#include <fmt/format.h>

#include <charconv>

#include "libshared/base/bytes.h"

namespace virtgate::ctl::migrate {

namespace {

bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

class Parser {
public:
    Parser(std::string_view text, std::string_view file) : rest_(text), file_(file) {}

    Result<std::vector<Entry>> run() {
        std::vector<Entry> entries;
        for (;;) {
            skip_lines();
            if (rest_.empty()) return entries;
            auto entry = read_entry();
            if (!entry) return tl::unexpected(std::move(entry.error()));
            entries.push_back(std::move(*entry));
            if (!end_entry())
                return fail(here_, "after a value there has to be the end of the line, or \";\"");
        }
    }

private:
    [[nodiscard]] char next() const noexcept { return rest_.empty() ? '\n' : rest_.front(); }
    [[nodiscard]] bool at_end_of_line() const noexcept { return next() == '\n' || next() == '\r'; }

    void advance() noexcept {
        const auto c = static_cast<unsigned char>(rest_.front());
        rest_.remove_prefix(1);
        if (c == '\n')
            here_ = {here_.line + 1, 1};
        else if ((c & 0xc0) != 0x80)
            ++here_.column;
    }

    [[nodiscard]] tl::unexpected<Error> fail(Place at, std::string_view text) const {
        return system_fault(0, complaint(file_, at, text));
    }

    void skip_blanks() noexcept {
        while (!rest_.empty() && (next() == ' ' || next() == '\t')) advance();
    }

    void skip_blanks_and_ends() noexcept {
        while (!rest_.empty() && (next() == ' ' || next() == '\t' || at_end_of_line())) advance();
    }

    void skip_lines() noexcept {
        for (skip_blanks_and_ends(); !rest_.empty() && next() == '#'; skip_blanks_and_ends())
            while (!rest_.empty() && next() != '\n') advance();
    }

    bool end_entry() noexcept {
        skip_blanks();
        if (!rest_.empty() && next() == ';') {
            advance();
            return true;
        }
        return next() == '#' || at_end_of_line();
    }

    Result<Entry> read_entry() {
        Entry entry{.key = {}, .at = here_, .value = {}, .value_at = {}};
        if (!is_letter(next()))
            return fail(here_, fmt::format("a line has to begin with the name of a setting, not with \"{}\"",
                                           escape(rest_.substr(0, 1))));
        while (!rest_.empty() && (is_letter(next()) || is_digit(next()) || next() == '_')) {
            entry.key += next();
            advance();
        }
        skip_blanks();
        if (rest_.empty() || next() != '=')
            return fail(here_, fmt::format("after \"{}\" there has to be \"=\"", entry.key));
        advance();
        skip_blanks();
        entry.value_at = here_;
        auto value = read_value(entry.key);
        if (!value) return tl::unexpected(std::move(value.error()));
        entry.value = std::move(*value);
        return entry;
    }

    Result<Value> read_value(std::string_view key) {
        const char c = next();
        if (c == '"' || c == '\'') {
            auto text = read_text();
            if (!text) return tl::unexpected(std::move(text.error()));
            return Value(std::move(*text));
        }
        if (c == '[') return read_list();
        if (c == '-' || c == '+' || is_digit(c)) return read_number();
        return fail(here_,
                    fmt::format("\"{}\" has to have a number, a text in quotes or a list in brackets", key));
    }

    Result<Value> read_number() {
        const Place at = here_;
        std::string digits;
        if (next() == '-') digits = "-";
        if (next() == '-' || next() == '+') advance();
        for (; !rest_.empty() && is_digit(next()); advance()) digits += next();
        std::int64_t number = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
        if (error == std::errc::result_out_of_range) return fail(at, "the number is too large");
        if (error != std::errc{} || end != digits.data() + digits.size())
            return fail(at, "this is no number");
        return Value(number);
    }

    // Quotes of three may go over lines, others may not.
    Result<std::string> read_text() {
        const Place at = here_;
        const bool is_long = rest_.starts_with("\"\"\"");
        const std::string_view mark = is_long ? "\"\"\"" : rest_.substr(0, 1);
        for (std::size_t i = 0; i < mark.size(); ++i) advance();
        std::string text;
        while (!rest_.starts_with(mark)) {
            if (rest_.empty() || (!is_long && at_end_of_line()))
                return fail(at, "the text that begins here has no closing quotes");
            text += next();
            advance();
        }
        for (std::size_t i = 0; i < mark.size(); ++i) advance();
        if (!is_plain_text(text))
            return fail(at, "the text that begins here has control characters, or is not UTF-8");
        return text;
    }

    Result<Value> read_list() {
        const Place at = here_;
        std::vector<Text> texts;
        advance();
        for (skip_blanks_and_ends(); rest_.empty() || next() != ']'; skip_blanks_and_ends()) {
            if (rest_.empty()) return fail(at, "the list that begins here has no closing bracket");
            if (!texts.empty()) {
                if (next() != ',') return fail(here_, "between the texts of a list there has to be a comma");
                advance();
                skip_blanks_and_ends();
                if (!rest_.empty() && next() == ']') break;
            }
            if (!rest_.empty() && next() == '#')
                return fail(here_, "libvirt takes no comment inside of a list");
            if (rest_.empty()) continue;
            if (next() != '"' && next() != '\'') return fail(here_, "a list has texts in quotes");
            if (texts.size() == k_items_max)
                return fail(here_, fmt::format("the list has more than {} texts", k_items_max));
            const Place text_at = here_;
            auto text = read_text();
            if (!text) return tl::unexpected(std::move(text.error()));
            texts.push_back({std::move(*text), text_at});
        }
        advance();
        return Value(std::move(texts));
    }

    std::string_view rest_;
    std::string file_;
    Place here_{1, 1};
};

}  // namespace

std::string complaint(std::string_view file, Place at, std::string_view text) {
    return fmt::format("{}:{}:{}: error: {}", file, at.line, at.column, text);
}

Result<std::vector<Entry>> parse(std::string_view text, std::string_view file) {
    return Parser(text, file).run();
}

}  // namespace virtgate::ctl::migrate
