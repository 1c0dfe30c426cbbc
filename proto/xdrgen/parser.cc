// SPDX-License-Identifier: LGPL-2.1-or-later
// parser - read the RPC language with annotation comments.
#include "proto/xdrgen/parser.h"

#include <fmt/format.h>

#include <utility>

namespace virtgate::proto::xdrgen {

bool parse_number(std::string_view text, Wide& number) {
    const bool negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    unsigned base = 10;
    if (text.starts_with("0x") || text.starts_with("0X")) {
        base = 16;
        text.remove_prefix(2);
    } else if (text.size() > 1 && text.front() == '0') {
        base = 8;
    }
    if (text.empty() || text.size() > 22) return false;
    Wide value = 0;
    for (const char c : text) {
        unsigned digit = 99;
        if (c >= '0' && c <= '9')
            digit = static_cast<unsigned>(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = static_cast<unsigned>(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            digit = static_cast<unsigned>(c - 'A' + 10);
        if (digit >= base) return false;
        value = value * static_cast<Wide>(base) + static_cast<Wide>(digit);
        if (value > (Wide{1} << 64) - 1) return false;
    }
    number = negative ? -value : value;
    return true;
}

namespace {

// A failed step returns false after its message, and the definition it belongs to is skipped.
class Parser {
public:
    Parser(const std::vector<Token>& tokens, std::string_view name, Messages& messages)
        : tokens_(tokens), messages_(messages) {
        file_.name = name;
    }

    File run() {
        while (here().kind != TokenKind::end) {
            Definition definition;
            definition.notes = claim();
            take_imports(definition.notes);
            const bool good = parse_definition(definition);
            if (good) claim_after(definition.notes);
            if (good)
                file_.definitions.push_back(std::move(definition));
            else
                recover();
        }
        Notes last = read_notes(here().before, 0);
        take_imports(last);
        complain_unattached(last);
        return std::move(file_);
    }

private:
    [[nodiscard]] const Token& here() const { return tokens_[at_]; }
    [[nodiscard]] bool is(std::string_view text) const { return here().text == text; }

    // The notes before the current token; they are its owner's now.
    Notes claim() {
        claimed_ = at_;
        return read_notes(here().before, here().at.line);
    }

    // Adds what is said behind the token that was just passed.
    void claim_after(Notes& notes) {
        claimed_after_ = at_ - 1;
        merge(notes, read_notes(tokens_[at_ - 1].after, 0));
    }

    void step() {
        if (claimed_ != at_) complain_unattached(read_notes(here().before, 0));
        if (at_ > 0 && claimed_after_ != at_ - 1) complain_unattached(read_notes(tokens_[at_ - 1].after, 0));
        advance();
    }

    void advance() {
        if (here().kind == TokenKind::end) return;
        if (is("{"))
            ++depth_;
        else if (is("}") && depth_ > 0)
            --depth_;
        ++at_;
    }

    void complain_unattached(const Notes& notes) {
        for (const Annotation& annotation : notes.annotations)
            messages_.error(
                annotation.word.at,
                fmt::format("@{} stands beside nothing that it could describe", annotation.word.text));
    }

    // @import may stand before any definition; it concerns the file.
    void take_imports(Notes& notes) {
        std::vector<Annotation> rest;
        for (Annotation& annotation : notes.annotations) {
            if (annotation.word.text != "import") {
                rest.push_back(std::move(annotation));
                continue;
            }
            if (annotation.arguments.empty())
                messages_.error(annotation.word.at, "@import needs the name of an .x file");
            for (Word& name : annotation.arguments) file_.imports.push_back(std::move(name));
        }
        notes.annotations = std::move(rest);
    }

    bool fail(std::string_view expected) {
        const Token& token = here();
        const std::string found =
            token.kind == TokenKind::end ? "the end of the file" : fmt::format("\"{}\"", token.text);
        messages_.error(token.at, fmt::format("expected {}, found {}", expected, found));
        return false;
    }

    // Goes behind the next ';' outside braces, or to the end.
    void recover() {
        bool found = false;
        while (!found && here().kind != TokenKind::end) {
            advance();
            found = depth_ == 0 && tokens_[at_ - 1].text == ";";
        }
        claimed_ = static_cast<std::size_t>(-1);
    }

    bool expect(std::string_view text) {
        if (!is(text)) return fail(fmt::format("\"{}\"", text));
        step();
        return true;
    }

    bool parse_word(Word& word, std::string_view what) {
        if (here().kind != TokenKind::word) return fail(what);
        word = {std::string(here().text), here().at};
        step();
        return true;
    }

    bool parse_value(Value& value) {
        value.at = here().at;
        if (here().kind == TokenKind::word) {
            value.name = here().text;
        } else if (here().kind != TokenKind::number) {
            return fail("a number or the name of a constant");
        } else if (!parse_number(here().text, value.number)) {
            messages_.error(here().at, fmt::format("\"{}\" is not a number of at most 64 bits", here().text));
            value.number = 0;
        }
        step();
        return true;
    }

    bool parse_definition(Definition& definition) {
        using enum DefinitionKind;
        static constexpr std::pair<std::string_view, DefinitionKind> words[] = {
            {"const", constant}, {"enum", enumeration}, {"struct", structure},
            {"union", choice},   {"typedef", alias},    {"program", program},
        };
        for (const auto& [word, kind] : words) {
            if (!is(word)) continue;
            definition.kind = kind;
            step();
            return parse_body(definition) && expect(";");
        }
        return fail("const, enum, struct, union, typedef or program");
    }

    bool parse_body(Definition& definition) {
        switch (definition.kind) {
            case DefinitionKind::constant:
                return parse_word(definition.name, "the name of the constant") && expect("=") &&
                       parse_value(definition.value);
            case DefinitionKind::enumeration: return parse_enum(definition);
            case DefinitionKind::structure: return parse_struct(definition);
            case DefinitionKind::choice: return parse_union(definition);
            case DefinitionKind::alias:
                if (!parse_declaration(definition.fields.emplace_back())) return false;
                definition.name = definition.fields.front().name;
                return true;
            case DefinitionKind::program: return parse_program(definition);
        }
        return false;
    }

    bool parse_enum(Definition& definition) {
        if (!parse_word(definition.name, "the name of the enumeration") || !expect("{")) return false;
        for (;;) {
            EnumMember& member = definition.members.emplace_back();
            member.notes = claim();
            if (!parse_word(member.name, "the name of a member") || !expect("=") ||
                !parse_value(member.value))
                return false;
            claim_after(member.notes);
            if (!is(",")) return expect("}");
            step();
            claim_after(member.notes);
        }
    }

    bool parse_struct(Definition& definition) {
        if (!parse_word(definition.name, "the name of the structure") || !expect("{")) return false;
        do {
            Declaration& field = definition.fields.emplace_back();
            field.notes = claim();
            if (!parse_declaration(field) || !expect(";")) return false;
            claim_after(field.notes);
        } while (!is("}"));
        return expect("}");
    }

    bool parse_union(Definition& definition) {
        if (!parse_word(definition.name, "the name of the union") || !expect("switch") || !expect("("))
            return false;
        Declaration& discriminant = definition.fields.emplace_back();
        discriminant.notes = claim();
        if (!parse_declaration(discriminant) || !expect(")") || !expect("{")) return false;
        do {
            UnionArm& arm = definition.arms.emplace_back();
            arm.notes = claim();
            if (is("default")) {
                step();
                if (!expect(":")) return false;
            } else {
                do {
                    if (!expect("case") || !parse_value(arm.cases.emplace_back()) || !expect(":"))
                        return false;
                } while (is("case"));
            }
            arm.body.notes = std::move(arm.notes);
            if (claimed_ != at_) merge(arm.body.notes, claim());
            if (!parse_declaration(arm.body) || !expect(";")) return false;
            claim_after(arm.body.notes);
        } while (!is("}"));
        return expect("}");
    }

    static void merge(Notes& into, Notes more) {
        for (Annotation& annotation : more.annotations) into.annotations.push_back(std::move(annotation));
        for (std::string& line : more.prose) into.prose.push_back(std::move(line));
    }

    bool parse_declaration(Declaration& declaration) {
        if (is("struct") || is("union") || is("enum")) {
            messages_.error(here().at, "define the type by itself and use its name here");
            return false;
        }
        if (!parse_type(declaration.type)) return false;
        if (declaration.type.text == "void") return true;
        if (is("*")) {
            declaration.form = Form::optional;
            step();
        }
        if (!parse_word(declaration.name, "a name")) return false;
        const bool fixed = is("[");
        if (!fixed && !is("<")) return true;
        if (declaration.form == Form::optional) return fail("\";\" (an optional array needs a typedef)");
        declaration.form = fixed ? Form::fixed : Form::variable;
        step();
        if (fixed || !is(">")) {
            if (!parse_value(declaration.bound.emplace())) return false;
        }
        return expect(fixed ? "]" : ">");
    }

    bool parse_type(Word& type) {
        if (!parse_word(type, "a type")) return false;
        if (type.text != "unsigned") return true;
        for (const std::string_view base : {"int", "hyper", "char", "short"}) {
            if (is(base)) {
                type.text = fmt::format("unsigned {}", base);
                step();
                return true;
            }
        }
        type.text = "unsigned int";
        return true;
    }

    bool parse_program(Definition& definition) {
        if (!parse_word(definition.name, "the name of the program") || !expect("{")) return false;
        do {
            if (!parse_version(definition.versions.emplace_back())) return false;
        } while (is("version"));
        return expect("}") && expect("=") && parse_value(definition.value);
    }

    bool parse_version(VersionSyntax& version) {
        if (!expect("version") || !parse_word(version.name, "the name of the version") || !expect("{"))
            return false;
        while (!is("}")) {
            ProcedureSyntax& procedure = version.procedures.emplace_back();
            procedure.notes = claim();
            if (!parse_type(procedure.result) || !parse_word(procedure.name, "the name of the procedure") ||
                !expect("(") || !parse_type(procedure.argument))
                return false;
            if (is(",")) return fail("\")\" (a procedure takes one argument: a structure)");
            if (!expect(")") || !expect("=") || !parse_value(procedure.number) || !expect(";")) return false;
            claim_after(procedure.notes);
        }
        return expect("}") && expect("=") && parse_value(version.number) && expect(";");
    }

    const std::vector<Token>& tokens_;
    Messages& messages_;
    File file_;
    std::size_t at_ = 0;
    int depth_ = 0;  // of open braces
    std::size_t claimed_after_ = static_cast<std::size_t>(-1);
    std::size_t claimed_ = static_cast<std::size_t>(-1);
};

}  // namespace

File parse(const std::vector<Token>& tokens, std::string_view name, Messages& messages) {
    return Parser(tokens, name, messages).run();
}

}  // namespace virtgate::proto::xdrgen
