// SPDX-License-Identifier: LGPL-2.1-or-later
// statement - what a program of ours says when it has confined itself.
#include "ctl/sandbox/statement.h"

#include <algorithm>
#include <array>
#include <optional>

#include "ctl/inquiry.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::sandbox {

namespace {

constexpr Program k_programs[] = {
    {"netd", "virtgate-netd", "--sandbox", true},
    {"gate", "virtgate-gate", "--sandbox", false},
    {"keeper", "virtgate-keeper", "--sandbox", false},
    {"doorman", "virtgate-doorman", "--sandbox", false},
    {"sasl", "virtgate-sasl", "--sandbox", false},
    {"sasl-exchange", "virtgate-sasl", "--sandbox=exchange", false},
    {"announcer", "virtgate-announcer", "--sandbox", false},
    {"steward", "virtgate-steward", "--sandbox", false},
    {"exporter", "virtgate-exporter", "--sandbox", false},
    {"workerd", "virtgate-workerd", "--sandbox", true},
    {"policy-compile", "virtgate-policy-compile", "--sandbox", false},
    {"worker", "virtgate-worker", "--sandbox", false},
    {"auditor", "virtgate-auditor", "--sandbox", false},
    {"store", "virtgate-store", "--sandbox", false},
    {"lockd", "virtgate-lockd", "--sandbox", true},
    {"locker", "virtgate-locker", "--sandbox", false},
    {"leaser", "virtgate-leaser", "--sandbox", false},
};

std::optional<confine::Layer> layer_called(std::string_view name) noexcept {
    for (unsigned one = 0; one <= static_cast<unsigned>(confine::Layer::filter); ++one)
        if (const auto layer = static_cast<confine::Layer>(one); confine::to_text(layer) == name)
            return layer;
    return {};
}

// The fields of a line; what is not there is empty.
std::array<std::string_view, 4> split(std::string_view line) noexcept {
    std::array<std::string_view, 4> fields;
    for (auto& field : fields) {
        const std::size_t tab = std::min(line.find('\t'), line.size());
        field = &field == &fields.back() ? line : line.substr(0, tab);
        line.remove_prefix(std::min(tab + 1, line.size()));
    }
    return fields;
}

// False if the line is none of a statement.
bool take_line(std::string_view line, Statement& statement) {
    const auto [kind, name, third, fourth] = split(line);
    if (kind == "layer") {
        const auto layer = layer_called(name);
        const bool in_force = third == "in force";
        const bool meant = third != "not meant";
        if (!layer || (!in_force && meant && third != "missing")) return false;
        statement.findings.push_back({*layer, in_force, escape(fourth), meant});
        return true;
    }
    if ((kind != "call" && kind != "refused") || name.empty()) return false;
    Call call{escape(name), escape(third), kind == "refused"};
    if (std::find(statement.calls.begin(), statement.calls.end(), call) == statement.calls.end())
        statement.calls.push_back(std::move(call));
    return true;
}

}  // namespace

std::span<const Program> programs() noexcept { return k_programs; }

State state_of(const Statement& statement, confine::Layer layer) noexcept {
    bool has = false;
    bool lacks = false;
    bool unmeant = false;
    for (const auto& finding : statement.findings) {
        if (finding.layer != layer) continue;
        (!finding.meant ? unmeant : finding.in_force ? has : lacks) = true;
    }
    if (unmeant && !has && !lacks) return State::unmeant;
    return !has ? State::none : lacks ? State::partly : State::whole;
}

Result<Statement> parse_statement(std::string_view process, std::string_view text) {
    Statement statement{.process = std::string(process), .findings = {}, .calls = {}};
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        // What the kernel lacks is also logged, for the readers of logs.
        if (line.starts_with('<')) continue;
        if (!take_line(line, statement))
            return system_fault(
                0, fmt::format("it says \"{}\", which no program of this version does", escape(line)));
    }
    return statement;
}

Result<Statement> ask(const Program& program, const std::string& directory) {
    auto reply = ask_program({.path = fmt::format("{}/{}", directory, program.file),
                              .name = program.name,
                              .arguments = {program.argument},
                              .keeps_capabilities = program.starts_others});
    if (!reply) return wrap(reply.error(), program.file);
    if (!reply->exit.success())
        return system_fault(0, fmt::format("{} {}: {}", program.file, spawn::describe(reply->exit),
                                           escape(last_line(reply->text))));
    auto statement = parse_statement(program.name, reply->text);
    if (!statement) return wrap(statement.error(), program.file);
    return statement;
}

}  // namespace virtgate::ctl::sandbox
