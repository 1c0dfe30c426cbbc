// SPDX-License-Identifier: LGPL-2.1-or-later
// grant - questions to a single grant of a compiled policy: what it allows and denies, on which objects, when.
//
// The rules are here once, in their plain form; Rights finds the grants to ask quickly, and `virtgate policy
// explain` asks them one by one.
//
// Trust:  grants come from the policy compiler. Names and UUIDs are what libvirt will act on, as the worker has
//         resolved them; still, names are a client's choice.
// Limits: time in proportion to the grant; no allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "policy/touch.h"
#include "proto/policy.h"
#include "proto/program.h"

namespace virtgate::policy {

using Uuid = std::array<std::byte, 16>;

// What libvirt will act on (resolved), never a client's claim. The name of a volume is "POOL/VOLUME", of a
// secret its usage. Views: they have to live as long as the call that gets them.
struct Object {
    ObjectKind kind = ObjectKind::domain;
    std::string_view name{};
    std::optional<Uuid> uuid{};
};

// What to assume where it cannot be known whether a rule holds: a UUID that the worker does not have, a
// listener that is not known. A grant that allows is then taken as not holding, one that denies as holding.
enum class Doubt : bool { does_not_hold, holds };

// True if `ceiling` has that procedure.
[[nodiscard]] bool has(const proto::who::Ceiling& ceiling, const proto::ProgramInfo& program,
                       std::uint32_t procedure) noexcept;

// True if the object fits `pattern`, which is of its kind.
[[nodiscard]] bool matches(const proto::policy::ObjectPattern& pattern, const Object& object,
                           Doubt doubt) noexcept;

// True if `object` is one that the grant is about.
[[nodiscard]] bool covers(const proto::policy::Grant& grant, const Object& object, Doubt doubt) noexcept;

// The kinds that the grant mentions, and those of which it covers every object, whatever its name.
[[nodiscard]] KindMask mentioned_kinds(const proto::policy::Grant& grant) noexcept;
[[nodiscard]] KindMask open_kinds(const proto::policy::Grant& grant) noexcept;

// True if the grant, which has the procedure, allows it with `flags`.
[[nodiscard]] bool flags_fit(const proto::policy::Grant& grant, const proto::ProgramInfo& program,
                             std::uint32_t procedure, std::uint64_t flags) noexcept;

// The bits of `flags` that the grant denies in calls of the procedure.
[[nodiscard]] std::uint64_t denied_flags(const proto::policy::Grant& grant, const proto::ProgramInfo& program,
                                         std::uint32_t procedure) noexcept;

// True if libvirt refuses to a connection for reading none of the calls of the procedure that the grant, which has it,
// allows.
[[nodiscard]] bool only_reads(const proto::policy::Grant& grant, const proto::ProgramInfo& program,
                              const proto::ProcedureInfo& procedure) noexcept;

// True if it is for clients of `listener`; an empty one is not known.
[[nodiscard]] bool is_for_listener(const proto::policy::Grant& grant, std::string_view listener,
                                   Doubt doubt) noexcept;

// True if it holds at `now`, in seconds since 1970.
[[nodiscard]] bool is_in_time(const proto::policy::Grant& grant, std::int64_t now) noexcept;

}  // namespace virtgate::policy
