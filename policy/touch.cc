// SPDX-License-Identifier: LGPL-2.1-or-later
// touch - which kinds of objects a procedure acts on.
#include "policy/touch.h"

#include <fmt/format.h>
#include <algorithm>
#include <array>

#include "proto/programs.h"

namespace virtgate::policy {

namespace {

struct Word {
    std::string_view text;
    ObjectKind kind;
};

constexpr std::array k_objects{
    Word{"domain", ObjectKind::domain},
    Word{"domain_snapshot", ObjectKind::domain},
    Word{"domain_checkpoint", ObjectKind::domain},
    Word{"network", ObjectKind::network},
    Word{"network_port", ObjectKind::network},
    Word{"storage_pool", ObjectKind::pool},
    Word{"storage_vol", ObjectKind::volume},
    Word{"secret", ObjectKind::secret},
    Word{"node_device", ObjectKind::nodedev},
    Word{"interface", ObjectKind::interface},
    Word{"nwfilter", ObjectKind::nwfilter},
    Word{"nwfilter_binding", ObjectKind::nwfilter},
};

constexpr std::array<std::string_view, k_kinds> k_words{"domain", "network",     "pool",      "volume",
                                                        "secret", "nodedev",     "interface", "nwfilter",
                                                        "path",   "migrate_uri", "lock"};

// Of the lock program: no other program has calls with such names.
constexpr std::array<std::string_view, 6> k_lock_calls{
    "acquire_resource", "create_lockspace", "create_resource", "delete_resource", "new", "release_resource"};

// What the daemon reads or writes on the host because a call says so. With a copy flag, a rebase writes to a
// file that it names.
constexpr std::array<std::string_view, 11> k_path_calls{"domain_block_rebase",
                                                        "domain_core_dump",
                                                        "domain_core_dump_with_format",
                                                        "domain_restore",
                                                        "domain_restore_flags",
                                                        "domain_restore_params",
                                                        "domain_save",
                                                        "domain_save_flags",
                                                        "domain_save_image_define_xml",
                                                        "domain_save_image_get_xml_desc",
                                                        "domain_save_params"};

constexpr std::array<std::string_view, 5> k_migrations{"domain_migrate_perform", "domain_migrate_prepare",
                                                       "domain_migrate_begin", "domain_migrate_confirm",
                                                       "domain_migrate_finish"};

constexpr std::array<std::string_view, 6> k_passthrough{
    "domain_monitor_command",
    "domain_agent_command",
    "domain_monitor_command_with_files",
    "connect_domain_monitor_event_register",
    "connect_domain_monitor_event_deregister",
    "domain_monitor_event",
};

template <std::size_t N>
bool is_one_of(std::string_view name, const std::array<std::string_view, N>& names) noexcept {
    return std::find(names.begin(), names.end(), name) != names.end();
}

KindMask mask_of(std::string_view object) noexcept {
    const auto kind = kind_of(object);
    return kind ? bit(*kind) : KindMask{0};
}

}  // namespace

std::optional<ObjectKind> kind_of(std::string_view object) noexcept {
    for (const Word& word : k_objects)
        if (word.text == object) return word.kind;
    return std::nullopt;
}

std::string_view to_text(ObjectKind kind) noexcept { return k_words[static_cast<std::size_t>(kind)]; }

std::optional<ObjectKind> parse_kind(std::string_view word) noexcept {
    for (std::size_t i = 0; i < k_words.size(); ++i)
        if (k_words[i] == word) return static_cast<ObjectKind>(i);
    return std::nullopt;
}

KindMask touched_kinds(const proto::ProcedureInfo& procedure) noexcept {
    KindMask mask = 0;
    if (procedure.is_added) return mask;  // its objects are not libvirt's
    // A list of objects in the arguments restricts a list that is filtered anyway, and an optional one is that
    // of a registration for events, which are filtered one by one; a name in either is judged all the same.
    for (const proto::ObjectPlace& place : procedure.objects)
        if (!place.list && !place.nullable) mask |= mask_of(place.object);
    for (const proto::ObjectPlace& place : procedure.returns)
        if (!place.list) mask |= mask_of(place.object);
    for (const proto::ObjectPlace& place : procedure.keys) mask |= mask_of(place.object);
    if (is_one_of(procedure.name, k_path_calls)) mask |= bit(ObjectKind::path);
    if (is_one_of(procedure.name, k_lock_calls)) mask |= bit(ObjectKind::lock);
    for (const std::string_view migration : k_migrations)
        if (procedure.name.starts_with(migration)) mask |= bit(ObjectKind::migrate_uri);
    return mask;
}

KindMask shown_kinds(const proto::ProcedureInfo& procedure) noexcept {
    KindMask mask = touched_kinds(procedure);
    if (procedure.is_added) return mask;
    for (const auto& places : {procedure.objects, procedure.returns})
        for (const proto::ObjectPlace& place : places) mask |= mask_of(place.object);
    for (const auto& rules : {procedure.rules, procedure.filters})
        for (const proto::Rule& rule : rules) mask |= mask_of(rule.object);
    return mask;
}

bool is_denied_for_good(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure) noexcept {
    return procedure.before_auth ||
           (program.number == proto::remote_program().number && procedure.name == "connect_set_identity");
}

bool is_passthrough(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure) noexcept {
    return program.number == proto::qemu_program().number && is_one_of(procedure.name, k_passthrough);
}

}  // namespace virtgate::policy
