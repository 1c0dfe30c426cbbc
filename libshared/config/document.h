// SPDX-License-Identifier: LGPL-2.1-or-later
// document - read a daemon's settings from a TOML file, and complain about everything in it that is wrong.
//
//     auto document = Document::load("/etc/virtgate/netd.toml");
//     Section tls = document->root().section("tls");
//     settings.port = tls.integer("port", 16514, 0, 65535);
//     if (auto done = document->finish(); !done) …          // all complaints, one per line
//
// A wrong value is noted and the default is returned, so that a reader asks for everything in a row and one
// run reports all mistakes. A key that nobody asked for is a mistake too; the complaint names the nearest
// known key. What was asked for, and what came of it, can be listed afterwards (answers()): that is what a daemon's settings
// are, defaults and all.
//
// Trust:  the file is the administrator's: complaints quote it (escaped), and go to the administrator.
// Owns:   the parsed file; a Section must not outlive its Document, nor be used after finish().
#pragma once

#include <map>
#include <memory>
#include <set>

#include "libshared/base/clock.h"
#include "libshared/config/tree.h"

namespace virtgate::config {

class Document;

// A table of the file, or the absence of one (then every setting has its default).
class Section {
public:
    // The value of `key`, or `fallback` if the key is absent or its value is refused.
    [[nodiscard]] std::string text(std::string_view key, std::string_view fallback);
    [[nodiscard]] std::int64_t integer(std::string_view key, std::int64_t fallback, std::int64_t min,
                                       std::int64_t max);
    [[nodiscard]] bool boolean(std::string_view key, bool fallback);
    // A time in seconds, whole or decimal (0.5).
    [[nodiscard]] Milliseconds seconds(std::string_view key, Milliseconds fallback, Milliseconds min,
                                       Milliseconds max);
    // A list of texts; `fallback` if absent.
    [[nodiscard]] std::vector<std::string> texts(std::string_view key,
                                                 std::vector<std::string> fallback = {});
    // [key], and each [[key]].
    [[nodiscard]] Section section(std::string_view key);
    [[nodiscard]] std::vector<Section> sections(std::string_view key);

    // True if the file has `key` here. Does not count as asking for it.
    [[nodiscard]] bool has(std::string_view key) const noexcept;
    // Complains about the value of `key` (or about this section, if the key is absent) in the caller's words.
    void refuse(std::string_view key, std::string_view text);

private:
    friend class Document;
    Section(Document& document, const Table* table, Place place, std::string name, std::string header)
        : document_(&document),
          table_(table),
          place_(place),
          name_(std::move(name)),
          header_(std::move(header)) {}
    [[nodiscard]] const Node* ask(std::string_view key);
    void refuse_type(std::string_view key, const Node& node, std::string_view wanted);
    // The value, or `fallback` and a complaint.
    std::string read_text(std::string_view key, std::string_view fallback);
    std::int64_t read_integer(std::string_view key, std::int64_t fallback, std::int64_t min,
                              std::int64_t max);
    bool read_boolean(std::string_view key, bool fallback);
    Milliseconds read_seconds(std::string_view key, Milliseconds fallback, Milliseconds min,
                              Milliseconds max);
    std::vector<std::string> read_texts(std::string_view key, const Node& node);
    void note(std::string_view key, std::string value, std::string fallback);

    Document* document_;
    const Table* table_;  // null: absent
    Place place_;
    std::string name_;    // "tls"; empty for the root
    std::string header_;  // "[tls]", "[[upstream]] 2"
};

// One setting, as its daemon understands it.
struct Answer {
    std::string header;      // of its section: "[tls]", "[[upstream]] 2" (from 1); empty at the top
    std::string key;         // "port"
    std::string value;       // what is in force, written as in TOML: 16514, "::", ["a", "b"]
    std::string fallback;    // what it would be if the file did not have it
    std::uint32_t line = 0;  // where the file has it; 0: it does not
};

class Document {
public:
    // Reads the file `path`. Error: system's fault, if it cannot be read or is not TOML.
    [[nodiscard]] static Result<std::unique_ptr<Document>> load(const std::string& path);
    // The same from `text`; `file` is its name in complaints.
    [[nodiscard]] static Result<std::unique_ptr<Document>> parse(std::string_view text, std::string file);

    [[nodiscard]] Section root();
    // Success if there is nothing to complain about. Error: system's fault; the complaints in the order of
    // the file, separated by newlines.
    [[nodiscard]] Done finish();
    // What was asked for until now, in that order, each key once.
    [[nodiscard]] const std::vector<Answer>& answers() const noexcept { return answers_; }

private:
    friend class Section;
    Document(Table table, std::string file) : table_(std::move(table)), file_(std::move(file)) {}
    void complain(Place place, std::string_view text);

    // What was asked of one table.
    struct Asked {
        std::string name;
        std::set<std::string, std::less<>> keys;
    };
    Table table_;
    std::string file_;
    std::map<const Table*, Asked> asked_;
    std::multimap<std::pair<std::uint32_t, std::uint32_t>, std::string> complaints_;
    std::vector<Answer> answers_;
};

// A line for each answer: "setting", header, key, value, fallback and line, between tabs; nothing of it has a tab or a line end.
// What a daemon prints for --settings, and "virtgate config" reads.
[[nodiscard]] std::string list_answers(const std::vector<Answer>& answers);

// What `read`, which takes the document, makes of one that could be opened.
template <class Settings>
[[nodiscard]] Result<Settings> read_with(Result<std::unique_ptr<Document>> document,
                                         Result<Settings> (&read)(Document&)) {
    if (!document) return tl::unexpected(std::move(document.error()));
    return read(**document);
}

// The settings themselves, listed: list_answers() of what `read` asks. Error: as read_with()'s.
template <class Settings>
[[nodiscard]] Result<std::string> list_with(Result<std::unique_ptr<Document>> document,
                                            Result<Settings> (&read)(Document&)) {
    if (!document) return tl::unexpected(std::move(document.error()));
    if (auto settings = read(**document); !settings) return tl::unexpected(std::move(settings.error()));
    return list_answers((*document)->answers());
}

}  // namespace virtgate::config
