// SPDX-License-Identifier: LGPL-2.1-or-later
// question - may this identity do this, there? What every explanation is about.
//
// Owns:   nothing but the listener's name; everything that it points to has to outlive it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ctl/policy/loaded.h"
#include "ctl/policy/request.h"
#include "policy/rights.h"
#include "policy/table.h"

namespace virtgate::ctl::policy {

struct Question {
    const Loaded& policy;
    const virtgate::policy::Table::Rule& rule;  // of the identity
    const Request& request;
    std::string listener = "tls";
    // As whom the client came; null: only the identity's name was told.
    const proto::who::Who* who = nullptr;
};

// Has all rights below judge times as they would at `seconds` since 1970, instead of now. For the whole command.
void set_as_of(std::int64_t seconds) noexcept;

// The rights of the identity of `rule` at `listener`, now or at the time of set_as_of().
[[nodiscard]] virtgate::policy::Rights rights_of(const virtgate::policy::Table::Rule& rule,
                                                 const std::string& listener);
// The same with other grants than the rule's: for "what if".
[[nodiscard]] virtgate::policy::Rights rights_of(const virtgate::policy::Table::Rule& rule,
                                                 std::vector<proto::policy::Grant> grants,
                                                 const std::string& listener);

// What `rights` say about the call. If it takes XML: about one with XML that names nothing of the host.
[[nodiscard]] virtgate::policy::Decision judge(const virtgate::policy::Rights& rights,
                                               const Request& request);

// True if libvirt takes the call from a connection that is for reading, as all of the listener "unix-ro" are.
// Where it depends on more than flags: no.
[[nodiscard]] bool is_for_readers(const Request& request) noexcept;

// "FILE:LINE:COLUMN", escaped; or "(built in)".
[[nodiscard]] std::string say_place(const virtgate::policy::Place& place);

}  // namespace virtgate::ctl::policy
