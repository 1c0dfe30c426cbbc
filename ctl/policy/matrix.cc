// SPDX-License-Identifier: LGPL-2.1-or-later
// matrix - who may do what, as a table for reviews.
#include "ctl/policy/matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ctl/policy/json.h"
#include "ctl/policy/question.h"
#include "ctl/policy/words.h"
#include "libshared/base/bytes.h"
#include "policy/glob.h"
#include "policy/groups.h"
#include "proto/programs.h"

namespace virtgate::ctl::policy {

using proto::ProcedureInfo;
using proto::ProgramInfo;
using virtgate::policy::Rights;
using virtgate::policy::Table;

namespace {

struct Called {
    const ProgramInfo* program;
    const ProcedureInfo* procedure;
};
struct RowPlan {
    std::string name;
    std::vector<Called> calls;
};

std::vector<Called> calls_of_group(std::string_view group, bool& is_group) {
    std::vector<Called> calls;
    is_group = virtgate::policy::visit_group(
        group, true, [&](const ProgramInfo& program, const ProcedureInfo& procedure, std::uint64_t) {
            const bool is_call = procedure.kind == ProcedureInfo::Kind::call;
            const bool is_there = std::any_of(
                calls.begin(), calls.end(), [&](const Called& each) { return each.procedure == &procedure; });
            if (is_call && !is_there) calls.push_back({&program, &procedure});
        });
    return calls;
}

// The procedures that a word means.
Result<std::vector<Called>> calls_of(const std::string& word) {
    std::vector<Called> calls;
    if (word.starts_with('@')) {
        bool is_group = false;
        calls = calls_of_group(word, is_group);
        if (!is_group) return peer_fault(fmt::format("there is no built-in group \"{}\"", escape(word, 64)));
        return calls;
    }
    if (word.find('*') == word.npos) {
        const auto found = find_procedure(word);
        if (!found) return tl::unexpected(found.error());
        return std::vector<Called>{{found->program, found->procedure}};
    }
    const std::string pattern = word.find('.') == word.npos ? "remote." + word : word;
    for (const auto* program : proto::session_programs())
        for (const ProcedureInfo& procedure : program->procedures())
            if (procedure.kind == ProcedureInfo::Kind::call &&
                virtgate::policy::matches_glob(to_upper(pattern),
                                               to_upper(say_procedure(*program, procedure))))
                calls.push_back({program, &procedure});
    if (calls.empty()) return peer_fault(fmt::format("no procedure fits \"{}\"", escape(word, 64)));
    return calls;
}

Result<std::vector<RowPlan>> plan(const std::vector<std::string>& words) {
    std::vector<RowPlan> rows;
    if (words.empty()) {
        for (const std::string_view name : virtgate::policy::known_groups()) {
            bool is_group = false;
            rows.push_back({std::string(name), calls_of_group(name, is_group)});
        }
        return rows;
    }
    for (const std::string& word : words) {
        const auto calls = calls_of(word);
        if (!calls) return tl::unexpected(calls.error());
        for (const Called& call : *calls)
            rows.push_back({say_procedure(*call.program, *call.procedure), {call}});
    }
    return rows;
}

// A grant that is about no object of a kind that the procedure needs allows nothing.
bool is_allowed_somewhere(const Rights& rights, const Called& call, const std::string& listener) {
    using namespace virtgate::policy;
    const KindMask touched = touched_kinds(*call.procedure);
    return std::any_of(rights.grants().begin(), rights.grants().end(),
                       [&](const proto::policy::Grant& grant) {
                           return !grant.shadow && has(grant.may, *call.program, call.procedure->number) &&
                                  is_for_listener(grant, listener, Doubt::does_not_hold) &&
                                  (touched & ~mentioned_kinds(grant) & ~bit(ObjectKind::path)) == 0;
                       });
}

void count(const Rights& rights, const Called& call, const std::string& listener, Matrix::Cell& cell) {
    switch (rights.need(*call.program, *call.procedure)) {
        case Rights::Need::refused: break;
        case Rights::Need::allowed: ++cell.always; break;
        case Rights::Need::flags: ++cell.flags; break;
        case Rights::Need::objects:
            if (is_allowed_somewhere(rights, call, listener)) ++cell.objects;
            break;
    }
}

std::string describe_cell(const Matrix& matrix, const Matrix::Row& row, const Matrix::Cell& cell) {
    const std::uint32_t some = cell.flags + cell.objects;
    if (!matrix.is_of_groups)
        return cell.always != 0 ? "yes" : cell.flags != 0 ? "flags" : some != 0 ? "objects" : "-";
    if (cell.always + some == 0) return "-";
    const std::string star = some != 0 ? "*" : "";
    if (cell.always + some == row.procedures) return "all" + star;
    return fmt::format("{}/{}{}", cell.always + some, row.procedures, star);
}

}  // namespace

Result<Matrix> make_matrix(const Table& table, std::string_view identity, const std::string& listener,
                           const std::vector<std::string>& words) {
    const auto rows = plan(words);
    if (!rows) return tl::unexpected(rows.error());
    Matrix matrix{.listener = listener, .is_of_groups = words.empty()};
    for (const RowPlan& row : *rows)
        matrix.rows.push_back({row.name, static_cast<std::uint32_t>(row.calls.size()), {}});
    for (const Table::Rule& rule : table.rules()) {
        if (!identity.empty() && rule.name != identity) continue;
        matrix.identities.push_back(rule.name);
        const Rights rights = rights_of(rule, listener);
        for (std::size_t i = 0; i < rows->size(); ++i) {
            Matrix::Cell& cell = matrix.rows[i].cells.emplace_back();
            for (const Called& call : (*rows)[i].calls) count(rights, call, listener, cell);
        }
    }
    return matrix;
}

std::string to_text(const Matrix& matrix) {
    std::size_t first = 12;
    for (const Matrix::Row& row : matrix.rows) first = std::max(first, row.name.size());
    std::string text = fmt::format("{:<{}}", "at " + matrix.listener, first);
    for (const std::string& identity : matrix.identities)
        text += fmt::format("  {:>{}}", identity, std::max<std::size_t>(identity.size(), 8));
    text += '\n';
    for (const Matrix::Row& row : matrix.rows) {
        text += fmt::format("{:<{}}", row.name, first);
        for (std::size_t i = 0; i < row.cells.size(); ++i)
            text += fmt::format("  {:>{}}", describe_cell(matrix, row, row.cells[i]),
                                std::max<std::size_t>(matrix.identities[i].size(), 8));
        text += '\n';
    }
    return text + (matrix.is_of_groups ? "* some of it with some flags, or on some objects, only\n"
                                       : "flags: with some flags only; objects: on some objects only\n");
}

Json to_json(const Matrix& matrix) {
    Json rows = Json::array();
    for (const Matrix::Row& row : matrix.rows) {
        Json one{{matrix.is_of_groups ? "group" : "procedure", row.name}};
        if (matrix.is_of_groups) one["procedures"] = row.procedures;
        Json cells = Json::object();
        for (std::size_t i = 0; i < row.cells.size(); ++i) {
            const Matrix::Cell& cell = row.cells[i];
            if (matrix.is_of_groups)
                cells[matrix.identities[i]] = {
                    {"always", cell.always}, {"flags", cell.flags}, {"objects", cell.objects}};
            else
                cells[matrix.identities[i]] = cell.always != 0    ? "always"
                                              : cell.flags != 0   ? "flags"
                                              : cell.objects != 0 ? "objects"
                                                                  : "never";
        }
        one["cells"] = std::move(cells);
        rows.push_back(std::move(one));
    }
    return {{"listener", matrix.listener}, {"identities", matrix.identities}, {"rows", std::move(rows)}};
}

}  // namespace virtgate::ctl::policy
