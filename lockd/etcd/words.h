// SPDX-License-Identifier: LGPL-2.1-or-later
// words - what etcd's JSON gateway is asked, and what it answers.
//
// Trust:  answers come from the network, over TLS or not: each is judged by its form before anything of it is
//         used.
// Limits: k_reply_max bytes of JSON at a time.
// Source: etcd 3.4, api_grpc_gateway: the JSON mapping of its protocol buffers, version 3. 64-bit numbers are
//         decimal texts, bytes are base64, and what is zero, false or empty is left out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libshared/base/result.h"

namespace virtgate::lockd::etcd {

inline constexpr std::size_t k_reply_max = std::size_t{16} << 20;

using Revision = std::uint64_t;
using LeaseId = std::uint64_t;

struct KeyValue {
    std::string key{}, value{};
    Revision create_revision = 0, mod_revision = 0;
    LeaseId lease = 0;
};

// A key; with an end, all from it up to that, which is not among them.
struct Range {
    std::string key{}, end{};
};

// All keys that begin with `prefix`, which is not empty.
[[nodiscard]] Range all_beneath(const std::string& prefix);

// One thing that has to hold, of all keys in the range, for a transaction to succeed. Of a key that is not
// there all numbers are 0.
struct Compare {
    enum class Of : unsigned char { create_revision, mod_revision };
    enum class Is : unsigned char { equal, greater };
    Range range{};
    Of of = Of::create_revision;
    Is is = Is::equal;
    Revision number = 0;
};

struct Operation {
    enum class Kind : unsigned char { range, put, remove };
    Kind kind = Kind::range;
    Range range{};
    std::string value{};  // of put
    LeaseId lease = 0;    // of put
};

struct Transaction {
    std::vector<Compare> compares;
    std::vector<Operation> success, failure;
};

// Bodies of requests.
[[nodiscard]] std::string write_grant(std::uint32_t ttl);
[[nodiscard]] std::string write_keep_alive(LeaseId lease);
[[nodiscard]] std::string write_range(const Range& range, std::uint32_t limit);
[[nodiscard]] std::string write_transaction(const Transaction& transaction);
// Of a watch: keys of `range` that are deleted, beginning with what happened at `from`.
[[nodiscard]] std::string write_watch(const Range& range, Revision from);
[[nodiscard]] std::string write_authenticate(const std::string& user, const std::string& password);

// An answer of whatever kind: what it lacks is empty.
struct Reply {
    Revision revision = 0;  // of the store, when it was answered
    LeaseId lease = 0;
    std::int64_t ttl = 0;  // s; 0 or less: there is no such lease
    bool succeeded = false;
    std::vector<std::vector<KeyValue>>
        results{};                 // of a transaction: one for each operation; keys of ranges only
    std::vector<KeyValue> keys{};  // of a range
    bool more = false;             // there are more than the limit
    std::string token{};           // of authenticate
};
// Error: peer's fault, what is wrong with it.
[[nodiscard]] Result<Reply> read_reply(std::string_view json);

// One line of a watch.
struct Notice {
    bool cancelled = false;
    Revision compacted = 0;  // not 0: what was asked for is not known any more, only what came from here on
    std::vector<KeyValue> deleted{};  // only keys and mod_revision
};
[[nodiscard]] Result<Notice> read_notice(std::string_view json);

// An answer with another status than 200.
struct Refusal {
    int code = 0;  // of gRPC
    std::string text{};
};
[[nodiscard]] Refusal read_refusal(std::string_view json, long http_status);

// Codes of gRPC that matter here.
inline constexpr int k_not_found = 5;
inline constexpr int k_unauthenticated = 16;
// True if that code says for certain that nothing was done. After others it may have been done, or be done
// yet.
[[nodiscard]] bool is_definite(const Refusal& refusal) noexcept;

}  // namespace virtgate::lockd::etcd
