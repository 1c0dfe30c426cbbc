// SPDX-License-Identifier: LGPL-2.1-or-later
// lexer - cut an .x file into words, numbers, punctuation and the comments before them.
#include "proto/xdrgen/lexer.h"

#include <fmt/format.h>

namespace virtgate::proto::xdrgen {

namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word_part(char c) { return is_letter(c) || is_digit(c) || c == '_'; }
class Lexer {
public:
    Lexer(std::string_view source, std::uint32_t file, Messages& messages)
        : source_(source), here_{file, 1, 1}, messages_(messages) {}

    std::vector<Token> run() {
        std::vector<Token> tokens;
        std::vector<Comment> comments;
        while (skip_to_token(comments)) {
            Token token = take_token();
            if (token.kind == TokenKind::end) continue;
            place(comments, token, tokens);
            tokens.push_back(std::move(token));
        }
        Token end{TokenKind::end, {}, here_, {}, {}};
        place(comments, end, tokens);
        tokens.push_back(std::move(end));
        return tokens;
    }

private:
    // A comment that starts on the line of the token before it, with the next token on another line, speaks of what
    // ends there; any other comment speaks of what follows.
    static void place(std::vector<Comment>& comments, Token& next, std::vector<Token>& tokens) {
        for (Comment& comment : comments) {
            const bool opens = tokens.empty() || tokens.back().text == "{" || tokens.back().text == "(";
            const bool trails = !opens && tokens.back().at.line == comment.at.line &&
                                (next.at.line != comment.last_line || next.kind == TokenKind::end);
            (trails ? tokens.back().after : next.before).push_back(comment);
        }
        comments.clear();
    }

    [[nodiscard]] bool at_end() const { return at_ >= source_.size(); }
    [[nodiscard]] char peek(std::size_t ahead = 0) const {
        return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
    }

    void step() {
        if (source_[at_] == '\n') {
            ++here_.line;
            here_.column = 1;
        } else {
            ++here_.column;
        }
        ++at_;
    }

    // Passes blanks, comments and %-lines; false at the end of the file.
    bool skip_to_token(std::vector<Comment>& comments) {
        while (!at_end()) {
            if (is_blank(peek()))
                step();
            else if (peek() == '%' && here_.column == 1)
                skip_line();
            else if (peek() == '/' && peek(1) == '*')
                take_comment(comments);
            else
                return true;
        }
        return false;
    }

    void skip_line() {
        while (!at_end() && peek() != '\n') step();
    }

    void take_comment(std::vector<Comment>& comments) {
        const Position open = here_;
        step();
        step();
        const Position inside = here_;
        const std::size_t start = at_;
        const std::size_t close = source_.find("*/", at_);
        if (close == std::string_view::npos) {
            messages_.error(open, "this comment is not closed");
            while (!at_end()) step();
            return;
        }
        while (at_ < close + 2) step();
        comments.push_back({source_.substr(start, close - start), inside, here_.line});
    }

    Token take_token() {
        const Position start_here = here_;
        const std::size_t start = at_;
        TokenKind kind = TokenKind::punctuation;
        if (is_letter(peek()) || peek() == '_') {
            kind = TokenKind::word;
            while (is_word_part(peek())) step();
        } else if (is_digit(peek()) || (peek() == '-' && is_digit(peek(1)))) {
            kind = TokenKind::number;
            step();
            while (is_word_part(peek())) step();
        } else if (std::string_view("{}()[]<>;:,=*").find(peek()) != std::string_view::npos) {
            step();
        } else {
            return refuse(start_here);
        }
        return {kind, source_.substr(start, at_ - start), start_here, {}, {}};
    }

    Token refuse(Position where) {
        const char c = peek();
        if (c == '#') {
            messages_.error(where,
                            "there is no preprocessor here: constants are written \"const name = value;\"");
            skip_line();
        } else if (c == '/' && peek(1) == '/') {
            messages_.error(where, "comments are written /* so */");
            skip_line();
        } else {
            const auto byte = static_cast<unsigned char>(c);
            messages_.error(where, byte > 0x20 && byte < 0x7f
                                       ? fmt::format("'{}' means nothing here", c)
                                       : fmt::format("byte 0x{:02x} means nothing here", byte));
            step();
        }
        return {TokenKind::end, {}, where, {}, {}};
    }

    std::string_view source_;
    std::size_t at_ = 0;
    Position here_;
    Messages& messages_;
};

}  // namespace

std::vector<Token> split(std::string_view source, std::uint32_t file, Messages& messages) {
    return Lexer(source, file, messages).run();
}

}  // namespace virtgate::proto::xdrgen
