// SPDX-License-Identifier: LGPL-2.1-or-later
// catalogue - every metric that there is: its name, type, unit, labels, meaning, and which processes count it.
//
// Trust:  a sample names its family by number. What a process sends is taken only if its role counts that family.
// Limits: labels have values of our own words, with one exception: an identity's name, which the policy has.
// Source: names and types as OpenMetrics 1.0 wants them: without "_total", which belongs to a counter's samples, and with the
//         unit at the end.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "proto/metrics.h"

namespace virtgate::metrics {

// The number is what travels.
enum class Family : std::uint8_t {
    build,
    exporter_source_up,
    exporter_requests,
    // gates
    connections_accepted,
    connections_refused,
    connections,
    tls_handshakes,
    sessions_begun,
    received_bytes,
    sent_bytes,
    client_calls,
    client_calls_refused,
    client_events,
    open_calls,
    open_streams,
    protocol_errors,
    deadlines_missed,
    // doorman
    admissions,
    logins,
    logins_throttled,
    certificate_expiry,
    // supervisors
    processes,
    process_starts,
    process_crashes,
    process_cpu,
    process_memory,
    process_descriptors,
    configuration_generation,
    configuration_load,
    configuration_reloads,
    drained,
    // broker and workers
    sessions,
    sessions_opened,
    session_refusals,
    sessions_limit,
    policy_generation,
    policy_load,
    policy_reloads,
    policy_identities,
    calls,
    calls_limited,
    worker_crashes,
    // auditor
    audit_records,
    audit_records_lost,
    // locker
    locks,
    lock_spaces,
    lock_fencings,
    count_  // how many there are
};

enum class Type : std::uint8_t { counter, gauge, info };

// Who counts a family: a set of bits.
using Sources = std::uint16_t;
namespace source {
inline constexpr Sources exporter = 1, gate = 2, doorman = 4, netd = 8, broker = 16, worker = 32,
                         auditor = 64, locker = 128;
}  // namespace source

struct Entry {
    Family family{};
    std::string_view name{};  // without "_total" and "_info"
    Type type{};
    std::string_view unit{};  // empty: none; otherwise the end of the name
    std::uint32_t scale = 1;  // a sample's value is in units of 1/scale
    std::array<std::string_view, proto::metrics::k_labels_max> labels{};
    Sources sources{};
    std::string_view help{};

    [[nodiscard]] std::size_t label_count() const noexcept;
};

[[nodiscard]] std::span<const Entry> catalogue() noexcept;
[[nodiscard]] const Entry& entry_of(Family family) noexcept;

// True if a process of these `sources` may send `sample`: a known family of theirs, with as many labels as it has.
[[nodiscard]] bool is_of(const proto::metrics::Sample& sample, Sources sources) noexcept;

// The catalogue for the manual page and for tests: a line for each, fields separated by tabs: the samples' name, type, unit or
// "-", labels separated by commas or "-", sources separated by commas, meaning.
[[nodiscard]] std::string list_catalogue();

}  // namespace virtgate::metrics
