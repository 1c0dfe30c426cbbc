// SPDX-License-Identifier: LGPL-2.1-or-later
// origins - where in the policy files something comes from: which word of which role allows or denies a
// procedure.
//
// The compiled table knows the binding of a grant only; everything else is found by reading the words again,
// one by one. That is slow, and for people.
//
// Trust:  the policy has no errors.
// Owns:   what words mean, once it was asked for; the Source has to outlive it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "policy/complaints.h"
#include "policy/source.h"
#include "policy/words.h"

namespace virtgate::ctl::policy {

// A word in a list of a role.
struct RoleWord {
    std::string text{};            // "@lifecycle"
    virtgate::policy::Place at{};  // no file: the role is built in
    std::string role{};            // in which it is written; a role has the words of those that it includes
};

class Origins {
public:
    explicit Origins(const virtgate::policy::Source& source);

    // The words of `role` because of which it allows the procedure, denies it, denies some of `flags`, or
    // requires flags.
    [[nodiscard]] std::vector<RoleWord> allows(std::string_view role,
                                               const virtgate::policy::ProcedureKey& key);
    [[nodiscard]] std::vector<RoleWord> denies(std::string_view role,
                                               const virtgate::policy::ProcedureKey& key,
                                               std::uint64_t flags);
    [[nodiscard]] std::vector<RoleWord> needs(std::string_view role,
                                              const virtgate::policy::ProcedureKey& key);

    // Where the binding of `grant` names its role, or the binding as a whole.
    [[nodiscard]] virtgate::policy::Place place_of(const proto::policy::Grant& grant) const;
    // Where the identity is defined.
    [[nodiscard]] virtgate::policy::Place place_of(std::string_view identity) const;

private:
    enum class List : std::uint8_t { allow, deny, require };
    struct Word {
        const virtgate::policy::Text* text;
        std::string_view role;
    };
    void collect(std::string_view role, List list, std::vector<Word>& words,
                 std::vector<std::string_view>& seen) const;
    [[nodiscard]] std::vector<Word> words_of(std::string_view role, List list) const;
    const virtgate::policy::RoleRules& meaning_of(const virtgate::policy::Text& word, List list);

    const virtgate::policy::Source& source_;
    virtgate::policy::Complaints ignored_{};
    virtgate::policy::Words words_;
    std::map<std::pair<List, std::string>, virtgate::policy::RoleRules> meanings_{};
};

}  // namespace virtgate::ctl::policy
