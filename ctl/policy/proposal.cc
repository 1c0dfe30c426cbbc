// SPDX-License-Identifier: LGPL-2.1-or-later
// proposal - what was learned, as a policy file and as JSON.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ctl/policy/json.h"
#include "ctl/policy/learned.h"
#include "ctl/policy/words.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::policy {

namespace {

// What a client needs before it can do anything; much of it is not recorded by every role.
constexpr std::string_view k_basics = "@connect-basic", k_events = "@events";
constexpr std::string_view k_registration = "EVENT";

// A basic string of TOML. The text is plain: no control characters.
std::string quote(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') quoted += '\\';
        quoted += c;
    }
    return quoted + '"';
}

// The end of a comment: nothing in it can begin a new line.
std::string remark(const std::string& name, const Lesson::Use& use) {
    std::string text =
        fmt::format("{} call{}, last {}", use.count, use.count == 1 ? "" : "s", say_moment(use.last));
    if (use.shadowed != 0) text += fmt::format(", {} on probation", use.shadowed);
    if (use.refused != 0) text += fmt::format(", {} refused ({})", use.refused, escape(use.reason, 64));
    const std::string procedure = to_lower(name.substr(name.find('.') + 1));
    if (use.flags != 0) text += ", flags " + escape(say_flags(procedure, use.flags), 128);
    return text;
}

std::string role_name(const ProposalFrame& frame, std::size_t number) {
    return number == 0 ? frame.role : fmt::format("{}-{}", frame.role, number + 1);
}

bool registers_events(const Lesson& lesson) {
    for (const Lesson::Group& group : lesson.groups())
        for (const auto& [name, use] : group.procedures)
            if (name.find(k_registration) != name.npos && name.find("REGISTER") != name.npos) return true;
    return false;
}

std::string say_objects(const std::set<LearnedObject>& objects) {
    std::map<std::string, std::string> kinds;
    for (const LearnedObject& object : objects) {
        std::string& list = kinds[object.kind];
        list += (list.empty() ? "" : ", ") + quote(object.text);
    }
    std::string text;
    for (const auto& [kind, list] : kinds)
        text += fmt::format("{}{} = [{}]", text.empty() ? "" : ", ", kind, list);
    return text;
}

std::string binding_of(const ProposalFrame& frame, const std::string& role, const Lesson::Group& group) {
    std::string text =
        fmt::format("\n[[binding]]\nidentity = {}\nrole     = {}\n", quote(frame.identity), quote(role));
    if (!group.objects.empty()) text += fmt::format("objects  = {{ {} }}\n", say_objects(group.objects));
    return text;
}

std::string role_of(const std::string& role, const Lesson::Group& group, bool is_first, bool has_events) {
    std::string text = fmt::format("\n[role.{}]\nallow = [\n", quote(role));
    if (is_first) text += fmt::format("    {},  # what every client needs\n", quote(k_basics));
    if (is_first && has_events)
        text +=
            fmt::format("    {},  # it registered for events; which ones were delivered is not recorded\n",
                        quote(k_events));
    for (const auto& [name, use] : group.procedures)
        text += fmt::format("    {},  # {}\n", quote("proc:" + name), remark(name, use));
    return text + "]\n";
}

// All groups, with one for what needs no object in front.
std::vector<Lesson::Group> complete_groups(const Lesson& lesson) {
    std::vector<Lesson::Group> groups = lesson.groups();
    if (groups.empty() || !groups.front().objects.empty()) groups.insert(groups.begin(), Lesson::Group{});
    return groups;
}

}  // namespace

std::string to_toml(const Lesson& lesson, const ProposalFrame& frame) {
    std::string text = fmt::format(
        "# A proposal of \"virtgate policy learn\" for the identity \"{}\", from {} recorded calls between "
        "{} and {}.\n"
        "# It allows what was done, needed or not: read it before you use it.\n",
        frame.identity, lesson.calls(), say_moment(frame.since), say_moment(frame.until));
    if (!lesson.has_reading())
        text += "# No call that only reads was recorded: a role with audit = \"all\" would do that.\n";
    text += "version = 1\n";
    const bool has_events = registers_events(lesson);
    std::size_t number = 0;
    for (const Lesson::Group& group : complete_groups(lesson)) {
        const std::string role = role_name(frame, number);
        text += role_of(role, group, number == 0, has_events) + binding_of(frame, role, group);
        ++number;
    }
    const auto leftovers = lesson.leftovers();
    if (!leftovers.empty()) text += "\n# Not proposed:\n";
    for (const Lesson::Leftover& left : leftovers)
        text += fmt::format("#   {}: {} ({} call{}, last {})\n", left.call, left.why, left.use.count,
                            left.use.count == 1 ? "" : "s", say_moment(left.use.last));
    return text;
}

Json to_json(const Lesson& lesson, const ProposalFrame& frame) {
    Json json{{"identity", frame.identity},
              {"since", say_moment(frame.since)},
              {"until", say_moment(frame.until)},
              {"calls", lesson.calls()}};
    json["roles"] = Json::array();
    const bool has_events = registers_events(lesson);
    for (const Lesson::Group& group : complete_groups(lesson)) {
        const bool is_first = json["roles"].empty();
        Json role{{"role", role_name(frame, json["roles"].size())}};
        role["groups"] = Json::array();
        if (is_first) role["groups"].push_back(k_basics);
        if (is_first && has_events) role["groups"].push_back(k_events);
        role["procedures"] = Json::array();
        for (const auto& [name, use] : group.procedures)
            role["procedures"].push_back({{"procedure", name},
                                          {"calls", use.count},
                                          {"shadowed", use.shadowed},
                                          {"refused", use.refused},
                                          {"flags", use.flags},
                                          {"last", say_moment(use.last)}});
        role["objects"] = Json::object();
        for (const LearnedObject& object : group.objects) role["objects"][object.kind].push_back(object.text);
        json["roles"].push_back(std::move(role));
    }
    json["not_proposed"] = Json::array();
    for (const Lesson::Leftover& left : lesson.leftovers())
        json["not_proposed"].push_back({{"call", left.call},
                                        {"why", left.why},
                                        {"calls", left.use.count},
                                        {"last", say_moment(left.use.last)}});
    return json;
}

}  // namespace virtgate::ctl::policy
