// SPDX-License-Identifier: LGPL-2.1-or-later
// parser - read the RPC language (RFC 4506 section 6, RFC 5531 section 12) with annotation comments.
//
// Differences from the RFCs: structures, unions and enumerations are always named, never written inside another
// declaration; a procedure takes one argument; a program has one version; procedures may be called whatever the
// program calls them. A comment with a word that starts with @ annotates the declaration after it, or the one
// before it on the same line; an annotation without a declaration is an error. A word that ends with ':' ends an
// annotation, the rest of the line is prose.
//
// Limits: none of its own. There is no recursion.
#pragma once

#include <string_view>
#include <vector>

#include "proto/xdrgen/lexer.h"
#include "proto/xdrgen/messages.h"
#include "proto/xdrgen/syntax.h"

namespace virtgate::proto::xdrgen {

// The definitions of `tokens`. After an error the parser goes on behind the next ';', so that one run shows all.
[[nodiscard]] File parse(const std::vector<Token>& tokens, std::string_view name, Messages& messages);

// The annotations and prose of some comments. Prose counts only if it is beside what it describes: without an empty
// line between it and `line`, the line of the next token (0: any distance is fine).
[[nodiscard]] Notes read_notes(const std::vector<Comment>& comments, std::uint32_t line);

// The value of "123", "0x7f", "-1", "017"; false if `text` is no such number.
[[nodiscard]] bool parse_number(std::string_view text, Wide& number);

}  // namespace virtgate::proto::xdrgen
