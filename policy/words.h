// SPDX-License-Identifier: LGPL-2.1-or-later
// words - from the words of a role ("proc:remote.DOMAIN_CREATE") to procedures and flags.
//
//     @GROUP                  a built-in group (group_table.h) or a [group.NAME]
//     proc:PROGRAM.NAME       a call of the program remote, qemu, lxc or lock, or of one of programs.d; may end in *
//     perm:OBJECT:PERMISSION  calls for which libvirt asks for this permission, and others that the role has
//     event:NAME              an event; may end in *
//     flag:PROC:FLAG          bits of "flags", in "deny" and "require"; PROC may be * or end in one
//
// Names are in upper or lower case.
//
// Trust:  the words are the administrator's.
// Source: permissions are libvirt's annotations in proto/*.x, but where group_table says that they are wrong.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "policy/complaints.h"
#include "policy/source.h"
#include "proto/program.h"

namespace virtgate::policy {

// Forbidden and needed bits of "flags"; of several, one has to hold.
struct FlagBits {
    std::uint64_t forbidden = 0;
    std::uint64_t needed = 0;
    bool operator==(const FlagBits&) const = default;
};

// A procedure: program, in one version, and number.
struct ProcedureKey {
    const proto::ProgramInfo* program = nullptr;
    std::uint32_t number = 0;
    bool operator<(const ProcedureKey& other) const noexcept {
        return std::tie(program->number, program->version, number) <
               std::tie(other.program->number, other.program->version, other.number);
    }
};

// What a role says, with every word looked up. Includes add to it.
struct RoleRules {
    std::map<ProcedureKey, std::vector<FlagBits>> may{};  // bits of 0: without conditions
    std::set<ProcedureKey> deny{};
    std::map<ProcedureKey, std::uint64_t> denied_flags{};
    std::map<ProcedureKey, std::uint64_t> required{};
    std::set<std::pair<std::string, std::string>> permissions{};  // object and permission, of "allow"
    bool is_frank = false;  // it has @admin, so that nobody has to be told that it is powerful
};

// The names of all programs that a role can be about: "remote, qemu, lxc or lock".
[[nodiscard]] std::string list_programs();

class Words {
public:
    // `groups` and `complaints` have to live as long as this. With `passthrough`, words can mean calls that pass on
    // what the monitor or the agent understands.
    Words(const std::vector<GroupSource>& groups, bool passthrough, Complaints& complaints);

    // While it is so, nothing is complained about: the words have been read before.
    void be_silent(bool silent) noexcept { silent_ = silent; }

    // Adds what the word means.
    void allow(const Text& word, RoleRules& rules);
    void deny(const Text& word, RoleRules& rules);
    void require(const Text& word, RoleRules& rules);
    // When all words are there: what follows from all permissions together, and from what is required.
    static void finish(RoleRules& rules, bool passthrough);

    // Tells of groups that no word named.
    void report_unused();

private:
    struct Meaning {
        std::map<ProcedureKey, std::vector<FlagBits>> procedures{};
        std::set<std::pair<std::string, std::string>> permissions{};
        bool is_frank = false;
    };
    void error(const Place& at, std::string_view text) {
        is_wrong_ = true;
        if (!silent_) complaints_.error(at, text);
    }
    void warning(const Place& at, std::string_view text) {
        if (!silent_) complaints_.warning(at, text);
    }
    // What the word means; good until the next call.
    [[nodiscard]] const Meaning& meaning_of(const Text& word);
    void find(const Text& word, Meaning& meaning, std::vector<std::string_view>& within);
    void find_group(const Text& word, Meaning& meaning, std::vector<std::string_view>& within);
    void find_procedure(const Text& word, Meaning& meaning, bool events);
    void find_permission(const Text& word, Meaning& meaning);
    void find_flags(const Text& word, std::map<ProcedureKey, std::uint64_t>& flags);

    std::map<std::string_view, const GroupSource*> groups_;
    std::set<std::string_view> used_;
    const bool passthrough_;
    Complaints& complaints_;
    bool silent_ = false;
    bool is_wrong_ = false;  // something was wrong with the word that is looked up
    std::map<std::string, Meaning, std::less<>> meanings_;
    Meaning wrong_;
};

}  // namespace virtgate::policy
