// SPDX-License-Identifier: LGPL-2.1-or-later
// record - one thing that happened, as the auditor writes it: a JSON object, and a sentence for people.
//
// The keys of the object are a contract with everything that reads records (`virtgate audit`, `virtgate policy learn`);
// virtgate-audit(1) lists them. They stand in one order, and what is empty is absent.
//
// Pure. Nothing in here decides anything.
//
// Trust:  names come from clients and may hold any byte. In `json` they are as they came, as values of their own keys;
//         to_line() and the journal's form (journal_entry.h) keep them there. In `message` they are escaped, and in
//         quotes wherever they could be taken for a part of the sentence.
// Limits: those of proto/audit.x and proto/who.x, so that a record has at most some 100 KiB, and usually 600 bytes.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "proto/audit.h"

namespace virtgate::workerd::auditor {

// Since 1970, in UTC.
using Moment = std::chrono::sys_time<std::chrono::microseconds>;
// The machine's clock, or that of a test.
using WallClock = Moment (*)() noexcept;

enum class Kind : std::uint8_t { call, session, session_end, policy, dropped, lock_broken };

struct Record {
    Kind kind = Kind::call;
    int priority = 6;  // of syslog(3): 4 warning, 5 notice, 6 information
    nlohmann::ordered_json json{};
    std::string message{};  // one line, escaped
};

// What records say of a client: of all that the broker tells, the part that an administrator looks for.
struct Client {
    std::string identity{};
    std::string subject{}, fingerprint{};  // of its certificate
    std::string login{}, mechanism{};
    std::optional<proto::who::LocalFacts> local{};  // without groups
    std::string source{};
    std::uint32_t port = 0;
    std::string listener{};
};
[[nodiscard]] Client make_client(const proto::audit::ArrivalArgs& arrival);

// How a call ended, as far as it is known.
enum class Fate : std::uint8_t {
    none,     // it was refused and went nowhere
    done,     // libvirt did it
    error,    // libvirt answered with an error
    lost,     // the session, the worker or the daemon ended before there was an answer
    unknown,  // nobody waits for the answer any more: too many calls were open, or the auditor ended
};

struct Ending {
    Fate fate = Fate::none;
    std::int32_t error = 0;                   // libvirt's number
    std::optional<std::uint64_t> duration{};  // µs from the call to the answer
};

// A call and what became of it; `time` is that of the decision.
[[nodiscard]] Record make_call(Moment time, const Client& client, const proto::audit::DecisionArgs& decision,
                               const Ending& ending);

// A client that came: it got a session, or was refused.
[[nodiscard]] Record make_session(Moment time, const Client& client,
                                  const proto::audit::ArrivalArgs& arrival);

// A session that ended, and how long it lasted.
[[nodiscard]] Record make_session_end(Moment time, const Client& client, std::uint64_t session,
                                      std::chrono::microseconds lasted);

// A policy that came into force ("allowed"), or has errors and did not ("refused").
[[nodiscard]] Record make_policy(Moment time, const proto::audit::PolicyArgs& policy);

// A lock that an administrator broke, or could not break.
[[nodiscard]] Record make_broken(Moment time, const proto::audit::BrokenArgs& broken);

// Records that there should be and are not: `count` of them, 0 if nobody knows how many. `identity` is empty if they
// are of several.
[[nodiscard]] Record make_dropped(Moment time, std::string_view identity, std::uint64_t count,
                                  std::string_view detail);

// One line of JSON in ASCII, with a newline at its end and none before. Bytes that are not UTF-8 become U+FFFD.
[[nodiscard]] std::string to_line(const Record& record);

// "2024-11-21T14:02:11.031337Z"
[[nodiscard]] std::string format_time(Moment time);

}  // namespace virtgate::workerd::auditor
