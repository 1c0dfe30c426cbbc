// SPDX-License-Identifier: LGPL-2.1-or-later
// catalogue - every metric that there is.
#include "libshared/metrics/catalogue.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace virtgate::metrics {

namespace {

using enum Type;
namespace from = source;
constexpr Sources k_supervisors = from::netd | from::broker;

constexpr Entry k_catalogue[] = {
    {.family = Family::build,
     .name = "virtgate_build",
     .type = info,
     .labels = {"version"},
     .sources = from::exporter,
     .help = "The version of virtgate that exports this; always 1."},
    {.family = Family::exporter_source_up,
     .name = "virtgate_exporter_source_up",
     .type = gauge,
     .labels = {"source"},
     .sources = from::exporter | from::broker,
     .help = "1 if that process has answered: netd (gates, doorman, supervisor), workerd (broker, workers) "
             "or lockd. What a "
             "source at 0 counts is missing."},
    {.family = Family::exporter_requests,
     .name = "virtgate_exporter_requests",
     .type = counter,
     .labels = {"status"},
     .sources = from::exporter,
     .help = "Requests that the exporter has answered, by HTTP status."},
    {.family = Family::connections_accepted,
     .name = "virtgate_connections_accepted",
     .type = counter,
     .labels = {"listener"},
     .sources = from::gate,
     .help = "Connections of clients that were accepted, refused ones among them."},
    {.family = Family::connections_refused,
     .name = "virtgate_connections_refused",
     .type = counter,
     .labels = {"listener", "reason"},
     .sources = from::gate,
     .help = "Connections that ended before a session. Reasons: source-limit (its source had too many), "
             "handshake (TLS failed), "
             "denied (certificate, login or policy), deadline, left (the client went), closed (by an "
             "administrator), system."},
    {.family = Family::connections,
     .name = "virtgate_connections",
     .type = gauge,
     .labels = {"listener", "stage"},
     .sources = from::gate,
     .help = "Connections now, by stage: arriving, login or session."},
    {.family = Family::tls_handshakes,
     .name = "virtgate_tls_handshakes",
     .type = counter,
     .labels = {"result"},
     .sources = from::gate,
     .help = "TLS handshakes that were complete (ok) or failed (failed). None is a resumption: every client "
             "proves who it is anew."},
    {.family = Family::sessions_begun,
     .name = "virtgate_sessions_begun",
     .type = counter,
     .labels = {"listener"},
     .sources = from::gate,
     .help = "Sessions that gates have begun."},
    {.family = Family::received_bytes,
     .name = "virtgate_received_bytes",
     .type = counter,
     .unit = "bytes",
     .labels = {"listener"},
     .sources = from::gate,
     .help = "Bytes of clients in sessions, inside TLS."},
    {.family = Family::sent_bytes,
     .name = "virtgate_sent_bytes",
     .type = counter,
     .unit = "bytes",
     .labels = {"listener"},
     .sources = from::gate,
     .help = "Bytes to clients in sessions, inside TLS."},
    {.family = Family::client_calls,
     .name = "virtgate_client_calls",
     .type = counter,
     .labels = {"listener"},
     .sources = from::gate,
     .help = "Calls of clients that a gate has passed on to a worker."},
    {.family = Family::client_calls_refused,
     .name = "virtgate_client_calls_refused",
     .type = counter,
     .sources = from::gate,
     .help = "Calls that a gate has refused for their form; no byte of them reached a worker."},
    {.family = Family::client_events,
     .name = "virtgate_client_events",
     .type = counter,
     .sources = from::gate,
     .help = "Events that gates have passed on to clients."},
    {.family = Family::open_calls,
     .name = "virtgate_open_calls",
     .type = gauge,
     .sources = from::gate,
     .help = "Calls now without an answer."},
    {.family = Family::open_streams,
     .name = "virtgate_open_streams",
     .type = gauge,
     .sources = from::gate,
     .help = "Streams that are open now."},
    {.family = Family::protocol_errors,
     .name = "virtgate_protocol_errors",
     .type = counter,
     .labels = {"peer"},
     .sources = from::gate,
     .help = "Sessions that a gate has ended because a client, or a worker, broke the protocol."},
    {.family = Family::deadlines_missed,
     .name = "virtgate_deadlines_missed",
     .type = counter,
     .labels = {"deadline"},
     .sources = from::gate,
     .help = "Clients that were closed because they were late: handshake, authentication, login, frame or "
             "keepalive."},
    {.family = Family::admissions,
     .name = "virtgate_admissions",
     .type = counter,
     .labels = {"listener", "result"},
     .sources = from::doorman,
     .help =
         "What doorman has decided about clients: granted, login (they have to log in first) or refused."},
    {.family = Family::logins,
     .name = "virtgate_logins",
     .type = counter,
     .labels = {"mechanism", "result"},
     .sources = from::doorman,
     .help = "Logins with SASL, by mechanism: ok or failed. A mechanism that is not offered counts as "
             "\"other\"."},
    {.family = Family::logins_throttled,
     .name = "virtgate_logins_throttled",
     .type = counter,
     .sources = from::doorman,
     .help =
         "Of the failed logins, those that were refused unseen because their source had failed too often."},
    {.family = Family::certificate_expiry,
     .name = "virtgate_certificate_expiry_timestamp_seconds",
     .type = gauge,
     .unit = "seconds",
     .labels = {"certificate"},
     .sources = from::doorman,
     .help = "When what is in force ends, in seconds since 1970, the first of several: server (with its "
             "chain), ca, or crl (nextUpdate of "
             "the revocation list)."},
    {.family = Family::processes,
     .name = "virtgate_processes",
     .type = gauge,
     .labels = {"process"},
     .sources = k_supervisors,
     .help = "Processes that run now, by kind."},
    {.family = Family::process_starts,
     .name = "virtgate_process_starts",
     .type = counter,
     .labels = {"process"},
     .sources = k_supervisors,
     .help = "Processes that were started, by kind."},
    {.family = Family::process_crashes,
     .name = "virtgate_process_crashes",
     .type = counter,
     .labels = {"process"},
     .sources = k_supervisors,
     .help = "Processes that ended by a signal nobody had asked for, or with an error, by kind."},
    {.family = Family::process_cpu,
     .name = "virtgate_process_cpu_seconds",
     .type = counter,
     .unit = "seconds",
     .scale = 1000,
     .labels = {"process"},
     .sources = k_supervisors,
     .help = "CPU time of all processes of that kind, also of those that have ended."},
    {.family = Family::process_memory,
     .name = "virtgate_process_resident_memory_bytes",
     .type = gauge,
     .unit = "bytes",
     .labels = {"process"},
     .sources = k_supervisors,
     .help = "Resident memory of the processes of that kind."},
    {.family = Family::process_descriptors,
     .name = "virtgate_process_open_fds",
     .type = gauge,
     .labels = {"process"},
     .sources = k_supervisors,
     .help = "Open descriptors of the processes of that kind. Absent before Linux 6.2."},
    {.family = Family::configuration_generation,
     .name = "virtgate_configuration_generation",
     .type = gauge,
     .sources = from::netd,
     .help = "Which reading of netd's configuration and certificates serves."},
    {.family = Family::configuration_load,
     .name = "virtgate_configuration_load_timestamp_seconds",
     .type = gauge,
     .unit = "seconds",
     .sources = from::netd,
     .help = "When that came into force, in seconds since 1970."},
    {.family = Family::configuration_reloads,
     .name = "virtgate_configuration_reloads",
     .type = counter,
     .labels = {"result"},
     .sources = from::netd,
     .help = "Readings of netd's configuration, the first among them: ok, or failed (everything stayed as it "
             "was)."},
    {.family = Family::drained,
     .name = "virtgate_drained",
     .type = gauge,
     .sources = from::netd,
     .help = "1 while an administrator lets nobody in (virtgate drain)."},
    {.family = Family::sessions,
     .name = "virtgate_sessions",
     .type = gauge,
     .labels = {"identity"},
     .sources = from::broker,
     .help = "Sessions now, by identity of the policy."},
    {.family = Family::sessions_opened,
     .name = "virtgate_sessions_opened",
     .type = counter,
     .labels = {"identity"},
     .sources = from::broker,
     .help = "Sessions that the broker has opened, by identity of the policy."},
    {.family = Family::session_refusals,
     .name = "virtgate_session_refusals",
     .type = counter,
     .labels = {"reason"},
     .sources = from::broker,
     .help = "Clients with a proof that got no session: no-identity, ambiguous, limit or system."},
    {.family = Family::sessions_limit,
     .name = "virtgate_sessions_limit",
     .type = gauge,
     .sources = from::broker,
     .help = "The limit \"sessions\" of workerd.toml."},
    {.family = Family::policy_generation,
     .name = "virtgate_policy_generation",
     .type = gauge,
     .sources = from::broker,
     .help = "How often a policy came into force; 0: there is none."},
    {.family = Family::policy_load,
     .name = "virtgate_policy_load_timestamp_seconds",
     .type = gauge,
     .unit = "seconds",
     .sources = from::broker,
     .help = "When the policy came into force, in seconds since 1970."},
    {.family = Family::policy_reloads,
     .name = "virtgate_policy_reloads",
     .type = counter,
     .labels = {"result"},
     .sources = from::broker,
     .help = "Policies that were read, the first among them: ok, or failed (the one before stayed)."},
    {.family = Family::policy_identities,
     .name = "virtgate_policy_identities",
     .type = gauge,
     .sources = from::broker,
     .help = "Identities of the policy in force."},
    {.family = Family::calls,
     .name = "virtgate_calls",
     .type = counter,
     .labels = {"identity", "program", "result"},
     .sources = from::worker,
     .help = "Calls that workers have judged: forwarded (to a libvirt daemon, the store or a program of "
             "others), denied (by the "
             "policy or for their form) or failed (forwarded, and answered with an error: counted in both)."},
    {.family = Family::calls_limited,
     .name = "virtgate_calls_limited",
     .type = counter,
     .labels = {"identity"},
     .sources = from::worker,
     .help = "Of the denied calls, those that were over a limit of the policy (calls per second)."},
    {.family = Family::worker_crashes,
     .name = "virtgate_worker_crashes",
     .type = counter,
     .sources = from::broker,
     .help = "Workers that crashed, or had to be stopped, while they served somebody."},
    {.family = Family::audit_records,
     .name = "virtgate_audit_records",
     .type = counter,
     .sources = from::auditor,
     .help = "Records that the auditor has written."},
    {.family = Family::audit_records_lost,
     .name = "virtgate_audit_records_lost",
     .type = counter,
     .sources = from::auditor | from::worker,
     .help = "Decisions of which there is no record."},
    {.family = Family::locks,
     .name = "virtgate_locks",
     .type = gauge,
     .labels = {"kind"},
     .sources = from::locker,
     .help = "Resources that are locked now: file (locked itself), directory or etcd (a lock space)."},
    {.family = Family::lock_spaces,
     .name = "virtgate_lock_spaces",
     .type = gauge,
     .labels = {"kind", "state"},
     .sources = from::locker,
     .help = "Lock spaces: usable, or lost (its directory, or its lease in etcd, is gone)."},
    {.family = Family::lock_fencings,
     .name = "virtgate_lock_fencings",
     .type = counter,
     .sources = from::locker,
     .help = "Owners that the locker has ended because they had lost a lock, or gave up their connection."},
};

constexpr bool is_in_order() {
    for (std::size_t i = 0; i < std::size(k_catalogue); ++i)
        if (static_cast<std::size_t>(k_catalogue[i].family) != i) return false;
    return std::size(k_catalogue) == static_cast<std::size_t>(Family::count_) &&
           std::size(k_catalogue) <= proto::metrics::k_families_max;
}
static_assert(is_in_order(), "the catalogue has another order than its families");

std::string sources_of(Sources sources) {
    constexpr std::pair<Sources, std::string_view> k_names[] = {
        {from::exporter, "exporter"}, {from::gate, "gate"},      {from::doorman, "doorman"},
        {from::netd, "netd"},         {from::broker, "workerd"}, {from::worker, "worker"},
        {from::auditor, "auditor"},   {from::locker, "lockd"}};
    std::string text;
    for (const auto& [bit, name] : k_names)
        if ((sources & bit) != 0) text += fmt::format("{}{}", text.empty() ? "" : ",", name);
    return text;
}

}  // namespace

std::size_t Entry::label_count() const noexcept {
    return static_cast<std::size_t>(
        std::count_if(labels.begin(), labels.end(), [](std::string_view label) { return !label.empty(); }));
}

std::span<const Entry> catalogue() noexcept { return k_catalogue; }
const Entry& entry_of(Family family) noexcept { return k_catalogue[static_cast<std::size_t>(family)]; }

bool is_of(const proto::metrics::Sample& sample, Sources sources) noexcept {
    if (sample.family >= std::size(k_catalogue)) return false;
    const Entry& entry = k_catalogue[sample.family];
    return (entry.sources & sources) != 0 && sample.labels.size() == entry.label_count();
}

std::string list_catalogue() {
    constexpr std::string_view k_types[] = {"counter", "gauge", "info"};
    constexpr std::string_view k_suffixes[] = {"_total", "", "_info"};
    std::string text;
    for (const Entry& entry : k_catalogue) {
        std::string labels;
        for (const std::string_view label : entry.labels)
            if (!label.empty()) labels += fmt::format("{}{}", labels.empty() ? "" : ",", label);
        const auto type = static_cast<std::size_t>(entry.type);
        text += fmt::format("{}{}\t{}\t{}\t{}\t{}\t{}\n", entry.name, k_suffixes[type], k_types[type],
                            entry.unit.empty() ? "-" : entry.unit, labels.empty() ? "-" : labels,
                            sources_of(entry.sources), entry.help);
    }
    return text;
}

}  // namespace virtgate::metrics
