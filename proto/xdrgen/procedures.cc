// SPDX-License-Identifier: LGPL-2.1-or-later
// procedures - read the annotations of a procedure.
#include "proto/xdrgen/procedures.h"

#include <fmt/format.h>

#include <algorithm>

#include "proto/xdrgen/checker.h"
#include "proto/xdrgen/paths.h"
#include "proto/xdrgen/words.h"

namespace virtgate::proto::xdrgen {

namespace {

bool contains(const std::vector<std::string_view>& words, std::string_view word) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

void ProcedureReader::read(const Notes& notes, Procedure& procedure) {
    has_acl_ = has_readonly_ = false;
    for (const Annotation& annotation : notes.annotations)
        if (annotation.word.text == "event") procedure.is_event = true;
    for (const Annotation& annotation : notes.annotations) read_one(annotation, procedure);
    if (procedure.is_event) {
        if (procedure.ret != k_void)
            messages_.error(procedure.at, fmt::format("{} is an event: nobody answers it", procedure.name));
        return;
    }
    if (internal_) return;
    if (!has_acl_)
        messages_.error(procedure.at,
                        fmt::format("{} does not say who may call it: @acl OBJECT:PERMISSION or @acl none",
                                    procedure.name));
    if (!has_readonly_)
        messages_.error(procedure.at,
                        fmt::format("{} does not say whether a read-only connection may call it: "
                                    "@readonly yes, no or unless ...",
                                    procedure.name));
}

void ProcedureReader::read_one(const Annotation& annotation, Procedure& procedure) {
    const std::string& word = annotation.word.text;
    const Words& arguments = annotation.arguments;
    const auto one_of = [&](const std::vector<std::string_view>& known, std::string& to) {
        if (arguments.size() == 1 && contains(known, arguments[0].text))
            to = arguments[0].text;
        else
            complain(annotation, fmt::format("@{} takes one of: {}", word, fmt::join(known, ", ")));
    };
    if (word == "acl") {
        read_acl(annotation, procedure);
    } else if (word == "aclfilter") {
        read_filter(annotation, procedure);
    } else if (word == "readonly") {
        read_readonly(annotation, procedure);
    } else if (word == "object") {
        read_object(annotation, procedure.args, procedure.objects);
    } else if (word == "returns") {
        read_object(annotation, procedure.ret, procedure.returns);
    } else if (word == "key") {
        read_object(annotation, procedure.args, procedure.keys);
    } else if (word == "stream") {
        read_stream(annotation, procedure);
    } else if (word == "fds") {
        read_fds(annotation, procedure);
    } else if (word == "event") {
        read_event(annotation, procedure);
    } else if (word == "priority") {
        std::string level;
        one_of({"high", "low"}, level);
        procedure.high_priority = level == "high";
    } else if (word == "unauthenticated") {
        procedure.before_auth = true;
    } else if (word == "driver") {
        one_of(known_drivers(), procedure.driver);
    } else if (word == "since") {
        if (arguments.size() == 1)
            procedure.since = arguments[0].text;
        else
            complain(annotation, "write @since VERSION");
    } else {
        complain(annotation,
                 fmt::format(
                     "@{} does not belong to a procedure{}", word,
                     did_you_mean(word, {"acl", "aclfilter", "readonly", "object", "returns", "key", "stream",
                                         "fds", "event", "priority", "unauthenticated", "driver", "since"})));
    }
}

bool ProcedureReader::read_permission(const Word& word, Rule& rule) {
    const std::size_t colon = word.text.find(':');
    if (colon == std::string::npos) {
        messages_.error(word.at, fmt::format("\"{}\" is not OBJECT:PERMISSION", word.text));
        return false;
    }
    rule.object = word.text.substr(0, colon);
    rule.permission = word.text.substr(colon + 1);
    if (!contains(known_objects(), rule.object)) {
        messages_.error(word.at, fmt::format("no object is called \"{}\"{}", rule.object,
                                             did_you_mean(rule.object, known_objects())));
        return false;
    }
    const auto& permissions = known_permissions(rule.object);
    if (!contains(permissions, rule.permission)) {
        messages_.error(word.at, fmt::format("{} has no permission \"{}\"{}", rule.object, rule.permission,
                                             did_you_mean(rule.permission, permissions)));
        return false;
    }
    return true;
}

void ProcedureReader::read_acl(const Annotation& annotation, Procedure& procedure) {
    has_acl_ = true;
    const Words& words = annotation.arguments;
    if (words.size() == 1 && words[0].text == "none") return;
    Rule rule;
    if (words.empty()) return complain(annotation, "write @acl OBJECT:PERMISSION [if TEST] or @acl none");
    if (!read_permission(words[0], rule)) return;
    if (words.size() > 1) {
        if (words[1].text != "if")
            return messages_.error(words[1].at, fmt::format("expected \"if\", found \"{}\"", words[1].text));
        read_tests(words, 2, annotation.word.at, procedure.args, rule.tests);
    }
    procedure.rules.push_back(std::move(rule));
}

void ProcedureReader::read_filter(const Annotation& annotation, Procedure& procedure) {
    Rule rule;
    if (annotation.arguments.size() != 1)
        complain(annotation, "write @aclfilter OBJECT:PERMISSION");
    else if (read_permission(annotation.arguments[0], rule))
        procedure.filters.push_back(std::move(rule));
}

void ProcedureReader::read_readonly(const Annotation& annotation, Procedure& procedure) {
    has_readonly_ = true;
    const Words& words = annotation.arguments;
    if (words.size() == 1 && words[0].text == "yes") {
        procedure.readonly = 1;
    } else if (words.size() == 1 && words[0].text == "no") {
        procedure.readonly = 0;
    } else if (words.size() > 1 && words[0].text == "unless") {
        procedure.readonly = 2;
        read_tests(words, 1, annotation.word.at, procedure.args, procedure.readonly_tests);
    } else {
        complain(annotation, "write @readonly yes, @readonly no or @readonly unless TEST");
    }
}

// PATH has|lacks|is VALUE, separated by "or".
void ProcedureReader::read_tests(const Words& words, std::size_t from, Position at, TypeId root,
                                 std::vector<Test>& to) {
    for (;;) {
        if (words.size() < from + 3)
            return messages_.error(
                at, "a test is written \"FIELD has BITS\", \"FIELD lacks BITS\" or \"FIELD is VALUE\"");
        Test test;
        test.path = words[from].text;
        const std::string& verb = words[from + 1].text;
        if (verb == "has")
            test.kind = layout::TestKind::has;
        else if (verb == "lacks")
            test.kind = layout::TestKind::lacks;
        else if (verb == "is")
            test.kind = layout::TestKind::is;
        else
            return messages_.error(words[from + 1].at,
                                   fmt::format("expected has, lacks or is, found \"{}\"", verb));
        const auto place = find_place(types_, root, test.path, words[from].at, messages_);
        const auto value = evaluate_(words[from + 2]);
        if (!place || !value) return;
        const Kind kind = types_[place->type].kind;
        if (place->list || place->nullable ||
            (kind != Kind::i32 && kind != Kind::u32 && kind != Kind::i64 && kind != Kind::u64))
            return messages_.error(words[from].at,
                                   fmt::format("\"{}\" is no integer that is always there", test.path));
        test.steps = place->steps;
        test.value = static_cast<std::uint64_t>(*value);
        test.value_name = words[from + 2].text;
        to.push_back(std::move(test));
        from += 3;
        if (from == words.size()) return;
        if (words[from].text != "or")
            return messages_.error(words[from].at,
                                   fmt::format("expected \"or\", found \"{}\"", words[from].text));
        ++from;
    }
}

void ProcedureReader::read_object(const Annotation& annotation, TypeId root, std::vector<ObjectPlace>& to) {
    const bool key = annotation.word.text == "key";
    Words words = annotation.arguments;
    ObjectPlace found;
    if (key) {
        if (words.size() < 4 || words[words.size() - 2].text != "as")
            return complain(annotation, "write @key PATH OBJECT [IDENTITY...] as HOW");
        const Word& how = words.back();
        if (!contains(known_hows(), how.text))
            return messages_.error(
                how.at, fmt::format("a key is given as one of: {}", fmt::join(known_hows(), ", ")));
        found.how = how.text;
        words.resize(words.size() - 2);
    } else if (words.size() < 3) {
        return complain(annotation, fmt::format("write @{} PATH OBJECT IDENTITY...", annotation.word.text));
    }
    found.path = words[0].text;
    found.object = words[1].text;
    if (!contains(known_places(), found.object))
        return messages_.error(words[1].at, fmt::format("no object is called \"{}\"{}", found.object,
                                                        did_you_mean(found.object, known_places())));
    const auto place = find_place(types_, root, found.path, words[0].at, messages_);
    if (!place) return;
    for (std::size_t i = 2; i < words.size(); ++i) {
        if (!key && !find_place(types_, place->type, words[i].text, words[i].at, messages_)) return;
        found.identity += (i == 2 ? "" : " ") + words[i].text;
    }
    found.list = place->list;
    found.nullable = place->nullable;
    found.steps = place->steps;
    to.push_back(std::move(found));
}

void ProcedureReader::read_stream(const Annotation& annotation, Procedure& procedure) {
    const Words& words = annotation.arguments;
    const bool good = !words.empty() && words.size() <= 2 &&
                      (words[0].text == "read" || words[0].text == "write") &&
                      (words.size() == 1 || words[1].text.starts_with("sparse="));
    if (!good)
        return complain(annotation,
                        "write @stream read or @stream write, and sparse=BIT if holes are possible");
    procedure.stream = words[0].text == "read" ? 1 : 2;
    if (words.size() == 1) return;
    const auto bit = evaluate_({words[1].text.substr(7), words[1].at});
    if (!bit) return;
    if (*bit < 1 || *bit > 0xffffffff)
        return messages_.error(words[1].at, "sparse= names a bit of the flags argument");
    if (find_place(types_, procedure.args, "flags", annotation.word.at, messages_))
        procedure.sparse = static_cast<std::uint32_t>(*bit);
}

void ProcedureReader::read_fds(const Annotation& annotation, Procedure& procedure) {
    if (annotation.arguments.empty()) complain(annotation, "write @fds call=COUNT and/or reply=COUNT");
    for (const Word& word : annotation.arguments) {
        const bool call = word.text.starts_with("call=");
        if (!call && !word.text.starts_with("reply=")) {
            messages_.error(word.at, "write call=COUNT or reply=COUNT");
            continue;
        }
        const std::string range = word.text.substr(call ? 5 : 6);
        const std::size_t dots = range.find("..");
        const auto least = evaluate_({range.substr(0, dots), word.at});
        const auto most = dots == std::string::npos ? least : evaluate_({range.substr(dots + 2), word.at});
        if (!least || !most) continue;
        if (*least < 0 || *least > *most || *most > 32) {
            messages_.error(word.at, "a message carries 0 to 32 descriptors");
            continue;
        }
        procedure.fds[call ? 0 : 2] = static_cast<std::uint32_t>(*least);
        procedure.fds[call ? 1 : 3] = static_cast<std::uint32_t>(*most);
    }
}

void ProcedureReader::read_event(const Annotation& annotation, Procedure& procedure) {
    const Words& words = annotation.arguments;
    if (words.size() == 1 && words[0].text == "none") return;
    if (words.size() == 3 && words[0].text == "by") {
        procedure.enrol = lower_name(words[1].text);
        procedure.deregister = lower_name(words[2].text);
        procedure.event_style = 2;
        return;
    }
    if (words.size() != 3 || (words[2].text != "legacy" && words[2].text != "callback"))
        return complain(annotation,
                        "write @event FAMILY ID legacy|callback, @event by CALL CALL or @event none");
    if (!contains(known_families(), words[0].text))
        return messages_.error(words[0].at, fmt::format("no event family is called \"{}\"{}", words[0].text,
                                                        did_you_mean(words[0].text, known_families())));
    procedure.event_family = words[0].text;
    procedure.event_style = words[2].text == "legacy" ? 1 : 2;
    if (words[1].text == "-") return;
    const auto id = evaluate_(words[1]);
    if (id && (*id < 0 || *id > 0xffff))
        messages_.error(words[1].at, "an event's id is 0 to 65535, or - if it is not known");
    else if (id)
        procedure.event_id = static_cast<std::uint32_t>(*id);
}

}  // namespace virtgate::proto::xdrgen
