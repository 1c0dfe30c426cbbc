// SPDX-License-Identifier: LGPL-2.1-or-later
// touch - which kinds of objects a procedure acts on.
//
// A snapshot and a checkpoint count as their domain, a port as its network, a binding of a filter as the
// filter: who may not see the one must not see the other.
//
// Source: the annotations of proto/*.x; which calls name files of the host, or a place to migrate to, is our own
//         reading of libvirt's documentation (touch.cc).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proto/policy.h"
#include "proto/program.h"

namespace virtgate::policy {

// The values are those of proto::policy::ObjectKind.
enum class ObjectKind : std::uint8_t {
    domain,
    network,
    pool,
    volume,
    secret,
    nodedev,
    interface,
    nwfilter,
    path,         // of a file or device of the host, outside of XML
    migrate_uri,  // where to, or where from
    lock,         // of the lock program
};
inline constexpr std::size_t k_kinds = 11;

// A set of kinds, one bit for each.
using KindMask = std::uint16_t;
[[nodiscard]] constexpr KindMask bit(ObjectKind kind) noexcept {
    return static_cast<KindMask>(1U << static_cast<unsigned>(kind));
}

// The kind that libvirt calls `object` in a permission ("storage_vol"), if it is one of ours.
[[nodiscard]] std::optional<ObjectKind> kind_of(std::string_view object) noexcept;

// The name of `kind` in a policy: "volume".
[[nodiscard]] std::string_view to_text(ObjectKind kind) noexcept;
// The kind that a policy calls `word`, if there is one.
[[nodiscard]] std::optional<ObjectKind> parse_kind(std::string_view word) noexcept;

// The kinds of the objects that a call of `procedure` names or gives back one by one. Lists are not among
// them: they are for everybody, and filtered. Of an event: what it is about.
[[nodiscard]] KindMask touched_kinds(const proto::ProcedureInfo& procedure) noexcept;

// The kinds that `procedure` shows or changes in any way, lists included.
[[nodiscard]] KindMask shown_kinds(const proto::ProcedureInfo& procedure) noexcept;

// True if nobody can be allowed `procedure`: to speak for somebody else towards libvirt, and to authenticate to
// it, which the gate serves itself.
[[nodiscard]] bool is_denied_for_good(const proto::ProgramInfo& program,
                                      const proto::ProcedureInfo& procedure) noexcept;

// True if `procedure` passes on what QEMU's monitor or the guest agent understands, which libvirt does not look
// at. Such calls can only be allowed with "allow_monitor_commands".
[[nodiscard]] bool is_passthrough(const proto::ProgramInfo& program,
                                  const proto::ProcedureInfo& procedure) noexcept;

}  // namespace virtgate::policy
