// SPDX-License-Identifier: LGPL-2.1-or-later
// table - the compiled policy: which identity is this client?
//
// Pure: what a client proved goes in, a rule with its reason comes out. A test is compared with one value at
// a time, so no rule can match across the border of two of them: a CN "x,CN=admin" is not a CN "admin".
//
// Trust:  what the client proved comes from doorman, which took names from a verified certificate, from a
//         SASL exchange or from the kernel; their text is the client's. The table was made by the policy
//         compiler and is decoded like any input.
// Limits: time in proportion to rules times the client's names.
// Owns:   the table.
#pragma once

#include "libshared/base/bytes.h"
#include "libshared/base/result.h"
#include "proto/policy.h"
#include "proto/who.h"

namespace virtgate::policy {

class Table {
public:
    using Rule = proto::policy::IdentityRule;

    // A table that lets nobody in.
    Table() = default;
    explicit Table(proto::policy::PolicyTable rules) noexcept : rules_(std::move(rules)) {}

    // The table in the compiler's output. Error: system's fault, with what is wrong with it.
    [[nodiscard]] static Result<Table> decode(ByteView bytes);

    // The rules that `who` matches. No rule: the client is unknown. Two: it is refused, because the order of
    // rules means nothing, and so neither can win. They live as long as the table.
    struct Match {
        const Rule* rule = nullptr;
        const Rule* other = nullptr;
    };
    [[nodiscard]] Match match(const proto::who::Who& who) const noexcept;

    // The rule of that name, or null.
    [[nodiscard]] const Rule* find(std::string_view identity) const noexcept;

    // What a worker has to know of the identity `name`, in the policy of that generation. No grants if there is no such
    // identity.
    [[nodiscard]] proto::policy::IdentityRights rights_of(std::string_view name,
                                                          std::uint64_t generation) const;

    [[nodiscard]] const std::vector<Rule>& rules() const noexcept { return rules_.identities; }
    [[nodiscard]] std::size_t identities() const noexcept { return rules_.identities.size(); }

private:
    proto::policy::PolicyTable rules_{};
};

// True if `who` passes `rule`. A rule that does not say who the client is, by a certificate, a login or a
// local user, is passed by nobody: it could only have come from a compiler that is broken.
[[nodiscard]] bool fulfils(const proto::who::Who& who, const Table::Rule& rule) noexcept;

// True if `test` says who the client is, and not only where it comes from.
[[nodiscard]] bool identifies(const proto::policy::ClientTest& test) noexcept;

}  // namespace virtgate::policy
