// SPDX-License-Identifier: LGPL-2.1-or-later
// learned - a role that allows what somebody did, and no more.
//
// Procedures that were used on the same objects become one role, so that nothing is allowed on an object on
// which it was not used: grants never add up.
//
// Trust:  names in records are clients' choice. They go into the proposal only where libvirt knew them, only
//         as exact names, and never where they could be read as anything else; comments are escaped.
// Limits: memory in proportion to different calls, not to records.
// Owns:   counts and names.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "ctl/audit/entry.h"
#include "ctl/policy/request.h"

namespace virtgate::ctl::policy {

// An object as a policy would name it.
struct LearnedObject {
    std::string kind{};  // "domain"
    std::string text{};  // "web-1" or "uuid:..."
    auto operator<=>(const LearnedObject&) const = default;
};

class Lesson {
public:
    // `with_refused`: what was refused counts as wanted.
    explicit Lesson(bool with_refused) : with_refused_(with_refused) {}

    // Takes one record into account; those that are about no call are passed over.
    void add(const audit::Entry& entry);

    struct Use {
        std::uint64_t count = 0, shadowed = 0, refused = 0;
        std::uint64_t flags = 0;  // all that were set
        audit::Moment last{};
        std::string reason{};  // of the last refusal
    };
    // A role with its objects. Calls that name no object are in the one with an empty set.
    struct Group {
        std::set<LearnedObject> objects{};
        std::map<std::string, Use> procedures{};  // by name: "remote.DOMAIN_CREATE"
    };
    // Those without objects first, then those of most procedures.
    [[nodiscard]] std::vector<Group> groups() const;

    // What is not proposed, and why; for comments, and escaped.
    struct Leftover {
        std::string call{};
        Use use{};
        std::string why{};
    };
    [[nodiscard]] std::vector<Leftover> leftovers() const;

    [[nodiscard]] std::uint64_t calls() const noexcept { return calls_; }
    [[nodiscard]] bool has_reading() const noexcept { return has_reading_; }

private:
    struct Known {
        Use use{};
        std::set<LearnedObject> objects{};
    };
    void leave(const Request& request, const audit::Entry& entry, std::string why);
    bool with_refused_;
    std::uint64_t calls_ = 0;
    bool has_reading_ = false;
    std::map<std::string, Known> procedures_{};
    std::map<std::pair<std::string, std::string>, Use> leftovers_{};  // by call and reason
};

// Where and for whom a proposal is.
struct ProposalFrame {
    std::string identity{};
    std::string role{};  // of the first role; the others get "-2", "-3" behind it
    audit::Moment since{}, until{};
};

// A policy file in TOML, which "virtgate policy check" accepts beside the files that define the identity.
[[nodiscard]] std::string to_toml(const Lesson& lesson, const ProposalFrame& frame);
// {"identity", "since", "until", "calls", "roles": [...], "not_proposed": [...]}, as virtgate-policy(1) says.
[[nodiscard]] nlohmann::ordered_json to_json(const Lesson& lesson, const ProposalFrame& frame);

}  // namespace virtgate::ctl::policy
