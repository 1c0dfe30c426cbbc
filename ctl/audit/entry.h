// SPDX-License-Identifier: LGPL-2.1-or-later
// entry - one record of the auditor, as it is read back from its file.
//
// The keys of the JSON objects are a contract with workerd/auditor/record.cc; virtgate-audit(1) lists them.
//
// Trust:  the auditor has written the line, but names in it are clients' choice and may hold anything: what is shown
//         has to pass escape() (libshared/base/bytes.h). A file can be of another version: a key that is not
//         known is passed over, one that has another type than it should is taken as absent.
// Limits: the line's; whoever reads bounds its length.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace virtgate::ctl::audit {

// Since 1970, in UTC.
using Moment = std::chrono::sys_time<std::chrono::microseconds>;

// What a call was about.
struct Object {
    std::string kind{};  // as in a policy: "domain", "volume"
    std::string name{};  // may be empty
    std::string uuid{};  // with hyphens; may be empty
    bool known = false;  // as libvirt calls it; false: as the client did

    bool operator==(const Object&) const = default;
};

// What is absent in the record is absent here.
struct Entry {
    Moment time{};         // of the decision, also where the record was written when the call had ended
    std::string record{};  // "call", "session", "session-end", "policy", "lock-broken" or "dropped"

    std::optional<std::string> verdict{};  // "allowed", "refused" or "shadowed"
    std::optional<std::string> reason{};   // of what is not allowed: "object", "no-binding", ...

    std::optional<std::string> identity{};
    std::optional<std::uint64_t> session{};
    std::optional<std::string> subject{};
    std::optional<std::string> fingerprint{};
    std::optional<std::string> login{};
    std::optional<std::string> mechanism{};
    std::optional<std::uint64_t> uid{};
    std::optional<std::uint64_t> gid{};
    std::optional<std::uint64_t> pid{};
    std::optional<std::string> source{};
    std::optional<std::uint64_t> port{};
    std::optional<std::string> listener{};

    std::optional<std::string> program{};    // "remote", "qemu", "lxc" or "lock"
    std::optional<std::string> procedure{};  // "DOMAIN_DESTROY"
    std::uint64_t flags = 0;
    std::vector<Object> objects{};
    std::uint64_t more_objects = 0;  // that the record has no room for

    std::optional<std::string> role{};
    std::optional<std::string> rule{};  // "20-bindings.toml:12"
    std::optional<std::string> detail{};
    std::optional<std::string> owner{};  // of a lock that was broken
    std::optional<std::string> shadow_role{};
    std::optional<std::string> shadow_rule{};
    std::optional<std::uint64_t> generation{};
    std::optional<std::uint64_t> serial{};
    std::optional<std::uint64_t> decision_us{};
    std::optional<std::uint64_t> duration_us{};
    std::optional<std::string> result{};  // "done", "error", "lost" or "unknown"
    std::optional<std::int64_t> error{};  // libvirt's number
    std::optional<std::uint64_t> dropped{};
};

// The record in `line`, which has no newline. Empty if it is not a JSON object with a time and a kind of record.
[[nodiscard]] std::optional<Entry> parse_entry(std::string_view line);

}  // namespace virtgate::ctl::audit
