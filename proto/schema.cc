// SPDX-License-Identifier: LGPL-2.1-or-later
// schema - open and verify a schema.
#include "proto/schema.h"

#include <fmt/format.h>

#include <algorithm>

#include "libshared/base/bytes.h"
#include "proto/schema_check.h"

namespace virtgate::proto {

using layout::Section;

// Finds the sections. Everything that row() relies on is checked here, whoever wrote the words.
std::string Schema::open(std::span<const std::uint32_t> words, std::string_view text) {
    if (words.size() < layout::k_header_words || words[0] != layout::k_magic) return "this is no schema";
    if (words[1] != layout::k_format)
        return fmt::format("the schema has format {}, known is {}", words[1], layout::k_format);
    if (words[2] != words.size() || words[3] != text.size())
        return "the schema's sizes do not fit its header";
    if (text.empty() || text.front() != '\0' || text.back() != '\0')
        return "the schema's texts are not closed";
    for (std::uint32_t i = 0; i < layout::k_sections; ++i) {
        offsets_[i] = words[4 + 2 * i];
        counts_[i] = words[5 + 2 * i];
        const std::uint64_t end = offsets_[i] + std::uint64_t{counts_[i]} * layout::k_row_words[i];
        if (offsets_[i] < layout::k_header_words || end > words.size())
            return fmt::format("section {} leaves the schema", i);
    }
    words_ = words;
    text_ = text;
    return {};
}

Schema Schema::view(std::span<const std::uint32_t> words, std::string_view text) {
    Schema schema;
    if (!schema.open(words, text).empty()) return Schema();  // without types: validate() refuses everything
    return schema;
}

tl::expected<Schema, std::string> Schema::load(std::span<const std::byte> file) {
    constexpr std::size_t k_sum = 8;
    if (file.size() < std::size_t{layout::k_header_words} * 4 + k_sum)
        return tl::make_unexpected(std::string("the file is too short to be a schema"));
    const auto body = file.first(file.size() - k_sum);
    std::uint64_t sum = 0xcbf29ce484222325;  // FNV-1a
    for (const std::byte b : body) sum = (sum ^ std::to_integer<std::uint64_t>(b)) * 0x100000001b3;
    if (sum != load_be64(file.data() + body.size()))
        return tl::make_unexpected(std::string("the schema's checksum is wrong"));
    const std::size_t words = load_be32(body.data() + 8);
    if (words > body.size() / 4)
        return tl::make_unexpected(std::string("the schema's sizes do not fit its header"));
    Schema schema;
    schema.owned_words_.resize(words);
    for (std::size_t i = 0; i < words; ++i) schema.owned_words_[i] = load_be32(body.data() + 4 * i);
    const std::string_view text = as_text(body.subspan(4 * words));
    schema.owned_text_.assign(text.begin(), text.end());
    std::string complaint =
        schema.open(schema.owned_words_, {schema.owned_text_.data(), schema.owned_text_.size()});
    if (complaint.empty()) complaint = schema.check();
    if (!complaint.empty()) return tl::make_unexpected(std::move(complaint));
    return schema;
}

std::string Schema::check() const { return check_schema(*this, static_cast<std::uint32_t>(text_.size())); }

std::string_view Schema::text(std::uint32_t offset) const noexcept {
    if (offset >= text_.size()) return {};
    const std::string_view rest = text_.substr(offset);
    return rest.substr(0, rest.find('\0'));
}

TypeIndex Schema::find_type(std::string_view name) const noexcept {
    for (TypeIndex i = 0; !name.empty() && i < type_count(); ++i)
        if (text(row(Section::types, i)[7]) == name) return i;
    return k_void;
}

}  // namespace virtgate::proto
