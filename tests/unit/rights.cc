// SPDX-License-Identifier: LGPL-2.1-or-later
// rights - decisions about calls, compared with a plain evaluator on a million random questions.
#include "policy/rights.h"

#include <criterion/criterion.h>

#include <algorithm>
#include <random>

#include "policy/glob.h"
#include "policy/migrate_uri.h"
#include "proto/codec.h"
#include "proto/programs.h"

using namespace virtgate;
using namespace virtgate::policy;
using proto::policy::AuditLevel;
using proto::policy::FlagRule;
using proto::policy::Grant;
using proto::policy::IdentityRights;
using proto::policy::ObjectPattern;
using proto::policy::PatternKind;

namespace {

// ---- building grants ----------------------------------------

const proto::ProcedureInfo& call(std::string_view name) {
    const auto* info = proto::remote_program().find(name);
    cr_assert_not_null(info, "%s", std::string(name).c_str());
    return *info;
}

void set(proto::who::Ceiling& ceiling, std::string_view name) {
    const auto& remote = proto::remote_program();
    if (ceiling.programs.empty()) ceiling.programs.push_back({remote.number, remote.version, {}});
    auto& bytes = ceiling.programs[0].procedures;
    const std::uint32_t number = call(name).number;
    if (bytes.size() <= number / 8) bytes.resize(number / 8 + 1);
    bytes[number / 8] |= std::byte{1} << (number % 8);
}

FlagRule flags(std::string_view name, std::uint64_t forbidden, std::uint64_t needed = 0) {
    const auto& remote = proto::remote_program();
    return {remote.number, remote.version, call(name).number, forbidden, needed};
}

ObjectPattern pattern(ObjectKind kind, PatternKind how, std::string text) {
    return {static_cast<proto::policy::ObjectKind>(kind), how, std::move(text)};
}
ObjectPattern exact(ObjectKind kind, std::string text) {
    return pattern(kind, PatternKind::pattern_exact, std::move(text));
}
ObjectPattern glob(ObjectKind kind, std::string text) {
    return pattern(kind, PatternKind::pattern_glob, std::move(text));
}

Grant grant(std::string role, std::vector<std::string_view> may, std::vector<ObjectPattern> objects) {
    Grant made;
    made.role = std::move(role);
    for (const std::string_view name : may) set(made.may, name);
    made.objects = std::move(objects);
    return made;
}

Rights rights(std::vector<Grant> grants, Circumstances circumstances = {}) {
    return Rights(IdentityRights{.generation = 7, .identity = "a", .grants = std::move(grants), .limits = {}},
                  circumstances);
}

constexpr Uuid k_uuid{std::byte{0xab}, std::byte{1}};
constexpr char k_digits[] = "ab010000000000000000000000000000";

Object domain(std::string_view name, bool with_uuid = false) {
    return {ObjectKind::domain, name, with_uuid ? std::optional{k_uuid} : std::nullopt};
}

Decision judge(const Rights& rights, std::string_view name, std::vector<Object> objects = {},
               std::uint64_t bits = 0) {
    return rights.judge(proto::remote_program(), call(name), bits, objects);
}

Rights::Need need(const Rights& rights, std::string_view name) {
    return rights.need(proto::remote_program(), call(name));
}

using Need = Rights::Need;

// ---- the plain evaluator ----------------------------------------

// It says the rules again, as POLICY has them, and knows nothing of tables.
namespace plain {

struct Question {
    const proto::ProcedureInfo* procedure;
    std::uint64_t flags;
    std::vector<Object> objects;
    std::string_view listener;
    std::int64_t now;
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
    const auto of_kind = [&](const ObjectPattern& each) { return static_cast<ObjectKind>(each.kind) == kind; };
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
        named = named || (rule.procedure == question.procedure->number && (rule.forbidden & question.flags) != 0);
    if (!named) return false;
    const bool silent = std::none_of(question.objects.begin(), question.objects.end(),
                                     [&](const Object& object) { return mentions(grant, object.kind); });
    return silent || std::any_of(question.objects.begin(), question.objects.end(), [&](const Object& object) {
               return about(grant, object) != Maybe::no;
           });
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

constexpr std::array<std::string_view, 10> k_calls{
    "domain_create",         "domain_shutdown_flags",      "connect_get_version", "connect_list_all_domains",
    "domain_get_xml_desc",   "storage_vol_lookup_by_name", "domain_save",         "domain_migrate_perform3",
    "domain_lookup_by_name", "domain_core_dump"};

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
constexpr std::array k_some_kinds{ObjectKind::domain, ObjectKind::domain, ObjectKind::domain, ObjectKind::pool,
                                  ObjectKind::volume, ObjectKind::path,   ObjectKind::network};

ObjectPattern random_pattern(Dice& dice) {
    const ObjectKind kind = dice.pick(k_some_kinds);
    if (kind == ObjectKind::path) return dice.one_in(3) ? glob(kind, "*") : exact(kind, std::string(dice.pick(k_paths)));
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

std::int64_t random_now = 0;
std::int64_t test_clock() noexcept { return random_now; }

plain::Question random_question(Dice& dice, std::string_view listener) {
    plain::Question question{&call(dice.pick(k_calls)), dice.below(4), {}, listener, random_now};
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

// ---- one thing at a time ----------------------------------------

Test(rights, are_none_without_a_grant) {
    const Rights none = rights({});
    cr_assert_eq(need(none, "domain_create"), Need::refused);
    cr_assert_eq(judge(none, "domain_create", {domain("a")}).reason, Reason::no_binding);
    cr_assert(!judge(none, "connect_get_version").allowed);
    cr_assert(!none.sees(domain("a")));
    cr_assert(!none.sees_all(ObjectKind::domain));
    cr_assert_eq(none.generation(), 7);
    cr_assert_eq(none.identity(), "a");
}

Test(rights, of_objects_by_name_pattern_and_uuid) {
    using enum ObjectKind;
    const Rights some = rights({grant("r", {"domain_create", "domain_get_state"},
                                      {exact(ObjectKind::domain, "a"), glob(ObjectKind::domain, "web-*"),
                                       pattern(ObjectKind::domain, PatternKind::pattern_uuid, k_digits)})});
    cr_assert_eq(need(some, "domain_create"), Need::objects);
    cr_assert(judge(some, "domain_create", {virtgate::policy::Object{ObjectKind::domain, "a", {}}}).allowed);
    cr_assert(judge(some, "domain_create", {::domain("web-7")}).allowed);
    cr_assert(judge(some, "domain_create", {::domain("zzz", true)}).allowed);
    cr_assert_eq(judge(some, "domain_create", {::domain("zzz")}).reason, Reason::object);
    cr_assert_eq(judge(some, "domain_create", {::domain("aa")}).reason, Reason::object);
    cr_assert_eq(judge(some, "domain_create").reason, Reason::object, "a call on nothing that is known");
    cr_assert_eq(judge(some, "domain_destroy", {::domain("a")}).reason, Reason::no_binding);
    cr_assert(some.sees(::domain("web-1")));
    cr_assert(!some.sees(::domain("db")));
    cr_assert(!some.sees({network, "a", {}}));
    cr_assert(!some.sees_all(ObjectKind::domain));
    cr_assert_eq(judge(some, "domain_create", {::domain("a")}).grant->role, "r");
}

Test(rights, need_nothing_else_when_all_is_allowed) {
    Grant all = grant("r", {"domain_create", "connect_get_version", "domain_save"}, {});
    all.everything = true;
    const Rights free = rights({all});
    cr_assert_eq(need(free, "domain_create"), Need::allowed);
    cr_assert_eq(need(free, "domain_save"), Need::allowed);
    cr_assert(free.sees_all(ObjectKind::domain));
    cr_assert(!free.sees_all(ObjectKind::network), "no call that shows networks");
    all.denied_flags = {flags("domain_create", 2)};
    cr_assert_eq(need(rights({all}), "domain_create"), Need::flags);
    all.denied_flags.clear();
    all.conditions = {flags("domain_create", 0, 4)};
    cr_assert_eq(need(rights({all}), "domain_create"), Need::flags);
    Grant deny;
    set(deny.deny, "domain_create");
    deny.objects = {exact(ObjectKind::domain, "a")};
    cr_assert_eq(need(rights({all, deny}), "domain_create"), Need::objects);
    deny.everything = true;
    deny.objects.clear();
    cr_assert_eq(need(rights({all, deny}), "domain_create"), Need::refused);
    // A restriction on objects does not matter to a call that has none.
    const Rights narrow = rights({grant("r", {"connect_get_version", "connect_list_all_domains"}, {})});
    cr_assert_eq(need(narrow, "connect_get_version"), Need::allowed);
    cr_assert_eq(need(narrow, "connect_list_all_domains"), Need::allowed, "the list is filtered");
}

Test(rights, are_denied_whoever_allows) {
    const Grant allow = grant("a", {"domain_create"}, {glob(ObjectKind::domain, "*")});
    Grant deny = grant("z", {}, {glob(ObjectKind::domain, "db*")});
    set(deny.deny, "domain_create");
    for (const auto& grants : {std::vector{allow, deny}, std::vector{deny, allow}}) {
        const Rights both = rights(grants);
        cr_assert(judge(both, "domain_create", {domain("web")}).allowed);
        const Decision decision = judge(both, "domain_create", {domain("db1")});
        cr_assert_eq(decision.reason, Reason::denied_by_rule);
        cr_assert_eq(decision.grant->role, "z");
        cr_assert_eq(judge(both, "domain_create").reason, Reason::denied_by_rule, "it may be one of them");
    }
    // A deny on objects of another kind only is a deny on every domain.
    deny.objects = {glob(ObjectKind::network, "*")};
    cr_assert(!judge(rights({allow, deny}), "domain_create", {domain("web")}).allowed);
}

Test(rights, with_flags) {
    Grant all = grant("r", {"domain_get_xml_desc"}, {glob(ObjectKind::domain, "*")});
    all.conditions = {flags("domain_get_xml_desc", 9)};
    const Rights limited = rights({all});
    cr_assert(judge(limited, "domain_get_xml_desc", {domain("a")}, 2).allowed);
    cr_assert_eq(judge(limited, "domain_get_xml_desc", {domain("a")}, 3).reason, Reason::flag);
    Grant other = all;
    other.conditions = {flags("domain_get_xml_desc", 0, 1)};
    cr_assert(judge(rights({all, other}), "domain_get_xml_desc", {domain("a")}, 3).allowed);
    other.conditions.clear();
    other.denied_flags = {flags("domain_get_xml_desc", 1)};
    cr_assert_eq(judge(rights({all, other}), "domain_get_xml_desc", {domain("a")}, 1).reason,
                 Reason::denied_by_rule);
}

Test(rights, never_cross) {
    const Rights some = rights({grant("console", {"domain_open_console"}, {exact(ObjectKind::domain, "a")}),
                                grant("power", {"domain_create"}, {exact(ObjectKind::domain, "b")}),
                                grant("pool", {"storage_vol_lookup_by_name"}, {exact(ObjectKind::pool, "p")}),
                                grant("vol", {"storage_vol_lookup_by_name"}, {glob(ObjectKind::volume, "*")})});
    cr_assert(judge(some, "domain_open_console", {domain("a")}).allowed);
    cr_assert(!judge(some, "domain_create", {domain("a")}).allowed);
    cr_assert(!judge(some, "domain_open_console", {domain("b")}).allowed);
    cr_assert(!judge(some, "storage_vol_lookup_by_name",
                     {{ObjectKind::pool, "p", {}}, {ObjectKind::volume, "p/v", {}}})
                   .allowed,
              "the pool of one and the volume of the other");
}

Test(rights, exceptions_win_in_their_grant_only) {
    Grant most = grant("most", {"domain_create"}, {glob(ObjectKind::domain, "*")});
    most.except = {exact(ObjectKind::domain, "db")};
    cr_assert(judge(rights({most}), "domain_create", {domain("web")}).allowed);
    cr_assert(!judge(rights({most}), "domain_create", {domain("db")}).allowed);
    cr_assert(!rights({most}).sees_all(ObjectKind::domain));
    const Grant one = grant("one", {"domain_create"}, {exact(ObjectKind::domain, "db")});
    cr_assert(judge(rights({most, one}), "domain_create", {domain("db")}).allowed);
    // Whether it is the excepted one cannot be known.
    most.except = {pattern(ObjectKind::domain, PatternKind::pattern_uuid, k_digits)};
    cr_assert(!judge(rights({most}), "domain_create", {domain("web")}).allowed);
    cr_assert(!judge(rights({most}), "domain_create", {domain("web", true)}).allowed);
    cr_assert(judge(rights({most}), "domain_create", {{ObjectKind::domain, "web", Uuid{}}}).allowed);
}

Test(rights, of_volumes_paths_and_places) {
    const Rights some = rights(
        {grant("v", {"storage_vol_delete"}, {glob(ObjectKind::volume, "images/a*")}),
         grant("p", {"domain_save", "domain_migrate_perform3"},
               {glob(ObjectKind::domain, "*"), exact(ObjectKind::path, "/srv/vm/"),
                exact(ObjectKind::migrate_uri, "tcp://10.20.30.0/24:49152-49215")})});
    const auto volume = [&](std::string_view name) {
        return judge(some, "storage_vol_delete", {{ObjectKind::volume, name, {}}}).allowed;
    };
    cr_assert(volume("images/a1"));
    cr_assert(!volume("images/b1"));
    cr_assert(!volume("images2/a"));
    cr_assert(!volume("images"));
    const auto path = [&](std::string_view name) {
        return judge(some, "domain_save", {domain("x"), {ObjectKind::path, name, {}}}).allowed;
    };
    cr_assert(path("/srv/vm/a"));
    cr_assert(path("/srv/vm"));
    cr_assert(!path("/srv/vmx"));
    cr_assert(!path("/srv/vm/../../etc/shadow"));
    cr_assert(!path("/srv/vm/.."));
    cr_assert(!path("/srv/vm//a"));
    cr_assert(!path("srv/vm/a"));
    cr_assert(!judge(some, "domain_save", {domain("x")}).allowed, "a path that nobody has looked at");
    const auto place = [&](std::string_view uri) {
        return judge(some, "domain_migrate_perform3", {domain("x"), {ObjectKind::migrate_uri, uri, {}}}).allowed;
    };
    cr_assert(place("tcp://10.20.30.9:49152"));
    cr_assert(place("tcp://10.20.30.9:49215/"));
    cr_assert(!place("tcp://10.20.30.9:49216"));
    cr_assert(!place("tcp://10.20.30.9"));
    cr_assert(!place("tcp://10.20.31.9:49152"));
    cr_assert(!place("tls://10.20.30.9:49152"));
    cr_assert(!place("tcp://10.20.30.9:49152@evil.example.org:49152"));
    cr_assert(!place("tcp:10.20.30.9:49152"));
}

Test(rights, of_uris) {
    cr_assert(matches_migrate_uri("tls://glob:kvm??.example.org", "tls://kvm07.example.org"));
    cr_assert(matches_migrate_uri("tls://glob:kvm??.example.org", "tls://user@kvm07.example.org:1234/system"));
    cr_assert(!matches_migrate_uri("tls://glob:kvm??.example.org", "tls://kvm07.example.org.evil"));
    cr_assert(!matches_migrate_uri("tls://glob:kvm??.example.org", "tls://evil/kvm07.example.org"));
    cr_assert(matches_migrate_uri("rdma://[2001:db8::]/64", "rdma://[2001:db8::7]:4711"));
    cr_assert(!matches_migrate_uri("rdma://[2001:db8::]/64", "rdma://[2001:db9::7]"));
    cr_assert(matches_migrate_uri("tcp://host:1-9", "tcp://host:5"));
    cr_assert(matches_migrate_uri("*", "unix:///run/x"));
    cr_assert(!matches_migrate_uri("unix://x", "unix:///run/x"));
    cr_assert_eq(flaw_of_migrate_uri("tls://glob:kvm*.example.org"), "");
    cr_assert_eq(flaw_of_migrate_uri("tcp://[2001:db8::]/64:1-2"), "");
    cr_assert_neq(flaw_of_migrate_uri("host"), "");
    cr_assert_neq(flaw_of_migrate_uri("tcp://10.0.0.1/8"), "");
    cr_assert_neq(flaw_of_migrate_uri("tcp://host:9-1"), "");
    cr_assert_neq(flaw_of_migrate_uri("tcp://host:70000"), "");
}

Test(rights, at_a_listener_and_a_time) {
    Grant limited = grant("r", {"domain_create"}, {glob(ObjectKind::domain, "*")});
    limited.listeners = {"tls"};
    cr_assert(judge(rights({limited}, {.listener = "tls"}), "domain_create", {domain("a")}).allowed);
    cr_assert(!judge(rights({limited}, {.listener = "unix"}), "domain_create", {domain("a")}).allowed);
    cr_assert(!judge(rights({limited}), "domain_create", {domain("a")}).allowed);
    Grant allow = grant("a", {"domain_create"}, {glob(ObjectKind::domain, "*")});
    set(limited.deny, "domain_create");
    cr_assert(judge(rights({allow, limited}, {.listener = "unix"}), "domain_create", {domain("a")}).allowed);
    cr_assert(!judge(rights({allow, limited}), "domain_create", {domain("a")}).allowed, "it may be that one");
    allow.not_before = 10;
    allow.not_after = 12;
    const Rights timed = rights({allow}, {.clock = test_clock});
    cr_assert_eq(need(timed, "domain_create"), Need::flags, "nothing but the time decides");
    for (random_now = 9; random_now < 14; ++random_now) {
        const Decision decision = judge(timed, "domain_create", {domain("a")});
        cr_assert_eq(decision.allowed, random_now >= 10 && random_now <= 12);
        cr_assert_eq(decision.reason, decision.allowed ? Reason::allowed : Reason::constraint);
        cr_assert_eq(timed.sees(domain("a")), decision.allowed);
    }
}

Test(rights, on_probation_change_nothing_and_show) {
    Grant shadow = grant("s", {"domain_create"}, {exact(ObjectKind::domain, "a")});
    shadow.shadow = true;
    const Rights alone = rights({shadow});
    cr_assert_eq(need(alone, "domain_create"), Need::objects);
    Decision decision = judge(alone, "domain_create", {domain("a")});
    cr_assert(!decision.allowed);
    cr_assert_eq(decision.shadow->role, "s");
    cr_assert_null(judge(alone, "domain_create", {domain("b")}).shadow);
    cr_assert(!alone.sees(domain("a")));
    Grant all = grant("r", {"domain_create"}, {});
    all.everything = true;
    shadow.may = {};
    set(shadow.deny, "domain_create");
    const Rights both = rights({all, shadow});
    decision = judge(both, "domain_create", {domain("a")});
    cr_assert(decision.allowed);
    cr_assert_eq(decision.shadow->role, "s");
}

Test(rights, hard_denied) {
    Grant all;
    all.everything = true;
    set(all.may, "connect_set_identity");
    set(all.may, "auth_polkit");
    const Rights free = rights({all});
    for (const std::string_view name : {"connect_set_identity", "auth_polkit"}) {
        cr_assert_eq(need(free, name), Need::refused);
        cr_assert_eq(judge(free, name).reason, Reason::hard_denied);
    }
}

Test(rights, of_events_redaction_audit_and_limits) {
    Grant watcher = grant("w", {"domain_event_callback_lifecycle", "connect_list_all_domains"},
                          {exact(ObjectKind::domain, "a")});
    watcher.redact = {"domain:read_secure"};
    watcher.audit = AuditLevel::audit_denied;
    Grant power = grant("p", {"domain_create"}, {exact(ObjectKind::domain, "b")});
    power.audit = AuditLevel::audit_all;
    IdentityRights all{.generation = 1, .identity = "i", .grants = {watcher, power}, .limits = {}};
    all.limits.burst = 9;
    const auto bytes = proto::encode(all);
    cr_assert(bytes.has_value());
    const auto decoded = Rights::decode(*bytes);
    cr_assert(decoded.has_value());
    const auto& remote = proto::remote_program();
    cr_assert(decoded->may_event(remote, call("domain_event_callback_lifecycle")));
    cr_assert(!decoded->may_event(remote, call("domain_event_callback_reboot")));
    cr_assert(decoded->redacts("domain:read_secure", domain("a")));
    cr_assert(!decoded->redacts("domain:read_secure", domain("b")));
    cr_assert(decoded->redacts("domain:read_secure"));
    cr_assert(!decoded->redacts("secret:read_secure"));
    cr_assert_eq(*decoded->limits().burst, 9);
    cr_assert_eq(decoded->audit_level(judge(*decoded, "domain_create", {domain("b")})), AuditLevel::audit_all);
    cr_assert_eq(decoded->audit_level(judge(*decoded, "connect_list_all_domains")), AuditLevel::audit_denied);
    cr_assert_eq(decoded->audit_level(judge(*decoded, "domain_create", {domain("a")})), AuditLevel::audit_all,
                 "of a refusal: the most");
    cr_assert(!Rights::decode({}).has_value());
}

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
            const Decision got = made.judge(remote, *question.procedure, question.flags, question.objects);
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
            const Decision a = one.judge(remote, *question.procedure, question.flags, question.objects);
            const Decision b = other.judge(remote, *question.procedure, question.flags, question.objects);
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
                return which.judge(proto::remote_program(), *question.procedure, question.flags, question.objects)
                    .allowed;
            };
            cr_assert(ask(after_more) >= ask(before), "%s", describe(question).c_str());
            cr_assert(ask(after_less) <= ask(before), "%s", describe(question).c_str());
        }
    }
}
