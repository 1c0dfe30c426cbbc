// SPDX-License-Identifier: LGPL-2.1-or-later
// rights_general - decisions compared with a plain evaluator on a million random questions, and what holds for all.
#include <algorithm>
#include <random>

#include "policy/glob.h"
#include "policy/xml_calls.h"
#include "tests/unit/rights_rig.h"

using namespace virtgate;
using namespace virtgate::test;

namespace {

// ---- the plain evaluator ----------------------------------------

// It says the rules again, as POLICY has them, and knows nothing of tables.
namespace plain {

struct Question {
    const proto::ProcedureInfo* procedure;
    std::uint64_t flags;
    std::vector<Object> objects;
    std::string_view listener;
    std::int64_t now;
    const XmlFacts* xml;
};

enum class Maybe : std::uint8_t { no, yes, unknown };

Maybe fits(const ObjectPattern& pattern, const Object& object) {
    if (static_cast<ObjectKind>(pattern.kind) != object.kind) return Maybe::no;
    if (pattern.how == PatternKind::pattern_glob && pattern.text == "*") return Maybe::yes;
    if (pattern.how == PatternKind::pattern_uuid) {
        if (!object.uuid) return Maybe::unknown;
        std::string digits;
        for (const std::byte byte : *object.uuid) digits += fmt::format("{:02x}", std::to_integer<int>(byte));
        return digits == pattern.text ? Maybe::yes : Maybe::no;
    }
    bool same = false;
    if (object.kind == ObjectKind::path)
        same = object.name == pattern.text || object.name.starts_with(pattern.text + "/");
    else if (pattern.how == PatternKind::pattern_exact)
        same = object.name == pattern.text;
    else
        same = matches_glob(pattern.text, object.name);
    return same ? Maybe::yes : Maybe::no;
}

Maybe about(const Grant& grant, const Object& object) {
    if (grant.everything) return Maybe::yes;
    Maybe in = Maybe::no, out = Maybe::no;
    for (const auto& each : grant.objects)
        if (const Maybe fit = fits(each, object); in != Maybe::yes && fit != Maybe::no) in = fit;
    for (const auto& each : grant.except)
        if (const Maybe fit = fits(each, object); out != Maybe::yes && fit != Maybe::no) out = fit;
    if (in == Maybe::no || out == Maybe::yes) return Maybe::no;
    return in == Maybe::yes && out == Maybe::no ? Maybe::yes : Maybe::unknown;
}

bool about_all(const Grant& grant, ObjectKind kind) {
    if (grant.everything) return true;
    const auto of_kind = [&](const ObjectPattern& each) {
        return static_cast<ObjectKind>(each.kind) == kind;
    };
    return std::none_of(grant.except.begin(), grant.except.end(), of_kind) &&
           std::any_of(grant.objects.begin(), grant.objects.end(), [&](const ObjectPattern& each) {
               return of_kind(each) && each.how == PatternKind::pattern_glob && each.text == "*";
           });
}

bool mentions(const Grant& grant, ObjectKind kind) {
    return grant.everything || std::any_of(grant.objects.begin(), grant.objects.end(), [&](const auto& each) {
               return static_cast<ObjectKind>(each.kind) == kind;
           });
}

bool in_time(const Grant& grant, const Question& question) {
    return (!grant.not_before || *grant.not_before <= question.now) &&
           (!grant.not_after || question.now <= *grant.not_after);
}

bool at_listener(const Grant& grant, const Question& question) {
    const auto& list = grant.listeners;
    return list.empty() || std::find(list.begin(), list.end(), question.listener) != list.end();
}

bool fits(const Grant& grant, const XmlFacts* xml) {
    return std::all_of(grant.xml.begin(), grant.xml.end(), [&](const proto::policy::XmlRule& rule) {
        if (xml == nullptr || !xml->flaw.empty()) return false;
        const auto lies_in_one = [&](const XmlPath& path) {
            return std::any_of(rule.paths.begin(), rule.paths.end(), [&](const std::string& each) {
                return path.text == each || (!path.is_program && path.text.starts_with(each + "/"));
            });
        };
        for (const std::string& name : rule.forbid)
            for (const std::string& element : xml->elements)
                if (name == element) return false;
        return rule.paths.empty() ||
               (xml->power.empty() && std::all_of(xml->paths.begin(), xml->paths.end(), lies_in_one));
    });
}

bool allows(const Grant& grant, const Question& question) {
    const auto& remote = proto::remote_program();
    if (grant.shadow || !at_listener(grant, question) || !in_time(grant, question)) return false;
    if (!has(grant.may, remote, question.procedure->number)) return false;
    bool limited = false, fit = false;
    for (const auto& rule : grant.conditions)
        if (rule.procedure == question.procedure->number) {
            limited = true;
            fit = fit || ((question.flags & rule.forbidden) == 0 && (~question.flags & rule.needed) == 0);
        }
    if (limited && !fit) return false;
    if (takes_xml(remote, *question.procedure) && !fits(grant, question.xml)) return false;
    const KindMask touched = touched_kinds(*question.procedure);
    for (std::size_t i = 0; i < k_kinds; ++i) {
        const auto kind = static_cast<ObjectKind>(i);
        const bool named = std::any_of(question.objects.begin(), question.objects.end(),
                                       [&](const Object& object) { return object.kind == kind; });
        const bool strict = question.objects.empty() || kind == ObjectKind::path;
        if ((touched & bit(kind)) != 0 && !named && strict && !about_all(grant, kind)) return false;
    }
    return std::all_of(question.objects.begin(), question.objects.end(),
                       [&](const Object& object) { return about(grant, object) == Maybe::yes; });
}

bool denies(const Grant& grant, const Question& question) {
    const auto& remote = proto::remote_program();
    if (grant.shadow || !in_time(grant, question)) return false;
    if (!at_listener(grant, question) && !question.listener.empty()) return false;
    bool named = has(grant.deny, remote, question.procedure->number);
    for (const auto& rule : grant.denied_flags)
        named =
            named || (rule.procedure == question.procedure->number && (rule.forbidden & question.flags) != 0);
    if (!named) return false;
    const bool silent = std::none_of(question.objects.begin(), question.objects.end(),
                                     [&](const Object& object) { return mentions(grant, object.kind); });
    return silent || std::any_of(question.objects.begin(), question.objects.end(),
                                 [&](const Object& object) { return about(grant, object) != Maybe::no; });
}

bool judge(const std::vector<Grant>& grants, const Question& question) {
    bool allowed = false;
    for (const Grant& each : grants) {
        if (denies(each, question)) return false;
        allowed = allowed || allows(each, question);
    }
    return allowed;
}

}  // namespace plain

// ---- random policies ----------------------------------------

constexpr std::array<std::string_view, 11> k_calls{
    "domain_create",         "domain_shutdown_flags",      "connect_get_version", "connect_list_all_domains",
    "domain_get_xml_desc",   "storage_vol_lookup_by_name", "domain_save",         "domain_migrate_perform3",
    "domain_lookup_by_name", "domain_core_dump",           "domain_define_xml"};

class Dice {
public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    std::uint32_t below(std::uint32_t n) {
        return static_cast<std::uint32_t>((static_cast<std::uint64_t>(engine_()) * n) >> 32);
    }
    bool one_in(std::uint32_t n) { return below(n) == 0; }
    template <class Range>
    auto pick(const Range& range) {
        return range[below(static_cast<std::uint32_t>(std::size(range)))];
    }

private:
    std::mt19937 engine_;
};

constexpr std::array<std::string_view, 6> k_names{"a", "ab", "web-1", "web-2", "db", "b"};
constexpr std::array<std::string_view, 6> k_globs{"*", "web-*", "a*", "*b", "?", "d?"};
constexpr std::array<std::string_view, 4> k_volumes{"p/v", "p/w", "q/v", "q/w"};
constexpr std::array<std::string_view, 4> k_volume_globs{"*", "p/*", "*/v", "?/w"};
constexpr std::array<std::string_view, 4> k_paths{"/srv", "/srv/vm", "/srv/vm/x", "/tmp"};
constexpr std::array<std::string_view, 3> k_listeners{"tls", "unix", ""};
constexpr std::array k_some_kinds{ObjectKind::domain, ObjectKind::domain, ObjectKind::domain,
                                  ObjectKind::pool,   ObjectKind::volume, ObjectKind::path,
                                  ObjectKind::network};

// What may be in the XML of a call.
const std::array<XmlFacts, 6>& some_xml() {
    static const std::array<XmlFacts, 6> k_facts{
        XmlFacts{},
        XmlFacts{.elements = {"disk", "domain"}, .paths = {{"/srv/vm/a"}}},
        XmlFacts{.elements = {"disk", "domain"}, .paths = {{"/srv/vm/a"}, {"/etc/a"}}},
        XmlFacts{.elements = {"domain", "emulator"}, .paths = {{"/srv/vm/a", true}}},
        XmlFacts{.elements = {"domain", "hostdev"}, .power = "a device"},
        XmlFacts{.flaw = "it is not well-formed"}};
    return k_facts;
}

proto::policy::XmlRule random_xml_rule(Dice& dice) {
    proto::policy::XmlRule rule;
    if (dice.one_in(2)) rule.forbid.emplace_back(dice.one_in(2) ? "emulator" : "hostdev");
    if (dice.one_in(2)) rule.paths.emplace_back(dice.one_in(2) ? "/srv/vm" : "/srv/vm/a");
    if (dice.one_in(4)) rule.paths.emplace_back("/etc");
    return rule;
}

ObjectPattern random_pattern(Dice& dice) {
    const ObjectKind kind = dice.pick(k_some_kinds);
    if (kind == ObjectKind::path)
        return dice.one_in(3) ? glob(kind, "*") : exact(kind, std::string(dice.pick(k_paths)));
    if (kind == ObjectKind::volume)
        return dice.one_in(2) ? glob(kind, std::string(dice.pick(k_volume_globs)))
                              : exact(kind, std::string(dice.pick(k_volumes)));
    if (dice.one_in(6)) return pattern(kind, PatternKind::pattern_uuid, k_digits);
    return dice.one_in(2) ? glob(kind, std::string(dice.pick(k_globs)))
                          : exact(kind, std::string(dice.pick(k_names)));
}

Object random_object(Dice& dice) {
    const ObjectKind kind = dice.pick(k_some_kinds);
    if (kind == ObjectKind::path) return {kind, dice.pick(k_paths), {}};
    if (kind == ObjectKind::volume) return {kind, dice.pick(k_volumes), {}};
    Object object{kind, dice.pick(k_names), {}};
    if (dice.one_in(2)) object.uuid = dice.one_in(2) ? k_uuid : Uuid{};
    return object;
}

Grant random_grant(Dice& dice) {
    Grant made;
    made.role = std::string(dice.pick(k_names));
    for (std::uint32_t i = dice.below(5); i > 0; --i) set(made.may, dice.pick(k_calls));
    if (dice.one_in(4)) set(made.deny, dice.pick(k_calls));
    if (dice.one_in(4)) made.denied_flags.push_back(flags(dice.pick(k_calls), 1 + dice.below(3)));
    for (std::uint32_t i = dice.below(3); i > 0; --i)
        made.conditions.push_back(flags(dice.pick(k_calls), dice.below(4), dice.below(2)));
    made.everything = dice.one_in(8);
    if (!made.everything) {
        for (std::uint32_t i = dice.below(4); i > 0; --i) made.objects.push_back(random_pattern(dice));
        if (dice.one_in(4)) made.except.push_back(random_pattern(dice));
    }
    for (std::uint32_t i = dice.below(3); i > 0; --i)
        if (dice.one_in(2)) made.xml.push_back(random_xml_rule(dice));
    made.shadow = dice.one_in(10);
    if (dice.one_in(8)) made.listeners.emplace_back(dice.one_in(2) ? "tls" : "unix");
    if (dice.one_in(8)) made.not_before = dice.below(20);
    if (dice.one_in(8)) made.not_after = dice.below(20);
    return made;
}

std::vector<Grant> random_grants(Dice& dice) {
    std::vector<Grant> grants;
    for (std::uint32_t i = dice.below(6); i > 0; --i) grants.push_back(random_grant(dice));
    return grants;
}

plain::Question random_question(Dice& dice, std::string_view listener) {
    plain::Question question{&call(dice.pick(k_calls)), dice.below(4), {}, listener, random_now, nullptr};
    if (!dice.one_in(8)) question.xml = &some_xml()[dice.below(6)];
    // Mostly what the call acts on, and sometimes anything.
    const KindMask touched = touched_kinds(*question.procedure);
    for (std::uint32_t i = dice.below(5); i > 0; --i) {
        const Object object = random_object(dice);
        if ((touched & bit(object.kind)) != 0 || dice.one_in(8)) question.objects.push_back(object);
    }
    return question;
}

bool only_touched(const plain::Question& question) {
    const KindMask touched = touched_kinds(*question.procedure);
    return std::all_of(question.objects.begin(), question.objects.end(),
                       [&](const Object& object) { return (touched & bit(object.kind)) != 0; });
}

std::string describe(const plain::Question& question) {
    std::string text = fmt::format("{} flags {} at {} on {}:", question.procedure->name, question.flags,
                                   question.now, question.listener);
    for (const Object& object : question.objects)
        text += fmt::format(" {}={}{}", to_text(object.kind), object.name, object.uuid ? " with uuid" : "");
    return text;
}

}  // namespace

// ---- in general ----------------------------------------

Test(rights_in_general, are_what_the_plain_evaluator_says, .timeout = 60) {
    Dice dice(20261121);
    std::size_t allowed = 0, asked = 0;
    for (int round = 0; round < 21000; ++round) {
        const std::vector<Grant> grants = random_grants(dice);
        const std::string_view listener = dice.pick(k_listeners);
        const Rights made = rights(grants, {.listener = listener, .clock = test_clock});
        for (int i = 0; i < 48; ++i, ++asked) {
            random_now = dice.below(20);
            const plain::Question question = random_question(dice, listener);
            const bool wanted = plain::judge(grants, question);
            const auto& remote = proto::remote_program();
            const Decision got =
                made.judge(remote, *question.procedure, question.flags, question.objects, 0, question.xml);
            cr_assert_eq(got.allowed, wanted, "round %d, %s", round, describe(question).c_str());
            cr_assert_eq(got.allowed, got.reason == Reason::allowed);
            allowed += wanted ? 1 : 0;
            const Need shortcut = made.need(remote, *question.procedure);
            // A call that names what its procedure does not act on is the worker's mistake.
            if (!only_touched(question)) continue;
            if (shortcut == Need::allowed || shortcut == Need::refused)
                cr_assert_eq(wanted, shortcut == Need::allowed, "round %d, %s", round,
                             describe(question).c_str());
        }
    }
    cr_assert_geq(asked, 1'000'000);
    cr_assert(allowed > asked / 20 && allowed < asked / 2, "%zu of %zu are allowed", allowed, asked);
}

Test(rights_in_general, do_not_depend_on_the_order_of_grants) {
    Dice dice(7);
    for (int round = 0; round < 1000; ++round) {
        std::vector<Grant> grants = random_grants(dice);
        const Rights one = rights(grants, {.listener = "tls", .clock = test_clock});
        std::reverse(grants.begin(), grants.end());
        const Rights other = rights(grants, {.listener = "tls", .clock = test_clock});
        for (int i = 0; i < 48; ++i) {
            random_now = dice.below(20);
            const plain::Question question = random_question(dice, "tls");
            const auto& remote = proto::remote_program();
            const Decision a =
                one.judge(remote, *question.procedure, question.flags, question.objects, 0, question.xml);
            const Decision b =
                other.judge(remote, *question.procedure, question.flags, question.objects, 0, question.xml);
            cr_assert_eq(a.allowed, b.allowed);
            cr_assert_eq(a.reason, b.reason, "%s", describe(question).c_str());
        }
    }
}

Test(rights_in_general, grow_with_what_is_allowed_and_shrink_with_what_is_denied) {
    Dice dice(11);
    for (int round = 0; round < 2000; ++round) {
        std::vector<Grant> grants = random_grants(dice);
        const Circumstances here{.listener = "tls", .clock = test_clock};
        const Rights before = rights(grants, here);
        Grant more = random_grant(dice), less = more;
        more.deny = {};
        more.denied_flags.clear();
        less.may = {};
        std::vector<Grant> with_more = grants, with_less = grants;
        with_more.push_back(more);
        with_less.push_back(less);
        const Rights after_more = rights(with_more, here), after_less = rights(with_less, here);
        for (int i = 0; i < 32; ++i) {
            random_now = dice.below(20);
            const plain::Question question = random_question(dice, "tls");
            const auto ask = [&](const Rights& which) {
                return which
                    .judge(proto::remote_program(), *question.procedure, question.flags, question.objects, 0,
                           question.xml)
                    .allowed;
            };
            cr_assert(ask(after_more) >= ask(before), "%s", describe(question).c_str());
            cr_assert(ask(after_less) <= ask(before), "%s", describe(question).c_str());
        }
    }
}
