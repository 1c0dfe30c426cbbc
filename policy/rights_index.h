// SPDX-License-Identifier: LGPL-2.1-or-later
// rights_index - finds the grants that matter for a decision, without looking at the others.
//
// Grants are known by their place in the identity's list, which is sorted: the smaller number is the one to name.
//   of procedures: which grants are about all objects that a procedure touches ("wide")
//   of objects:    exact names and UUIDs are hashed, globs are found by what stands before their first wildcard, or, where
//                  that is nothing, behind their last
//
// Owns: the grants, and tables that point into them.
#pragma once

#include <bitset>
#include <string>
#include <unordered_map>

#include "policy/rights.h"

namespace virtgate::policy {

// A grant and what is asked of it often.
struct Facts {
    const proto::policy::Grant* grant = nullptr;
    KindMask mentioned = 0;
    KindMask open = 0;
    KindMask shown = 0;      // kinds that one of its procedures shows or changes
    bool may_live = false;   // it can allow: not on probation, and for this listener
    bool deny_live = false;  // it can deny: likewise, or the listener is not known
    bool is_timed = false;
    bool has_xml = false;  // it has rules about XML
};

// The grants whose patterns of one kind an object may fit.
class ObjectTable {
public:
    struct Hit {
        std::uint32_t grant;
        const proto::policy::ObjectPattern* pattern;
    };
    void add(std::uint32_t grant, const proto::policy::ObjectPattern& pattern);

    // Calls `visit(grant)` for each grant with a pattern that the object fits, perhaps more than once. Not in order.
    // Patterns of UUIDs are passed over if the object has none: has_uuids() tells whether there are any.
    template <class Visit>
    void each(const Object& object, Visit&& visit) const {
        if (const auto found = exact_.find(object.name); found != exact_.end())
            for (const std::uint32_t grant : found->second) visit(grant);
        if (object.uuid && !uuids_.empty()) {
            const Digits digits = digits_of(*object.uuid);
            if (const auto found = uuids_.find({digits.data(), digits.size()}); found != uuids_.end())
                for (const std::uint32_t grant : found->second) visit(grant);
        }
        const auto try_hits = [&](std::span<const Hit> hits) {
            for (const Hit& hit : hits)
                if (matches(*hit.pattern, object, Doubt::does_not_hold)) visit(hit.grant);
        };
        const std::string_view name = object.name;
        for (std::size_t length = 0; length < heads_.lengths.size() && length <= name.size(); ++length)
            if (heads_.lengths[length]) try_hits(heads_.find(name.substr(0, length)));
        for (std::size_t length = 1; length < tails_.lengths.size() && length <= name.size(); ++length)
            if (tails_.lengths[length]) try_hits(tails_.find(name.substr(name.size() - length)));
    }
    [[nodiscard]] bool has_uuids() const noexcept { return !uuids_.empty(); }

private:
    using Digits = std::array<char, 32>;
    [[nodiscard]] static Digits digits_of(const Uuid& uuid) noexcept;
    std::unordered_map<std::string_view, std::vector<std::uint32_t>> exact_;
    std::unordered_map<std::string_view, std::vector<std::uint32_t>> uuids_;
    // Patterns by the literal text at one end of them.
    struct Affixes {
        std::unordered_map<std::string_view, std::vector<Hit>> hits{};
        std::vector<bool> lengths{};  // those that there are
        void add(std::string_view affix, Hit hit);
        [[nodiscard]] std::span<const Hit> find(std::string_view affix) const {
            const auto found = hits.find(affix);
            return found == hits.end() ? std::span<const Hit>{} : found->second;
        }
    };
    Affixes heads_, tails_;  // a pattern is in one of them
};

// What is known of one procedure.
struct Cell {
    Rights::Need need = Rights::Need::refused;
    bool is_known = false;  // the procedure is there
    bool is_hard = false;   // denied for good
    bool is_allowed_somewhere = false;
    bool has_narrow_may = false;   // a grant allows it that is not about all objects
    bool has_narrow_deny = false;  // likewise
    bool takes_xml = false;        // and a grant that allows it, or would, has rules about that
    KindMask touched = 0;
    // Grants that allow it on all objects, or deny it on all; in order, up to the first that does so without further
    // conditions.
    std::vector<std::uint32_t> wide_may{};
    std::vector<std::uint32_t> wide_deny{};
};

struct Rights::Index {
    Index(proto::policy::IdentityRights given, Circumstances given_circumstances);

    [[nodiscard]] const Cell* find(const proto::ProgramInfo& program, std::uint32_t procedure) const noexcept;
    [[nodiscard]] std::int64_t now() const noexcept;

    const proto::policy::IdentityRights rights;
    const std::string listener;
    const Circumstances::Clock clock;
    std::vector<Facts> facts{};
    std::vector<std::uint32_t> shadows{};
    std::array<ObjectTable, k_kinds> objects{};
    std::array<std::vector<std::uint32_t>, k_kinds> open{};  // grants about all objects of the kind
    std::array<bool, k_kinds> sees_all{};
    KindMask shown = 0;  // kinds of which something can be seen
    bool has_redactions = false;
    bool only_reads = true;  // no grant that may_live has more than reading
    proto::policy::AuditLevel audit = proto::policy::AuditLevel::audit_none;

private:
    struct Program {
        const proto::ProgramInfo* info = nullptr;
        std::vector<Cell> cells{};  // by the procedure's number
    };
    void read_grant(std::uint32_t number);
    void fill(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure, Cell& cell);
    void find_seen();
    std::vector<Program> programs_{};
};

}  // namespace virtgate::policy
