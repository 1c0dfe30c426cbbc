// SPDX-License-Identifier: LGPL-2.1-or-later
// lexer - cut an .x file into words, numbers, punctuation and the comments before them.
//
// The lexical rules are those of RFC 4506 section 6.2. A line that starts with % is text for another generator's
// output and is skipped, as the RFC asks. Anything else unknown is an error.
//
// Limits: a file of at most 16 MiB.
// Owns:   a Token's text is a view of the source, which must outlive it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/xdrgen/messages.h"

namespace virtgate::proto::xdrgen {

enum class TokenKind { word, number, punctuation, end };

[[nodiscard]] constexpr bool is_blank(char c) noexcept {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// A comment's inside, without the slashes and stars around it.
struct Comment {
    std::string_view text;
    Position at;                  // of the text's first byte
    std::uint32_t last_line = 0;  // on which it ends
};

struct Token {
    TokenKind kind = TokenKind::end;
    std::string_view text;
    Position at;
    std::vector<Comment> before;  // the comments between the previous token and this one, except
    std::vector<Comment> after;   // the previous token's: on its line, with nothing else behind them
};

// The tokens of `source`, of which the last one has kind `end`. Errors go to `messages`; what they concern is skipped.
[[nodiscard]] std::vector<Token> split(std::string_view source, std::uint32_t file, Messages& messages);

}  // namespace virtgate::proto::xdrgen
