// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - what the daemons have told, for people and for programs.
//
// Pure.
//
// Trust:  what clients have shown of themselves is escaped; a row stays one line.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "proto/control.h"
#include "proto/sessions.h"

namespace virtgate::ctl::admin {

// One session, as the broker knows it, and its connection, as its gate does.
struct Session {
    proto::sessions::ListedSession listed;
    std::optional<proto::control::Connection> connection;  // none: no gate has (told of) it
};
using Sessions = std::vector<Session>;

// By the number of the session, which both know.
[[nodiscard]] Sessions join(std::vector<proto::sessions::ListedSession> sessions,
                            const std::vector<proto::control::Connection>& connections);

struct CertificateState {
    std::string path, subject;
    std::int64_t until = 0;  // seconds since 1970
    std::string problem;     // why nothing is known of it; else empty
};

struct LockState {
    std::size_t locks = 0, spaces = 0, unusable = 0;
};

// Between two looks, in a second.
struct Rates {
    double sessions = 0, calls = 0, bytes_in = 0, bytes_out = 0;
};
// `seconds` apart. What fell, because a gate ended, counts as 0.
[[nodiscard]] Rates find_rates(const proto::control::Counters& before, const proto::control::Counters& now,
                               double seconds) noexcept;

// What is missing does not run, or did not answer: the text beside it says why.
struct Status {
    std::optional<proto::control::StateRet> netd;
    std::optional<proto::control::Counters> counters;
    std::optional<Rates> rates{};  // if there were two looks
    std::vector<CertificateState> certificates;
    std::string netd_problem;
    std::optional<proto::sessions::BrokerRet> workerd;
    std::vector<proto::sessions::ListedWorker> workers;
    std::string workerd_problem;
    std::optional<LockState> lockd;
    std::string lockd_problem;
};

// `now`: seconds since 1970.
[[nodiscard]] std::string status_text(const Status& status, std::int64_t now);
[[nodiscard]] std::string status_json(const Status& status, std::int64_t now);
[[nodiscard]] std::string sessions_text(const Sessions& sessions, std::int64_t now);
[[nodiscard]] std::string sessions_json(const Sessions& sessions);

// Between two looks, `seconds` apart: the most busy sessions first, at most `rows` of them.
struct Look {
    Status status;
    Sessions sessions;
};
[[nodiscard]] std::string top_text(const Look& before, const Look& now, double seconds, std::size_t rows);

}  // namespace virtgate::ctl::admin
