// SPDX-License-Identifier: LGPL-2.1-or-later
// subject - the name in a certificate, as people write it: RFC 4514.
#include "ctl/policy/subject.h"

#include <fmt/format.h>

#include <string>

#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "policy/attributes.h"

namespace virtgate::ctl::policy {

namespace {

constexpr std::string_view k_special = " \"#+,;<=>\\";

int hex_of(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

class SubjectReader {
public:
    explicit SubjectReader(std::string_view text) : text_(text) {}

    Result<std::vector<proto::who::NamePart>> read() {
        std::vector<proto::who::NamePart> parts;
        skip_blanks();
        while (at_ < text_.size()) {
            auto part = read_part();
            if (!part) return tl::unexpected(std::move(part.error()));
            parts.push_back(std::move(*part));
            if (at_ == text_.size()) break;
            ++at_;  // the separator
            skip_blanks();
            if (at_ == text_.size())
                return peer_fault("the name ends with a separator: write CN=alice,O=Acme");
        }
        return parts;
    }

private:
    void skip_blanks() noexcept {
        while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    }

    [[nodiscard]] bool ends_here() const noexcept {
        return at_ == text_.size() || text_[at_] == ',' || text_[at_] == '+' || text_[at_] == ';';
    }

    Result<proto::who::NamePart> read_part() {
        const std::size_t begin = at_;
        while (!ends_here() && text_[at_] != '=') ++at_;
        std::string_view name = text_.substr(begin, at_ - begin);
        while (name.ends_with(' ')) name.remove_suffix(1);
        if (at_ == text_.size() || text_[at_] != '=' || name.empty())
            return peer_fault(
                fmt::format("\"{}\" is no attribute: write CN=alice,O=Acme, and \\, for a comma in a value",
                            escape(text_.substr(begin, at_ - begin), 64)));
        ++at_;
        const std::string_view canonical = virtgate::policy::canonical_attribute(name);
        if (canonical.empty())
            return peer_fault(fmt::format("unknown attribute \"{}\"{}", escape(name, 64),
                                          did_you_mean(name, virtgate::policy::known_attributes())));
        skip_blanks();
        auto value = at_ < text_.size() && text_[at_] == '"' ? read_quoted() : read_value();
        if (!value) return tl::unexpected(std::move(value.error()));
        return proto::who::NamePart{std::string(canonical), std::move(*value)};
    }

    // Behind a backslash.
    Result<char> read_escaped() {
        if (at_ < text_.size() && k_special.find(text_[at_]) != k_special.npos) return text_[at_++];
        const int high = at_ + 1 < text_.size() ? hex_of(text_[at_]) : -1;
        const int low = high < 0 ? -1 : hex_of(text_[at_ + 1]);
        if (low < 0)
            return peer_fault(
                "behind \"\\\" there has to be one of , + \" \\ < > ; = # or a blank, or two "
                "hexadecimal digits");
        at_ += 2;
        return static_cast<char>(high * 16 + low);
    }

    Result<std::string> read_value() {
        if (at_ < text_.size() && text_[at_] == '#')
            return peer_fault(
                "a value in hexadecimal DER (\"#...\") is only understood in a certificate: use --cert");
        std::string value;
        std::size_t kept = 0;  // blanks behind this are none of the value's
        while (!ends_here()) {
            char c = text_[at_++];
            const bool is_escaped = c == '\\';
            if (is_escaped) {
                const auto meant = read_escaped();
                if (!meant) return tl::unexpected(meant.error());
                c = *meant;
            }
            value += c;
            if (c != ' ' || is_escaped) kept = value.size();
        }
        value.resize(kept);
        return check(std::move(value));
    }

    Result<std::string> read_quoted() {
        std::string value;
        for (++at_; at_ < text_.size() && text_[at_] != '"';) {
            char c = text_[at_++];
            if (c == '\\') {
                const auto meant = read_escaped();
                if (!meant) return tl::unexpected(meant.error());
                c = *meant;
            }
            value += c;
        }
        if (at_ == text_.size()) return peer_fault("a quotation mark is not closed");
        ++at_;
        skip_blanks();
        if (!ends_here()) return peer_fault("behind a value in quotes there has to be a separator");
        return check(std::move(value));
    }

    // Nothing else is in a certificate that doorman lets in.
    static Result<std::string> check(std::string value) {
        if (value.size() > proto::who::k_text_max || !is_plain_text(value))
            return peer_fault(fmt::format("the value \"{}\" is not plain text", escape(value, 64)));
        return value;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

}  // namespace

Result<std::vector<proto::who::NamePart>> parse_subject(std::string_view text) {
    return SubjectReader(text).read();
}

}  // namespace virtgate::ctl::policy
