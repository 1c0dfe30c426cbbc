// SPDX-License-Identifier: LGPL-2.1-or-later filter_rules - each reply and event has a rule: nothing that
// looks like a list, a count or a look-up is forgotten.
#include "workerd/worker/filter_rules.h"

#include <criterion/criterion.h>
#include <fmt/format.h>

#include <map>
#include <string>

#include "proto/programs.h"
#include "tests/support/random_payload.h"
#include "workerd/worker/filter.h"

using namespace virtgate;
using namespace virtgate::workerd::worker;
using proto::ProcedureInfo;
using proto::layout::Kind;
using proto::layout::Section;

namespace {

const proto::ProgramInfo* const k_programs[] = {&proto::remote_program(), &proto::qemu_program(),
                                                &proto::lxc_program()};

std::string_view words(ReplyAction action) {
    constexpr std::string_view k_words[] = {"nothing", "prune", "ask", "single", "parent", "withhold"};
    return k_words[static_cast<std::size_t>(action)];
}

std::string_view words(Shape shape) {
    constexpr std::string_view k_words[] = {"domain",  "network", "pool",      "volume",
                                            "secret",  "nodedev", "interface", "nwfilter",
                                            "binding", "port",    "snapshot",  "checkpoint"};
    return k_words[static_cast<std::size_t>(shape)];
}

std::string_view words(By by) {
    constexpr std::string_view k_words[] = {"id",          "uuid", "name",  "key", "path",
                                            "target_path", "mac",  "usage", "wwn", "port_device"};
    return k_words[static_cast<std::size_t>(by)];
}

std::string_view words(Extract extract) {
    constexpr std::string_view k_words[] = {"count", "names", "uuids", "ids"};
    return k_words[static_cast<std::size_t>(extract)];
}

// One line of the golden list.
std::string describe(const ReplyRule& rule) {
    switch (rule.action) {
        case ReplyAction::nothing: return fmt::format("nothing: {}", rule.reason);
        case ReplyAction::prune:
            return fmt::format("prune {}{}", words(rule.shape),
                               rule.need_results == proto::layout::k_none ? "" : ", also for the number");
        case ReplyAction::ask:
            return fmt::format("{} of {} from {}({})", words(rule.extract), words(rule.shape),
                               rule.instead->name, rule.flags);
        case ReplyAction::single: return fmt::format("single {} by {}", words(rule.shape), words(rule.by));
        case ReplyAction::parent:
        case ReplyAction::withhold: return std::string(words(rule.action));
    }
    return "";
}

// True if a value of the type has an array in it that could list objects: all but characters and typed
// parameters, which carry numbers and names of the host's or the domain's own things.
bool has_array(const proto::Schema& schema, proto::TypeIndex type) {
    const std::uint32_t* row = schema.row(Section::types, type);
    switch (static_cast<Kind>(row[0] & 0xff)) {
        case Kind::structure:
            for (std::uint32_t i = 0; i < row[4]; ++i)
                if (has_array(schema,
                              schema.row(Section::fields, row[3] + i)[0] & proto::layout::k_type_mask))
                    return true;
            return false;
        case Kind::optional: return has_array(schema, row[3]);
        case Kind::array: {
            const std::uint32_t* element = schema.row(Section::types, row[3]);
            return static_cast<Kind>(element[0] & 0xff) != Kind::character &&
                   schema.text(element[7]) != "TypedParam";
        }
        default: return false;
    }
}

// True if all of the reply is one number with a telling name.
bool is_count(const proto::Schema& schema, proto::TypeIndex type) {
    const std::uint32_t* row = schema.row(Section::types, type);
    return row[4] == 1 && schema.text(schema.row(Section::fields, row[3])[1]) == "count";
}

bool looks_like_objects(const proto::ProgramInfo& program, const ProcedureInfo& info) {
    if (!info.returns.empty() || !info.filters.empty()) return true;
    const bool is_worded = info.name.find("list") != std::string_view::npos ||
                           info.name.find("num_of") != std::string_view::npos ||
                           info.name.find("lookup") != std::string_view::npos;
    if (info.ret == proto::k_void) return is_worded;
    return is_worded || has_array(program.schema, info.ret) || is_count(program.schema, info.ret);
}

// What the fields of each shape are called in the schema.
const std::map<Shape, std::string> k_fields = {
    {Shape::domain, "name uuid id"},
    {Shape::network, "name uuid"},
    {Shape::pool, "name uuid"},
    {Shape::volume, "pool name key"},
    {Shape::secret, "uuid usage_type usage_id"},
    {Shape::nodedev, "name"},
    {Shape::interface, "name mac"},
    {Shape::nwfilter, "name uuid"},
    {Shape::binding, "port_device filter_name"},
    {Shape::port, "network uuid"},
    {Shape::snapshot, "name domain"},
    {Shape::checkpoint, "name domain"},
};

std::string fields_of(const proto::Schema& schema, proto::TypeIndex type) {
    const std::uint32_t* row = schema.row(Section::types, type);
    std::string names;
    for (std::uint32_t i = 0; i < row[4]; ++i)
        names +=
            fmt::format("{}{}", i == 0 ? "" : " ", schema.text(schema.row(Section::fields, row[3] + i)[1]));
    return names;
}

// The type that a place leads to.
proto::TypeIndex type_at(const proto::Schema& schema, proto::TypeIndex type,
                         std::span<const std::uint32_t> steps) {
    const auto pass = [&] {
        while (static_cast<Kind>(schema.row(Section::types, type)[0] & 0xff) == Kind::optional)
            type = schema.row(Section::types, type)[3];
    };
    for (const std::uint32_t step : steps) {
        pass();
        const std::uint32_t* row = schema.row(Section::types, type);
        type = step == proto::layout::k_each
                   ? row[3]
                   : schema.row(Section::fields, row[3] + step)[0] & proto::layout::k_type_mask;
    }
    pass();
    return type;
}

}  // namespace

// Reviewed by hand. A new procedure of libvirt that gets a line here has to be looked at.
static const char k_golden[] =
#include "tests/unit/filter_rules.golden"
    ;

Test(filter_rules, are_the_reviewed_ones) {
    std::string text;
    for (const proto::ProgramInfo* program : k_programs) {
        const ReplyRules rules(*program);
        for (const ProcedureInfo& info : program->procedures()) {
            const ReplyRule& rule = rules.of(info);
            if (info.kind != ProcedureInfo::Kind::call) continue;
            if (rule.action != ReplyAction::nothing || !rule.reason.empty())
                text += fmt::format("{}.{}: {}\n", program->name, info.name, describe(rule));
        }
    }
    cr_assert_eq(text, k_golden, "%s", text.c_str());
}

Test(filter_rules, forget_no_list_count_or_lookup) {
    int looked = 0;
    for (const proto::ProgramInfo* program : k_programs) {
        const ReplyRules rules(*program);
        for (const ProcedureInfo& info : program->procedures()) {
            if (info.kind != ProcedureInfo::Kind::call || !looks_like_objects(*program, info)) continue;
            ++looked;
            const ReplyRule& rule = rules.of(info);
            cr_expect(rule.action != ReplyAction::nothing || !rule.reason.empty(),
                      "%s has no rule and no reason why it needs none", std::string(info.name).c_str());
            cr_expect(rule.action != ReplyAction::withhold, "%s", std::string(info.name).c_str());
        }
    }
    cr_assert_gt(looked, 120, "%d", looked);
}

// What libvirt itself filters, we do too: by rule, or event by event.
Test(filter_rules, cover_all_that_libvirt_filters) {
    const ReplyRules rules(proto::remote_program());
    for (const ProcedureInfo& info : proto::remote_program().procedures()) {
        if (info.kind != ProcedureInfo::Kind::call || info.filters.empty()) continue;
        const bool registers = info.name.find("event_") != std::string_view::npos;
        if (!registers && info.name != "network_list_all_ports")  // of the network that the call names
            cr_expect(rules.of(info).action != ReplyAction::nothing, "%s", std::string(info.name).c_str());
    }
}

Test(filter_rules, read_objects_as_the_schema_has_them) {
    int places = 0;
    for (const proto::ProgramInfo* program : k_programs) {
        for (const ProcedureInfo& info : program->procedures()) {
            const auto check = [&](proto::TypeIndex type, const proto::ObjectPlace& place) {
                const auto shape = shape_of(place.object);
                cr_assert(shape.has_value(), "%s", std::string(place.object).c_str());
                const auto there = type_at(program->schema, type, place.steps);
                cr_assert_eq(fields_of(program->schema, there), k_fields.at(*shape), "%s: %s",
                             std::string(info.name).c_str(), fields_of(program->schema, there).c_str());
                ++places;
            };
            for (const proto::ObjectPlace& place : info.objects) check(info.args, place);
            for (const proto::ObjectPlace& place : info.returns) check(info.ret, place);
        }
    }
    cr_assert_gt(places, 350, "%d", places);
}

// A reply names one object, or a list of one kind: that is what a rule can judge.
Test(filter_rules, find_one_place_in_each_reply) {
    for (const proto::ProgramInfo* program : k_programs)
        for (const ProcedureInfo& info : program->procedures()) cr_assert_leq(info.returns.size(), 1U);
}

// The parts of a program that the fixed forms of arguments and replies depend on.
Test(filter_rules, know_the_form_of_their_calls) {
    const proto::ProgramInfo& remote = proto::remote_program();
    const ReplyRules rules(remote);
    for (const ProcedureInfo& info : remote.procedures()) {
        const ReplyRule& rule = rules.of(info);
        const std::string args = info.args == proto::k_void ? "" : fields_of(remote.schema, info.args);
        const std::string ret = info.ret == proto::k_void ? "" : fields_of(remote.schema, info.ret);
        const char* name = info.name.data();
        if (rule.action == ReplyAction::prune && rule.need_results != proto::layout::k_none) {
            cr_assert(ret.ends_with(" result"), "%s: %s", name, ret.c_str());
            cr_assert_eq(rule.count_field, 1U, "%s", name);
            cr_assert_eq(std::count(ret.begin(), ret.end(), ' '), 1, "%s", name);
        }
        if (rule.action == ReplyAction::ask) {
            const std::string asked = fields_of(remote.schema, rule.instead->args);
            if (rule.arguments == Arguments::list_all) cr_assert_eq(asked, "need_results flags", "%s", name);
            if (rule.arguments == Arguments::volumes) {
                cr_assert_eq(asked, "pool need_results flags", "%s", name);
                cr_assert(args.starts_with("pool"), "%s", name);
            }
            if (rule.arguments == Arguments::devices) {
                cr_assert_eq(asked, "capability max_names flags", "%s", name);
                cr_assert(args == asked || args == "capability flags", "%s", name);
            }
            if (rule.arguments == Arguments::names) cr_assert_eq(asked, "max_names", "%s", name);
            cr_assert(ret == "names" || ret == "ids" || ret == "uuids" || ret == "count", "%s: %s", name,
                      ret.c_str());
            cr_assert_eq(ret, words(rule.extract), "%s", name);
        }
    }
}

Test(filter_rules, are_empty_for_other_programs) {
    for (const proto::ProgramInfo* program : {&proto::admin_program(), &proto::lock_program()}) {
        const ReplyRules rules(*program);
        for (const ProcedureInfo& info : program->procedures())
            cr_assert_eq(rules.of(info).action, ReplyAction::nothing, "%s", info.name.data());
    }
}

namespace {

struct NoSight final : Sight {
    bool all = false;
    int asked = 0;
    policy::ObjectKind kind{};
    bool sees_all(policy::ObjectKind) const noexcept override { return all; }
    bool sees(const policy::Object& object) const noexcept override {
        ++const_cast<NoSight*>(this)->asked;
        const_cast<NoSight*>(this)->kind = object.kind;
        return false;
    }
    std::optional<policy::Uuid> nwfilter_uuid(std::string_view) const noexcept override {
        return std::nullopt;
    }
};

}  // namespace

// Who sees nothing gets no event but the one about the connection; each is judged by an object of its family.
Test(filter_rules, judge_every_event) {
    test::Random random(5);
    int events = 0;
    for (const proto::ProgramInfo* program : k_programs) {
        for (const ProcedureInfo& info : program->procedures()) {
            if (info.kind != ProcedureInfo::Kind::event) continue;
            ++events;
            const auto payload = test::random_payload(program->schema, info.args, random);
            cr_assert(payload.has_value());
            NoSight sight;
            const bool is_about_none = info.name == "connect_event_connection_closed";
            cr_assert_eq(may_pass(*program, info, *payload, sight), is_about_none, "%s", info.name.data());
            cr_assert_eq(sight.asked, is_about_none ? 0 : 1, "%s", info.name.data());
            const std::map<std::string_view, policy::ObjectKind> families = {
                {"domain", policy::ObjectKind::domain},       {"qemu_monitor", policy::ObjectKind::domain},
                {"network", policy::ObjectKind::network},     {"storage_pool", policy::ObjectKind::pool},
                {"node_device", policy::ObjectKind::nodedev}, {"secret", policy::ObjectKind::secret},
            };
            if (!is_about_none)
                cr_assert_eq(sight.kind, families.at(info.event_family), "%s", info.name.data());
            sight.all = true;
            cr_assert(may_pass(*program, info, *payload, sight), "%s", info.name.data());
            // Without the object nobody can say whose event it is.
            sight.all = false;
            if (!is_about_none) cr_assert(!may_pass(*program, info, {}, sight), "%s", info.name.data());
        }
    }
    cr_assert_eq(events, 56, "%d", events);
}
