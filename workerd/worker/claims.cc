// SPDX-License-Identifier: LGPL-2.1-or-later
// claims - what a call says that it is about, and what that is.
#include "workerd/worker/claims.h"

#include <fmt/format.h>
#include <algorithm>
#include <iterator>

#include "libshared/xdr/reader.h"
#include "libshared/xdr/writer.h"
#include "proto/codec.h"
#include "proto/programs.h"
#include "proto/remote.h"

namespace virtgate::workerd::worker {

namespace {

using policy::ObjectKind;
namespace remote = proto::remote;
using proto::ProcedureInfo;
using proto::ProgramInfo;
using proto::layout::Section;

constexpr std::uint32_t k_string_max = remote::k_string_max;

// By Shape: how to ask what it is.
struct Question {
    std::string_view procedure;
    bool by_uuid = true;
    int absent = 0;
};
constexpr Question k_ask_domain{"domain_lookup_by_uuid", true, 42};
constexpr Question k_ask_network{"network_lookup_by_uuid", true, 43};
constexpr Question k_ask_pool{"storage_pool_lookup_by_uuid", true, 49};
constexpr Question k_ask_secret{"secret_lookup_by_uuid", true, 66};
constexpr Question k_ask_nwfilter{"nwfilter_lookup_by_uuid", true, 62};
constexpr Question k_ask_binding{"nwfilter_binding_lookup_by_port_dev", false, 101};
constexpr Question k_ask_network_name{"network_lookup_by_name", false, 43};
constexpr Question k_ask_pool_name{"storage_pool_lookup_by_name", false, 49};

Question question_of(Shape shape, Driver driver) noexcept {
    switch (shape) {
        case Shape::domain:
        case Shape::snapshot:
        case Shape::checkpoint: return k_ask_domain;
        case Shape::network:
        case Shape::port: return driver == Driver::test ? k_ask_network_name : k_ask_network;
        case Shape::pool: return driver == Driver::test ? k_ask_pool_name : k_ask_pool;
        case Shape::secret: return k_ask_secret;
        case Shape::nwfilter: return k_ask_nwfilter;
        case Shape::binding: return k_ask_binding;
        case Shape::volume:
        case Shape::nodedev:
        case Shape::interface: break;
    }
    return {};
}

// The object in the answer to a claim's question: that of the parts, too.
Shape whole_of(Shape shape) noexcept {
    switch (shape) {
        case Shape::snapshot:
        case Shape::checkpoint: return Shape::domain;
        case Shape::port: return Shape::network;
        default: return shape;
    }
}

// Arguments that are a file of the host, or say where to migrate to. `may_lack`: without any, the call names none.
struct Argument {
    std::string_view procedure;
    std::string_view field;
    ObjectKind kind = ObjectKind::path;
    bool may_lack = false;
};
constexpr Argument k_arguments[] = {
    {"domain_save", "to"},
    {"domain_save_flags", "to"},
    {"domain_restore", "from"},
    {"domain_restore_flags", "from"},
    {"domain_save_image_get_xml_desc", "file"},
    {"domain_save_image_define_xml", "file"},
    {"domain_core_dump", "to"},
    {"domain_core_dump_with_format", "to"},
    {"domain_block_rebase", "base"},
    {"domain_migrate_prepare", "uri_in", ObjectKind::migrate_uri, true},
    {"domain_migrate_prepare2", "uri_in", ObjectKind::migrate_uri, true},
    {"domain_migrate_prepare3", "uri_in", ObjectKind::migrate_uri, true},
    {"domain_migrate_prepare3_params", "", ObjectKind::migrate_uri, true},
    {"domain_migrate_prepare_tunnel3_params", "", ObjectKind::migrate_uri, true},
    {"domain_migrate_perform", "uri", ObjectKind::migrate_uri},
    {"domain_migrate_perform3", "connection_uri", ObjectKind::migrate_uri},
    {"domain_migrate_perform3", "uri", ObjectKind::migrate_uri},
    {"domain_migrate_perform3_params", "connection_uri", ObjectKind::migrate_uri},
};
// Parameters that say so.
constexpr std::string_view k_uri_parameters[] = {"migrate_uri", "disks_uri"};

// Their file is in parameters that are not read here.
constexpr std::string_view k_in_parameters[] = {"domain_save_params", "domain_restore_params"};

constexpr policy::KindMask k_anything = (1U << policy::k_kinds) - 1;

std::optional<std::uint32_t> field_of(const ProgramInfo& program, proto::TypeIndex structure,
                                      std::string_view name) noexcept {
    if (structure == proto::k_void) return std::nullopt;
    const proto::Schema& schema = program.schema;
    const std::uint32_t* row = schema.row(Section::types, structure);
    for (std::uint32_t i = 0; i < row[4]; ++i)
        if (schema.text(schema.row(Section::fields, row[3] + i)[1]) == name) return i;
    return std::nullopt;
}

std::optional<std::string_view> find_string(const ProgramInfo& program, const ProcedureInfo& procedure,
                                            ByteView args, std::string_view name) noexcept {
    const proto::Found found = find_argument(program, procedure, args, name);
    if (!found.present) return std::nullopt;
    xdr::Reader reader(args.subspan(found.offset));
    const std::string_view text = reader.string(k_string_max);
    return reader.ok() ? std::optional(text) : std::nullopt;
}

Claim named(ObjectKind kind, std::string_view name) {
    Claim claim;
    claim.kind = kind;
    claim.name = claim.true_name = std::string(name);
    claim.is_known = true;
    return claim;
}

Claim make_claim(Shape shape, const Named& object, Driver driver) {
    Claim claim;
    claim.kind = kind_of(shape);
    claim.shape = shape;
    claim.name = object.object.name;
    claim.own_name = object.own_name;
    claim.pool = object.pool;
    claim.detail = object.detail;
    claim.uuid = object.object.uuid;
    const Question question = question_of(shape, driver);
    if (!question.procedure.empty()) {
        claim.question = proto::remote_program().find(question.procedure);
        claim.absent = question.absent;
    } else {
        claim.is_known = true;
        claim.true_name = claim.name;
        claim.true_uuid = claim.uuid;
    }
    return claim;
}

// A key that is neither an object's own name nor what the reply is filtered by, nor that of a part of an object which
// the call names.
bool is_indirect(const ProcedureInfo& procedure, const proto::ObjectPlace& key) noexcept {
    if (key.how == "lookup") return false;
    const auto shape = shape_of(key.object);
    if (!shape) return true;
    if (key.how == "plain") return *shape != Shape::nodedev;
    return procedure.objects.empty() || !belongs_to_called(*shape);
}

// The kinds of what the procedure's arguments never tell.
policy::KindMask unknown_of(const ProcedureInfo& procedure) noexcept {
    policy::KindMask unknown = 0;
    for (const proto::ObjectPlace& key : procedure.keys) {
        if (!is_indirect(procedure, key)) continue;
        const auto kind = policy::kind_of(key.object);
        unknown |= kind ? bit(*kind) : k_anything;
    }
    if (std::find(std::begin(k_in_parameters), std::end(k_in_parameters), procedure.name) !=
        std::end(k_in_parameters))
        unknown |= bit(ObjectKind::path);
    return unknown;
}

// The parameters of all calls for a migration look alike. True if there was one of ours.
bool add_migration_parameters(const ProgramInfo& program, const ProcedureInfo& procedure, ByteView args,
                              Claims& claims) {
    const proto::Found found = find_argument(program, procedure, args, "params");
    if (!found.present) return false;
    xdr::Reader reader(args.subspan(found.offset));
    bool any = false;
    const std::uint32_t count = reader.count(remote::k_domain_migrate_param_list_max, 12);
    for (std::uint32_t i = 0; i < count; ++i) {
        remote::TypedParam param;
        param.decode(reader);
        if (std::find(std::begin(k_uri_parameters), std::end(k_uri_parameters), param.field) ==
            std::end(k_uri_parameters))
            continue;
        if (param.value.value.index() == remote::TypedParamValue::text)
            claims.list.push_back(
                named(ObjectKind::migrate_uri, std::get<remote::TypedParamValue::text>(param.value.value)));
        else
            claims.unknown |= bit(ObjectKind::migrate_uri);
        any = true;
    }
    if (!reader.ok()) claims.unknown = k_anything;
    return any;
}

// Files and places, and what a domain shall be called.
void add_arguments(const ProgramInfo& program, const ProcedureInfo& procedure, ByteView args,
                   Claims& claims) {
    if (program.number != remote::k_program) return;
    policy::KindMask wanted = 0;
    bool found = false, is_migration = false;
    for (const Argument& argument : k_arguments) {
        if (argument.procedure != procedure.name) continue;
        is_migration |= argument.kind == ObjectKind::migrate_uri;
        if (!argument.may_lack) wanted |= bit(argument.kind);
        const auto text = find_string(program, procedure, args, argument.field);
        if (!text) continue;
        found = true;
        claims.list.push_back(named(argument.kind, *text));
    }
    if (is_migration && add_migration_parameters(program, procedure, args, claims)) found = true;
    if (!found) claims.unknown |= wanted;
    if (procedure.name == "domain_rename")
        if (const auto text = find_string(program, procedure, args, "new_name"))
            claims.list.push_back(named(ObjectKind::domain, *text));
}

}  // namespace

Claims read_claims(const ProgramInfo& program, const ProcedureInfo& procedure, ByteView args, Driver driver) {
    Claims claims;
    claims.unknown = unknown_of(procedure);
    std::string text;
    for (const proto::ObjectPlace& place : procedure.objects) {
        // A list of objects only makes the list in the reply shorter, which is filtered.
        if (place.list) {
            if (procedure.returns.empty() || !procedure.returns.front().list) claims.unknown = k_anything;
            continue;
        }
        const proto::Found found = locate(program.schema, procedure.args, args, place.steps, {});
        if (!found.present) continue;
        const auto shape = shape_of(place.object);
        const auto object = shape ? read_object(*shape, args.subspan(found.offset), text) : std::nullopt;
        if (object)
            claims.list.push_back(make_claim(*shape, *object, driver));
        else
            claims.unknown = k_anything;
    }
    for (const proto::ObjectPlace& key : procedure.keys) {
        if (key.how != "plain" || is_indirect(procedure, key)) continue;
        const proto::Found found = locate(program.schema, procedure.args, args, key.steps, {});
        const auto object =
            found.present ? read_object(Shape::nodedev, args.subspan(found.offset), text) : std::nullopt;
        if (object)
            claims.list.push_back(make_claim(Shape::nodedev, *object, driver));
        else
            claims.unknown = k_anything;
    }
    add_arguments(program, procedure, args, claims);
    return claims;
}

proto::Found find_argument(const ProgramInfo& program, const ProcedureInfo& procedure, ByteView args,
                           std::string_view field) noexcept {
    const auto number = field_of(program, procedure.args, field);
    if (!number) return {};
    const std::uint32_t steps[] = {*number};
    return locate(program.schema, procedure.args, args, steps, {});
}

std::uint64_t read_flags(const ProgramInfo& program, const ProcedureInfo& procedure, ByteView args) noexcept {
    const proto::Found found = find_argument(program, procedure, args, "flags");
    if (!found.present) return 0;
    const std::uint32_t size = program.schema.row(Section::types, found.type)[1];
    if (args.size() - found.offset < size) return ~std::uint64_t{0};
    return size == 8 ? load_be64(args.data() + found.offset) : load_be32(args.data() + found.offset);
}

bool asks_by_uuid(const Claim& claim) noexcept {
    return claim.question != nullptr && claim.question->name.ends_with("_by_uuid");
}

ByteVector make_question(const Claim& claim) {
    ByteVector args;
    xdr::Writer writer(args, proto::k_payload_max);
    // The names in a call are no longer than those in a question.
    if (asks_by_uuid(claim))
        writer.fixed_opaque(claim.uuid.value_or(policy::Uuid{}));
    else
        writer.string(claim.shape == Shape::binding ? claim.detail : claim.name, k_string_max);
    return args;
}

bool take_answer(Claim& claim, ByteView answer) {
    const proto::ObjectPlace& place = claim.question->returns.front();
    const proto::Found found =
        locate(proto::remote_program().schema, claim.question->ret, answer, place.steps, {});
    if (!found.present) return false;
    std::string text;
    const auto object = read_object(whole_of(*claim.shape), answer.subspan(found.offset), text);
    if (!object) return false;
    if (asks_by_uuid(claim) && object->object.uuid != claim.uuid) return false;
    claim.is_known = true;
    claim.true_name = object->object.name;
    claim.true_uuid = object->object.uuid;
    return true;
}

proto::net::Error not_there(Driver driver, const Claim& claim, bool has_pool) {
    Named named;
    named.object = {claim.kind, claim.name, claim.uuid};
    named.own_name = claim.own_name;
    named.pool = claim.pool;
    named.detail = claim.detail;
    return not_there(driver, *claim.shape, named, has_pool);
}

}  // namespace virtgate::workerd::worker
