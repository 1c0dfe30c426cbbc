// SPDX-License-Identifier: LGPL-2.1-or-later
// request - a client and a call, from the words of a command line or of a test case.
//
// Owns: copies of the words.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "libshared/base/result.h"
#include "policy/rights.h"
#include "proto/who.h"

namespace virtgate::ctl::policy {

// Where a client can have come in.
inline constexpr std::array<std::string_view, 4> k_listeners{"tls", "tcp", "unix", "unix-ro"};

// What is told of a client; empty: it did not show that.
struct ClientWords {
    std::string identity{};     // the policy's name for it, instead of everything else
    std::string certificate{};  // a file in PEM form; its first certificate counts
    std::string subject{};      // "CN=alice,O=Acme", instead of a certificate
    std::vector<std::string> san_dns{};
    std::string sasl{}, mechanism{}, source{}, listener{};
    std::string tls{};       // the version; "1.3" is the only one that there is
    std::string strength{};  // bits of its encryption
    std::string uid{}, gid{};

    // True if something says who the client is, so that an identity can be found.
    [[nodiscard]] bool says_who() const noexcept {
        return !certificate.empty() || !subject.empty() || !san_dns.empty() || !sasl.empty() || !uid.empty();
    }
};

// What a session of that client would tell the policy: of a certificate, what doorman would. Error: peer's
// fault, what is wrong with which word; or system's, the file of the certificate cannot be read.
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

// "domain_create", "DOMAIN_CREATE" or "qemu.DOMAIN_MONITOR_COMMAND", with its program. Error: peer's fault.
struct ProcedureWord {
    const proto::ProgramInfo* program = nullptr;
    const proto::ProcedureInfo* procedure = nullptr;
};
[[nodiscard]] Result<ProcedureWord> find_procedure(std::string_view word);

// 32 hexadecimal digits, with or without hyphens.
[[nodiscard]] std::optional<virtgate::policy::Uuid> parse_uuid(std::string_view text);

// PROCEDURE [KIND=NAME]... [flags=FLAG,FLAG]; a UUID follows a name after a comma: domain=web,uuid:....
// Error: peer's fault.
[[nodiscard]] Result<Request> parse_request(const std::vector<std::string>& words);

}  // namespace virtgate::ctl::policy
