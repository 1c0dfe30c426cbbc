// SPDX-License-Identifier: LGPL-2.1-or-later
// notes - take annotations and prose out of comments.
#include <algorithm>

#include "proto/xdrgen/lexer.h"
#include "proto/xdrgen/parser.h"

namespace virtgate::proto::xdrgen {

namespace {

// Reads one comment line by line. A line is prose, or it starts with "@word" and may hold several annotations.
class NoteReader {
public:
    NoteReader(const Comment& comment, Notes& notes)
        : text_(comment.text), here_(comment.at), notes_(notes) {}

    void run() {
        std::size_t start = 0;
        while (start <= text_.size()) {
            std::size_t end = text_.find('\n', start);
            if (end == std::string_view::npos) end = text_.size();
            read_line(text_.substr(start, end - start));
            start = end + 1;
            ++here_.line;
            here_.column = 1;
        }
    }

private:
    void read_line(std::string_view line) {
        std::size_t at = 0;
        const auto skip_blanks = [&] {
            while (at < line.size() && is_blank(line[at])) ++at;
        };
        skip_blanks();
        if (at < line.size() && line[at] == '*') ++at;
        skip_blanks();
        if (at >= line.size()) {
            in_annotation_ = false;
            return;
        }
        const bool starts_annotation = line[at] == '@';
        if (!starts_annotation && !in_annotation_) {
            add_prose(line.substr(at));
            return;
        }
        in_annotation_ = true;
        while (at < line.size()) {
            const std::size_t start = at;
            while (at < line.size() && !is_blank(line[at])) ++at;
            std::string_view word = line.substr(start, at - start);
            const bool ends = word.size() > 1 && word.ends_with(':');
            if (ends) word.remove_suffix(1);
            add_word(word, start);
            skip_blanks();
            if (ends) {
                in_annotation_ = false;
                add_prose(line.substr(std::min(at, line.size())));
                return;
            }
        }
    }

    void add_prose(std::string_view text) {
        while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
        if (!text.empty()) notes_.prose.emplace_back(text);
    }

    void add_word(std::string_view word, std::size_t offset) {
        Position at = here_;
        at.column += static_cast<std::uint32_t>(offset);
        if (word.front() == '@')
            notes_.annotations.push_back({{std::string(word.substr(1)), at}, {}});
        else
            notes_.annotations.back().arguments.push_back({std::string(word), at});
    }

    std::string_view text_;
    Position here_;
    Notes& notes_;
    bool in_annotation_ = false;
};

}  // namespace

Notes read_notes(const std::vector<Comment>& comments, std::uint32_t line) {
    Notes notes;
    for (std::size_t i = 0; i < comments.size(); ++i) {
        NoteReader(comments[i], notes).run();
        const std::uint32_t next = i + 1 < comments.size() ? comments[i + 1].at.line : line;
        if (next > comments[i].last_line + 1) notes.prose.clear();
    }
    return notes;
}

}  // namespace virtgate::proto::xdrgen
