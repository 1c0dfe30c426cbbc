// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - what was found out about the confinement, for people and for programs.
#include "ctl/sandbox/listing.h"

#include <fmt/format.h>
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace virtgate::ctl::sandbox {

namespace {

using Json = nlohmann::ordered_json;
using confine::Layer;

// Those that a program can say something about, in the order of the steps. What descriptors a process has depends on who
// starts it.
constexpr struct {
    Layer layer;
    const char* heading;
} k_columns[] = {
    {Layer::namespaces, "spaces"},
    {Layer::capabilities, "caps"},
    {Layer::bounding_set, "bound"},
    {Layer::dumpable, "mem"},
    {Layer::no_new_privileges, "privs"},
    {Layer::files, "files"},
    {Layer::tcp, "TCP"},
    {Layer::scope, "scope"},
    {Layer::writable_code, "code"},
    {Layer::sealed_memory, "seal"},
    {Layer::limits, "limit"},
    {Layer::filter, "calls"},
};

using Line = std::vector<std::string>;

// In columns, with `gap` between them; of the columns before `left` the words begin at the same place, of others they
// end there.
std::string align(const std::vector<Line>& lines, std::size_t left, std::string_view gap = "  ") {
    std::vector<std::size_t> widths;
    for (const Line& line : lines) {
        widths.resize(std::max(widths.size(), line.size()));
        for (std::size_t i = 0; i < line.size(); ++i)
            widths.at(i) = std::max(widths.at(i), line.at(i).size());
    }
    std::string text;
    for (const Line& line : lines) {
        for (std::size_t i = 0; i < line.size(); ++i) {
            const std::string padding(widths.at(i) - line.at(i).size(), ' ');
            if (i != 0) text += gap;
            text += i < left ? line.at(i) + padding : padding + line.at(i);
        }
        text.erase(text.find_last_not_of(' ') + 1);
        text += '\n';
    }
    return text;
}

std::size_t count_calls(const Statement& statement) {
    std::set<std::string_view> names;
    for (const Call& call : statement.calls)
        if (!call.refused) names.insert(call.name);
    return names.size();
}

std::string cell(const Statement& statement, Layer layer) {
    switch (state_of(statement, layer)) {
        case State::none: return "no";
        case State::partly: return "partly";
        case State::unmeant: return "-";
        case State::whole: break;
    }
    return layer == Layer::filter ? fmt::format("{}", count_calls(statement)) : "yes";
}

std::string list_statements(const std::vector<Statement>& statements) {
    std::vector<Line> lines{{"program"}};
    for (const auto& column : k_columns) lines.front().emplace_back(column.heading);
    for (const Statement& statement : statements) {
        Line& line = lines.emplace_back(Line{statement.process});
        for (const auto& column : k_columns) line.push_back(cell(statement, column.layer));
    }
    return align(lines, 1, " ");  // to fit a terminal of 80 columns
}

// Nothing of `layer` is missing that this program is to have.
bool has_what_is_meant(const Statement& statement, Layer layer) {
    const State state = state_of(statement, layer);
    return state == State::whole || state == State::unmeant;
}

// Why something of `layer` is missing, if it is.
std::string reason_of(const Statement& statement, Layer layer) {
    for (const auto& finding : statement.findings)
        if (finding.layer == layer && !finding.in_force) return finding.detail;
    return statement.findings.empty() ? "this build has sanitizers, which need what a confinement takes away"
                                      : "the program does not say why";
}

// What is in force of `layer`: "ABI 7". May be empty.
std::string details_of(const Statement& statement, Layer layer) {
    std::string text;
    for (const auto& finding : statement.findings)
        if (finding.layer == layer && finding.in_force && !finding.detail.empty())
            text += (text.empty() ? "" : ", ") + finding.detail;
    return text;
}

// Each reason once, with the layer and those whom it concerns. Empty if nothing is missing.
std::string list_missing(const Findings& findings) {
    std::map<std::pair<std::string, std::string>, std::string> concerned;
    for (const auto& column : k_columns)
        for (const Statement& statement : findings.statements) {
            if (has_what_is_meant(statement, column.layer)) continue;
            const char* heading = statement.findings.empty() ? "all" : column.heading;
            std::string& names = concerned[{heading, reason_of(statement, column.layer)}];
            if (names.ends_with(statement.process)) continue;
            names += (names.empty() ? "" : ", ") + statement.process;
        }
    std::string text;
    for (const auto& [what, names] : concerned)
        text += fmt::format("  {}: {} ({})\n", what.first, what.second, names);
    return text;
}

std::string list_running(const std::vector<Running>& running) {
    if (running.empty()) return "No process of virtgate runs here, or none that may be seen.\n";
    std::vector<Line> lines{{"process", "pid", "uid", "threads", "privs", "filters", "CapEff", "CapBnd"}};
    for (const Running& one : running) {
        const auto& status = one.status;
        // A kernel that does not count filters says so by the mode alone.
        const std::uint64_t filters =
            std::max<std::uint64_t>(status.filters, status.seccomp_mode == 2 ? 1 : 0);
        lines.push_back({one.name, fmt::format("{}", one.pid), fmt::format("{}", status.uids[1]),
                         fmt::format("{}", status.threads), status.no_new_privileges == 1 ? "closed" : "open",
                         fmt::format("{}", filters), fmt::format("{:x}", status.effective),
                         fmt::format("{:x}", status.bounding)});
    }
    return align(lines, 1);
}

Json describe_calls(const Statement& statement, bool refused) {
    Json rows = Json::array();
    for (const Call& call : statement.calls)
        if (call.refused == refused) rows.push_back({{"name", call.name}, {"reason", call.reason}});
    return rows;
}

Json describe(const Statement& statement, const Machine& machine) {
    Json layers = Json::array();
    for (const auto& column : k_columns) {
        const State state = state_of(statement, column.layer);
        Json row{{"name", confine::to_text(column.layer)},
                 {"in_force", state == State::whole},
                 {"offered", offers(machine, column.layer)},
                 {"meant", state != State::unmeant}};
        if (state == State::unmeant)
            row["unmeant"] = reason_of(statement, column.layer);
        else if (state != State::whole)
            row["missing"] = reason_of(statement, column.layer);
        else if (const std::string how = details_of(statement, column.layer); !how.empty())
            row["how"] = how;
        layers.push_back(std::move(row));
    }
    return {{"name", statement.process},
            {"layers", std::move(layers)},
            {"calls", describe_calls(statement, false)},
            {"refused", describe_calls(statement, true)}};
}

Json describe(const Running& one) {
    const auto& status = one.status;
    return {{"pid", one.pid},
            {"name", one.name},
            {"uid", status.uids[1]},
            {"threads", status.threads},
            {"no_new_privileges", status.no_new_privileges == 1},
            {"seccomp_mode", status.seccomp_mode},
            {"filters", status.filters},
            {"capabilities_effective", fmt::format("{:016x}", status.effective)},
            {"capabilities_bounding", fmt::format("{:016x}", status.bounding)},
            {"confined", one.is_confined()}};
}

}  // namespace

bool Findings::is_complete() const noexcept {
    const bool whole = std::all_of(statements.begin(), statements.end(), [&](const Statement& statement) {
        return std::all_of(std::begin(k_columns), std::end(k_columns), [&](const auto& column) {
            return !offers(machine, column.layer) || has_what_is_meant(statement, column.layer);
        });
    });
    return whole &&
           std::all_of(running.begin(), running.end(), [](const Running& one) { return one.is_confined(); });
}

std::string list_findings(const Findings& findings) {
    const Machine& machine = findings.machine;
    std::string text = fmt::format("{}, {}, Landlock {}\n", machine.kernel, machine.library,
                                   machine.landlock == 0 ? "none" : fmt::format("ABI {}", machine.landlock));
    const auto lacks = find_lacks(machine);
    text += lacks.empty() ? "This kernel has all that virtgate makes use of.\n"
                          : fmt::format("This kernel lacks: {}.\n", fmt::join(lacks, "; "));
    text += "\n" + list_statements(findings.statements);
    if (const std::string missing = list_missing(findings); !missing.empty())
        text += "\nNot in force:\n" + missing;
    text += "\n" + list_running(findings.running);
    return text;
}

std::string list_calls(const std::vector<Statement>& statements) {
    std::string text;
    for (const Statement& statement : statements) {
        std::vector<Line> lines;
        for (const Call& call : statement.calls)
            lines.push_back({"  " + call.name, (call.refused ? "refused: " : "") + call.reason});
        std::stable_sort(lines.begin(), lines.end(),
                         [](const Line& a, const Line& b) { return a.front() < b.front(); });
        if (!text.empty()) text += '\n';
        text += fmt::format("{}: {} system calls\n", statement.process, count_calls(statement));
        text += align(lines, 2);
    }
    return text;
}

std::string to_json(const Findings& findings) {
    const Machine& machine = findings.machine;
    Json all{{"kernel", machine.kernel},
             {"library", machine.library},
             {"landlock_abi", machine.landlock},
             {"lacks", find_lacks(machine)},
             {"complete", findings.is_complete()}};
    all["programs"] = Json::array();
    for (const Statement& statement : findings.statements)
        all["programs"].push_back(describe(statement, machine));
    all["running"] = Json::array();
    for (const Running& one : findings.running) all["running"].push_back(describe(one));
    return all.dump(2) + "\n";
}

std::string calls_to_json(const std::vector<Statement>& statements) {
    Json all = Json::object();
    for (const Statement& statement : statements)
        all[statement.process] = {{"calls", describe_calls(statement, false)},
                                  {"refused", describe_calls(statement, true)}};
    return all.dump(2) + "\n";
}

}  // namespace virtgate::ctl::sandbox
