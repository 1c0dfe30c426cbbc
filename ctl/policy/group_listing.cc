// SPDX-License-Identifier: LGPL-2.1-or-later
// group_listing - the built-in groups of procedures, and what is in one.
#include "ctl/policy/group_listing.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ctl/policy/json.h"
#include "ctl/policy/words.h"
#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "policy/group_table.h"
#include "policy/groups.h"

namespace virtgate::ctl::policy {

namespace {

// What the reviewed list says about the procedure as a member of the group, or in general.
std::string_view remark_on(std::string_view group, const proto::ProgramInfo& program,
                           const proto::ProcedureInfo& procedure) {
    virtgate::policy::GroupMask mask = 0;
    for (const auto& each : virtgate::policy::group_names())
        if (each.name == group) mask = each.group;
    const std::string spelt = program.name == "remote" ? std::string(procedure.name)
                                                       : fmt::format("{}.{}", program.name, procedure.name);
    std::string_view remark;
    for (const auto& row : virtgate::policy::group_table())
        if (row.procedure == spelt && !row.reason.empty() && (remark.empty() || (row.groups & mask) != 0))
            remark = row.reason;
    return remark;
}

}  // namespace

std::string list_groups(bool json) {
    Json list = Json::array();
    std::string text;
    for (const std::string_view name : virtgate::policy::known_groups()) {
        std::size_t count = 0;
        static_cast<void>(virtgate::policy::visit_group(name, false, [&](auto&&...) { ++count; }));
        list.push_back({{"group", name}, {"procedures", count}});
        text += fmt::format("{:<24} {} procedures\n", name, count);
    }
    return json ? to_text(Json{{"groups", list}}) : text;
}

Result<std::string> list_group(std::string_view name, bool json) {
    Json list = Json::array();
    std::string text;
    const bool is_group =
        virtgate::policy::visit_group(name, false,
                                      [&](const proto::ProgramInfo& program,
                                          const proto::ProcedureInfo& procedure, std::uint64_t forbidden) {
                                          const std::string spelt = say_procedure(program, procedure);
                                          const std::string flags = say_flags(procedure.name, forbidden);
                                          const std::string_view remark = remark_on(name, program, procedure);
                                          Json one{{"procedure", spelt}};
                                          text += spelt;
                                          if (!flags.empty()) {
                                              one["without"] = flags;
                                              text += " without " + flags;
                                          }
                                          if (!remark.empty()) {
                                              one["remark"] = remark;
                                              text += fmt::format("   # {}", remark);
                                          }
                                          text += '\n';
                                          list.push_back(std::move(one));
                                      });
    if (!is_group)
        return peer_fault(fmt::format("there is no built-in group \"{}\"{}", escape(name, 64),
                                      did_you_mean(name, virtgate::policy::known_groups())));
    return json ? to_text(Json{{"group", name}, {"procedures", list}}) : text;
}

}  // namespace virtgate::ctl::policy
