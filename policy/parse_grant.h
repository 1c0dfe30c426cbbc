// SPDX-License-Identifier: LGPL-2.1-or-later
// parse_grant - read the [group.NAME], [role.NAME], [[binding]] and [global] of a policy file.
//
//     [group.power]
//     procedures = ["proc:remote.DOMAIN_CREATE", "@lifecycle"]
//
//     [role.operator]
//     include = ["monitor"]
//     allow   = ["@power", "perm:domain:start", "event:DOMAIN_EVENT_CALLBACK_REBOOT"]
//     deny    = ["proc:remote.DOMAIN_UNDEFINE*", "flag:*:VIR_MIGRATE_UNSAFE"]
//     require = ["flag:DOMAIN_MIGRATE_*:VIR_MIGRATE_TLS"]
//     redact  = ["domain:read_secure"]
//     limits  = { calls_per_second = 20, max_payload = "256KiB", idle_timeout = "30m" }
//     audit   = "writes"                              # "none", "denied", "writes", "all"
//     xml     = { forbid = ["qemu:commandline"], paths = ["/srv/vm"] }
//
//     [[binding]]
//     identity = ["alice", "bob"]
//     role     = "operator"
//     objects  = { domain = ["glob:web-*", "uuid:7a0bb41b-68b2-4683-84e5-9502892bea09"], except = ["web-1"] }
//     limits   = { connections = 2 }
//     when     = { listener = ["tls", "local"], not_before = "2026-12-01", not_after = "2026-12-31T18:00:00Z" }
//     shadow   = true
//
//     [global]
//     allow_monitor_commands = true
//     mode = "shadow"                                 # refuse nothing to local clients, and record what would be
//     i_know_this_is_open = true                      # nor to any other
//     limits = { calls_per_second = 200 }
//
// Trust:  files belong to the administrator.
// Limits: those of proto/policy.x. Times are UTC.
#pragma once

#include "policy/parse_tree.h"
#include "policy/source.h"

namespace virtgate::policy {

// What is wrong is told to `reader`; then the results must only be used to know what there is.
[[nodiscard]] GroupSource parse_group(const Text& name, const config::Table& table, TreeReader& reader);
[[nodiscard]] RoleSource parse_role(const Text& name, const config::Table& table, TreeReader& reader);
[[nodiscard]] BindingSource parse_binding(const config::Place& place, const config::Table& table,
                                          TreeReader& reader);
void parse_global(const config::Table& table, TreeReader& reader, GlobalSource& global);

}  // namespace virtgate::policy
