// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - what the daemons have told, for people and for programs.
#include "ctl/admin/listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "ctl/locks/listing.h"
#include "ctl/tools/table.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::admin {

namespace control = proto::control;
using Json = nlohmann::ordered_json;
using tools::Row;

namespace {

constexpr std::int64_t k_day = 86'400;

std::string age(std::int64_t since, std::int64_t now) { return locks::describe_age(now - since); }

std::string_view word_of(control::Life life) {
    switch (life) {
        case control::Life::life_starting: return "starting";
        case control::Life::life_serving: return "serving";
        case control::Life::life_draining: return "draining";
        case control::Life::life_stopping: return "stopping";
    }
    return "?";
}

std::string where_from(const proto::sessions::ListedSession& session) {
    if (session.has_peer) return fmt::format("uid {} pid {}", session.uid, session.pid);
    const char* const form = session.source.find(':') == std::string::npos ? "{}:{}" : "[{}]:{}";
    return fmt::format(fmt::runtime(form), escape(session.source), session.source_port);
}

std::string dump(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

std::int64_t days_left(const CertificateState& certificate, std::int64_t now) {
    const std::int64_t left = certificate.until - now;
    return left >= 0 ? left / k_day : -((-left + k_day - 1) / k_day);
}

void add_netd(std::string& text, const Status& status, std::int64_t now) {
    if (!status.netd) {
        text += status.netd_problem + "\n";
        return;
    }
    const control::StateRet& netd = *status.netd;
    text += fmt::format("virtgate-netd {}: process {}, since {}, configuration read {} times\n",
                        escape(netd.version), netd.pid, age(netd.since, now), netd.generation);
    if (netd.drained)
        text += netd.drained_until != 0
                    ? fmt::format("  DRAINED: nobody is let in; who is left in {} s is ended\n",
                                  std::max<std::int64_t>(0, netd.drained_until - now))
                    : "  DRAINED: nobody is let in\n";
    text += "  listens:";
    for (const auto& [name, where] : {std::pair{"TLS", &netd.tls}, {"TCP", &netd.tcp}, {"UNIX", &netd.local}})
        if (!where->empty()) text += fmt::format(" {} {}", name, escape(*where));
    text += "\n";
    if (status.counters) {
        const control::Counters& count = *status.counters;
        text += fmt::format(
            "  clients: {} ({} not let in yet; at most {} and {}), {} calls open\n"
            "  since the gates started: {} connections ({} closed: too many of their source), {} sessions, "
            "{} calls, "
            "{} in, {} out\n",
            count.connections, count.arrivals, netd.bounds.connections, netd.bounds.arrivals,
            count.open_calls, count.accepted, count.crowded, count.sessions, count.calls,
            tools::show_size(count.bytes_in), tools::show_size(count.bytes_out));
    }
    if (const auto& rates = status.rates)
        text += fmt::format("  in a second: {:.1f} sessions, {:.1f} calls, {} in, {} out\n", rates->sessions,
                            rates->calls, tools::show_size(static_cast<std::uint64_t>(rates->bytes_in)),
                            tools::show_size(static_cast<std::uint64_t>(rates->bytes_out)));
    std::vector<Row> rows{{{"PROCESS"}, {"PID"}, {"STATE"}, {"SINCE"}, {"STARTS"}}};
    for (const control::Process& process : netd.processes)
        rows.push_back({{escape(process.name)},
                        {process.pid != 0 ? fmt::to_string(process.pid) : "-"},
                        {std::string(word_of(process.life))},
                        {process.pid != 0 ? age(process.since, now) : "-"},
                        {fmt::to_string(process.starts)}});
    text += tools::align(rows, false);
    for (const CertificateState& certificate : status.certificates)
        text += certificate.problem.empty()
                    ? fmt::format("certificate {}: {}, {} days left\n", escape(certificate.path),
                                  escape(certificate.subject), days_left(certificate, now))
                    : fmt::format("certificate {}: {}\n", escape(certificate.path), certificate.problem);
}

void add_workerd(std::string& text, const Status& status, std::int64_t now) {
    if (!status.workerd) {
        text += status.workerd_problem + "\n";
        return;
    }
    const auto& broker = *status.workerd;
    text += fmt::format("virtgate-workerd {}: process {}, since {}\n", escape(broker.version), broker.pid,
                        age(broker.since, now));
    text += broker.policy != 0
                ? fmt::format("  policy: number {}, since {}, {} identities{}\n", broker.policy,
                              age(broker.policy_since, now), broker.identities,
                              broker.policy_refused ? "; the one in the files now is WRONG" : "")
                : std::string("  policy: NONE that could be used: everybody is refused\n");
    text += fmt::format(
        "  sessions: {} of at most {}; since the start {} opened, {} clients refused, {} crashes of "
        "workers\n",
        broker.sessions, broker.sessions_max, broker.opened, broker.refused, broker.crashes);
    if (status.workers.empty()) return;
    std::vector<Row> rows{{{"WORKER OF"}, {"PID"}, {"SESSIONS"}, {"SINCE"}}};
    for (const auto& worker : status.workers)
        rows.push_back({{tools::show(worker.identity)},
                        {worker.pid != 0 ? fmt::to_string(worker.pid) : "-"},
                        {fmt::to_string(worker.sessions)},
                        {worker.refused != 0 ? fmt::format("crashed: no session for {} s", worker.refused)
                         : worker.pid != 0   ? age(worker.since, now)
                                             : "-"}});
    text += tools::align(rows, false);
}

Json json_of(const control::StateRet& netd) {
    Json processes = Json::array();
    for (const control::Process& process : netd.processes)
        processes.push_back({{"name", process.name},
                             {"pid", process.pid},
                             {"since", process.since},
                             {"starts", process.starts},
                             {"generation", process.generation},
                             {"state", word_of(process.life)}});
    constexpr std::string_view k_levels[] = {"debug", "info", "warning", "error"};
    return {{"version", netd.version},
            {"pid", netd.pid},
            {"since", netd.since},
            {"generation", netd.generation},
            {"drained", netd.drained},
            {"drained_until", netd.drained_until != 0 ? Json(netd.drained_until) : Json(nullptr)},
            {"tls", netd.tls},
            {"tcp", netd.tcp},
            {"unix", netd.local},
            {"log_level", k_levels[std::min<std::size_t>(netd.log_level, 3)]},
            {"connections_max", netd.bounds.connections},
            {"arrivals_max", netd.bounds.arrivals},
            {"processes", processes}};
}

Json json_of(const control::Counters& count) {
    return {{"connections", count.connections},
            {"arrivals", count.arrivals},
            {"open_calls", count.open_calls},
            {"accepted", count.accepted},
            {"crowded", count.crowded},
            {"sessions", count.sessions},
            {"calls", count.calls},
            {"bytes_in", count.bytes_in},
            {"bytes_out", count.bytes_out}};
}

Json json_of(const proto::sessions::BrokerRet& broker) {
    return {{"version", broker.version},
            {"pid", broker.pid},
            {"since", broker.since},
            {"policy",
             {{"generation", broker.policy},
              {"since", broker.policy_since},
              {"identities", broker.identities},
              {"refused", broker.policy_refused}}},
            {"sessions", broker.sessions},
            {"sessions_max", broker.sessions_max},
            {"opened", broker.opened},
            {"refused", broker.refused},
            {"crashes", broker.crashes}};
}

// What did not answer.
Json problem(const std::string& text) { return {{"error", text}}; }

}  // namespace

Sessions join(std::vector<proto::sessions::ListedSession> sessions,
              const std::vector<control::Connection>& connections) {
    std::unordered_map<std::uint64_t, const control::Connection*> by_session;
    for (const control::Connection& connection : connections)
        if (connection.session != 0) by_session.emplace(connection.session, &connection);
    Sessions joined;
    for (auto& session : sessions) {
        const auto found = by_session.find(session.session);
        // What a gate says of somebody else's session is not believed.
        const bool fits = found != by_session.end() && found->second->identity == session.identity;
        joined.push_back({.listed = std::move(session), .connection = std::nullopt});
        if (fits) joined.back().connection = *found->second;
    }
    return joined;
}

std::string status_text(const Status& status, std::int64_t now) {
    std::string text;
    add_netd(text, status, now);
    add_workerd(text, status, now);
    if (status.lockd)
        text += fmt::format(
            "virtgate-lockd: {} locks in {} lock spaces{}\n", status.lockd->locks, status.lockd->spaces,
            status.lockd->unusable != 0 ? fmt::format(", {} of them NOT USABLE", status.lockd->unusable)
                                        : "");
    else
        text += status.lockd_problem + "\n";
    return text;
}

std::string status_json(const Status& status, std::int64_t now) {
    Json netd = status.netd ? json_of(*status.netd) : problem(status.netd_problem);
    if (status.netd) {
        netd["clients"] = status.counters ? json_of(*status.counters) : Json(nullptr);
        if (const auto& rates = status.rates)
            netd["rates"] = {{"sessions", rates->sessions},
                             {"calls", rates->calls},
                             {"bytes_in", rates->bytes_in},
                             {"bytes_out", rates->bytes_out}};
        netd["certificates"] = Json::array();
        for (const CertificateState& one : status.certificates)
            netd["certificates"].push_back(one.problem.empty()
                                               ? Json{{"path", one.path},
                                                      {"subject", one.subject},
                                                      {"until", one.until},
                                                      {"days_left", days_left(one, now)}}
                                               : Json{{"path", one.path}, {"error", one.problem}});
    }
    Json workerd = status.workerd ? json_of(*status.workerd) : problem(status.workerd_problem);
    if (status.workerd) {
        workerd["workers"] = Json::array();
        for (const auto& worker : status.workers)
            workerd["workers"].push_back({{"identity", worker.identity},
                                          {"pid", worker.pid != 0 ? Json(worker.pid) : Json(nullptr)},
                                          {"since", worker.since},
                                          {"sessions", worker.sessions},
                                          {"refused_for", worker.refused}});
    }
    const Json lockd = status.lockd ? Json{{"locks", status.lockd->locks},
                                           {"spaces", status.lockd->spaces},
                                           {"unusable_spaces", status.lockd->unusable}}
                                    : problem(status.lockd_problem);
    return dump({{"netd", netd}, {"workerd", workerd}, {"lockd", lockd}});
}

std::string sessions_text(const Sessions& sessions, std::int64_t now) {
    if (sessions.empty()) return "There are no sessions.\n";
    std::vector<Row> rows{
        {{"SESSION"}, {"IDENTITY"}, {"FROM"}, {"BY"}, {"SINCE"}, {"CALLS"}, {"OPEN"}, {"IN"}, {"OUT"}}};
    for (const Session& session : sessions) {
        const auto& listed = session.listed;
        const auto& connection = session.connection;
        rows.push_back(
            {{fmt::to_string(listed.session)},
             {tools::show(listed.identity)},
             {where_from(listed)},
             {escape(listed.listener) + (listed.login.empty() ? "" : ", login " + tools::show(listed.login))},
             {listed.ending ? "ends" : age(listed.since, now)},
             {connection ? fmt::to_string(connection->calls) : "?"},
             {connection ? fmt::to_string(connection->open_calls) : "?"},
             {connection ? tools::show_size(connection->bytes_in) : "?"},
             {connection ? tools::show_size(connection->bytes_out) : "?"}});
    }
    return tools::align(rows, false);
}

std::string sessions_json(const Sessions& sessions) {
    Json list = Json::array();
    for (const Session& session : sessions) {
        const auto& listed = session.listed;
        Json row{
            {"session", listed.session},
            {"identity", listed.identity},
            {"since", listed.since},
            {"listener", listed.listener},
            {"source", listed.source.empty() ? Json(nullptr) : Json(listed.source)},
            {"source_port", listed.source_port},
            {"certificate", listed.certificate.empty() ? Json(nullptr) : Json(listed.certificate)},
            {"login", listed.login.empty() ? Json(nullptr) : Json(listed.login)},
            {"mechanism", listed.mechanism.empty() ? Json(nullptr) : Json(listed.mechanism)},
            {"peer", listed.has_peer ? Json{{"uid", listed.uid}, {"gid", listed.gid}, {"pid", listed.pid}}
                                     : Json(nullptr)},
            {"read_only", listed.read_only},
            {"worker", listed.worker},
            {"ending", listed.ending},
            {"connection", nullptr}};
        if (session.connection)
            row["connection"] = {{"id", session.connection->id},
                                 {"gate", session.connection->gate},
                                 {"calls", session.connection->calls},
                                 {"open_calls", session.connection->open_calls},
                                 {"open_streams", session.connection->open_streams},
                                 {"bytes_in", session.connection->bytes_in},
                                 {"bytes_out", session.connection->bytes_out}};
        list.push_back(std::move(row));
    }
    return dump({{"sessions", list}});
}

Rates find_rates(const control::Counters& before, const control::Counters& now, double seconds) noexcept {
    const auto rate = [&](std::uint64_t then, std::uint64_t later) {
        return later > then ? static_cast<double>(later - then) / seconds : 0.0;
    };
    return {.sessions = rate(before.sessions, now.sessions),
            .calls = rate(before.calls, now.calls),
            .bytes_in = rate(before.bytes_in, now.bytes_in),
            .bytes_out = rate(before.bytes_out, now.bytes_out)};
}

std::string top_text(const Look& before, const Look& now, double seconds, std::size_t rows) {
    const auto rate = [&](std::uint64_t then, std::uint64_t later) {
        return later > then ? static_cast<double>(later - then) / seconds : 0.0;
    };
    const auto size = [](double bytes) { return tools::show_size(static_cast<std::uint64_t>(bytes)) + "/s"; };
    std::string text;
    const auto& count = now.status.counters;
    if (count && before.status.counters)
        text += fmt::format("{} clients ({} not let in yet), {} calls open, {:.0f} calls/s, {} in, {} out\n",
                            count->connections, count->arrivals, count->open_calls,
                            rate(before.status.counters->calls, count->calls),
                            size(rate(before.status.counters->bytes_in, count->bytes_in)),
                            size(rate(before.status.counters->bytes_out, count->bytes_out)));
    else
        text += now.status.netd_problem + "\n";
    if (now.status.workerd)
        text += fmt::format("{} sessions, {} workers, policy {}\n\n", now.status.workerd->sessions,
                            now.status.workerd->workers, now.status.workerd->policy);
    else
        text += now.status.workerd_problem + "\n\n";
    std::unordered_map<std::uint64_t, const control::Connection*> earlier;
    for (const Session& session : before.sessions)
        if (session.connection) earlier.emplace(session.listed.session, &*session.connection);
    struct Busy {
        const Session* session;
        double calls, in, out;
    };
    std::vector<Busy> busy;
    for (const Session& session : now.sessions) {
        const auto found = earlier.find(session.listed.session);
        if (!session.connection || found == earlier.end()) {
            busy.push_back({&session, 0, 0, 0});
            continue;
        }
        const control::Connection &a = *found->second, &b = *session.connection;
        busy.push_back(
            {&session, rate(a.calls, b.calls), rate(a.bytes_in, b.bytes_in), rate(a.bytes_out, b.bytes_out)});
    }
    std::stable_sort(busy.begin(), busy.end(), [](const Busy& a, const Busy& b) {
        return a.calls != b.calls ? a.calls > b.calls : a.in + a.out > b.in + b.out;
    });
    if (busy.size() > rows) busy.resize(rows);
    std::vector<Row> table{{{"SESSION"}, {"IDENTITY"}, {"FROM"}, {"CALLS/S"}, {"OPEN"}, {"IN"}, {"OUT"}}};
    for (const Busy& one : busy)
        table.push_back(
            {{fmt::to_string(one.session->listed.session)},
             {tools::show(one.session->listed.identity)},
             {where_from(one.session->listed)},
             {fmt::format("{:.0f}", one.calls)},
             {one.session->connection ? fmt::to_string(one.session->connection->open_calls) : "?"},
             {size(one.in)},
             {size(one.out)}});
    return text + tools::align(table, false);
}

}  // namespace virtgate::ctl::admin
