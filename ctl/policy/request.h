// SPDX-License-Identifier: LGPL-2.1-or-later
// request - a client and a call, from the words of a command line or of a test case.
//
// Owns: copies of the words.
#pragma once

#include <string>
#include <vector>

#include "libshared/base/result.h"
#include "policy/rights.h"
#include "proto/who.h"

namespace virtgate::ctl::policy {

// What is told of a client; empty: it did not show that.
struct ClientWords {
    std::string identity{};  // the policy's name for it, instead of everything else
    std::string subject{};   // "CN=alice,O=Acme"
    std::vector<std::string> san_dns{};
    std::string sasl{}, mechanism{}, source{}, listener{};
    std::string uid{}, gid{};
    std::uint32_t strength = 256;
};

// What a session of that client would tell the policy. Error: peer's fault, what is wrong with which word.
[[nodiscard]] Result<proto::who::Who> make_who(const ClientWords& words);

struct Request {
    const proto::ProgramInfo* program = nullptr;
    const proto::ProcedureInfo* procedure = nullptr;
    std::uint64_t flags = 0;
    std::vector<std::pair<virtgate::policy::ObjectKind, std::string>> names{};
    std::vector<std::optional<virtgate::policy::Uuid>> uuids{};

    // Views of the names.
    [[nodiscard]] std::vector<virtgate::policy::Object> objects() const;
    // "DOMAIN_CREATE domain=acme-web flags=START_PAUSED"
    [[nodiscard]] std::string describe() const;
};

// PROCEDURE [KIND=NAME]... [flags=FLAG,FLAG]; a UUID follows a name after a comma: domain=web,uuid:....
// Error: peer's fault.
[[nodiscard]] Result<Request> parse_request(const std::vector<std::string>& words);

}  // namespace virtgate::ctl::policy
