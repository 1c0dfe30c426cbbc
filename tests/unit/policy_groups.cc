// SPDX-License-Identifier: LGPL-2.1-or-later
// policy_groups - the reviewed list of groups, compared with what libvirt says of each procedure.
#include <criterion/criterion.h>

#include <map>
#include <string>

#include "policy/flag_names.h"
#include "policy/group_table.h"
#include "policy/groups.h"
#include "policy/touch.h"
#include "proto/programs.h"

using namespace virtgate;
using namespace virtgate::policy;

namespace {

constexpr GroupMask k_reading = k_connect_basic | k_read_domain | k_read_host | k_read_storage | k_read_net;

struct Reviewed {
    GroupMask groups = 0;
    std::map<GroupMask, std::uint64_t> forbidden{};
    bool has_reason = false;
};

std::map<std::string, Reviewed, std::less<>> reviewed() {
    std::map<std::string, Reviewed, std::less<>> all;
    for (const GroupRow& row : group_table()) {
        Reviewed& entry = all[std::string(row.procedure)];
        entry.groups |= row.groups;
        entry.forbidden[row.groups] = row.forbidden;
        entry.has_reason = entry.has_reason || !row.reason.empty();
    }
    return all;
}

std::string key_of(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure) {
    const std::string name(procedure.name);
    return &program == &proto::remote_program() ? name : std::string(program.name) + "." + name;
}

// What libvirt's annotations would make of it: readers may call it, and with which flags not.
struct Annotated {
    bool reads = false;
    std::uint64_t forbidden = 0;
};

Annotated annotated(const proto::ProcedureInfo& procedure) {
    Annotated result{.reads = procedure.readonly != proto::ReadOnly::refused && !procedure.before_auth};
    for (const proto::Test& test : procedure.readonly_tests)
        if (test.path == "flags" && test.kind == proto::layout::TestKind::has) result.forbidden |= test.value;
    return result;
}

}  // namespace

Test(groups, every_procedure_has_been_looked_at) {
    const auto all = reviewed();
    std::size_t count = 0;
    for (const auto* program : {&proto::remote_program(), &proto::qemu_program(), &proto::lxc_program()})
        for (const auto& procedure : program->procedures()) {
            ++count;
            cr_expect(all.contains(key_of(*program, procedure)), "%s is in no row",
                      key_of(*program, procedure).c_str());
        }
    cr_assert_eq(all.size(), count, "a row is about no procedure");
}

Test(groups, differ_from_what_libvirt_says_for_a_reason_only) {
    const auto all = reviewed();
    for (const auto& procedure : proto::remote_program().procedures()) {
        const std::string name(procedure.name);
        const Reviewed& entry = all.find(name)->second;
        if (procedure.kind == proto::ProcedureInfo::Kind::event) {
            cr_expect((entry.groups & k_events) != 0, "%s", name.c_str());
            continue;
        }
        const Annotated said = annotated(procedure);
        const bool reads = (entry.groups & (k_reading | k_events)) != 0;
        cr_expect(reads == said.reads || entry.has_reason, "%s: who reads may %scall it, says libvirt",
                  name.c_str(), said.reads ? "" : "not ");
        // Of all that reads, only what has a reason is not in @read-only; and nothing else is.
        const bool read_only = (entry.groups & k_read_only) != 0;
        if (read_only) cr_expect(said.reads, "%s is for writers", name.c_str());
        if ((entry.groups & k_reading) != 0) cr_expect(read_only || entry.has_reason, "%s", name.c_str());
        for (const auto& [groups, forbidden] : entry.forbidden)
            if ((groups & k_read_only) != 0)
                cr_expect((said.forbidden & ~forbidden) == 0, "%s with flags that are for writers",
                          name.c_str());
    }
}

Test(groups, of_readers_change_nothing_and_see_no_secret) {
    // By name: whatever the annotations say.
    for (const GroupRow& row : group_table()) {
        if ((row.groups & (k_read_only | k_reading)) == 0) continue;
        for (const std::string_view word :
             {"_set_", "_create", "_define_", "_destroy", "_delete", "_attach", "_detach", "_update_",
              "_save_", "_restore", "_migrate_", "_peek", "_agent", "_guest", "_open_", "secret_get_value"})
            cr_expect(row.procedure.find(word) == std::string_view::npos || row.forbidden != 0 ||
                          row.procedure == "domain_has_managed_save_image",
                      "%s", std::string(row.procedure).c_str());
    }
}

Test(groups, have_nothing_that_can_be_granted_to_nobody) {
    for (const std::string_view group : known_groups())
        cr_expect(visit_group(group, false, [&](const auto& program, const auto& procedure, std::uint64_t) {
            cr_expect(!is_denied_for_good(program, procedure), "%s", std::string(procedure.name).c_str());
            cr_expect(!is_passthrough(program, procedure), "%s", std::string(procedure.name).c_str());
        }));
    cr_assert_eq(known_groups().size(), 18);
}

Test(groups, have_flags_that_exist) {
    for (const GroupRow& row : group_table())
        if (row.forbidden != 0)
            cr_expect(
                has_flags_argument(proto::remote_program(), *proto::remote_program().find(row.procedure)),
                "%s", std::string(row.procedure).c_str());
    cr_assert_eq(find_flag("domain_create_with_flags", "VIR_DOMAIN_START_PAUSED"), 1);
    cr_assert_eq(find_flag("domain_create_with_flags", "START_FORCE_BOOT"), 8);
    cr_assert_eq(find_flag("domain_migrate_perform3_params", "UNSAFE"), 512);
    cr_assert_eq(find_flag("storage_vol_delete", "WITH_SNAPSHOTS"), 2);
    cr_assert_eq(find_flag("storage_vol_wipe", "0x10"), 16);
    cr_assert_eq(find_flag("storage_vol_wipe", "*"), ~std::uint64_t{0});
    cr_assert(!find_flag("storage_vol_delete", "START_PAUSED").has_value());
    cr_assert_eq(name_of_flag("domain_get_xml_desc", 1), "VIR_DOMAIN_XML_SECURE");
}
