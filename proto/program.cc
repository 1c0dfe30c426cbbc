// SPDX-License-Identifier: LGPL-2.1-or-later
// program - the procedures of a program.
#include "proto/program.h"

#include <algorithm>

namespace virtgate::proto {

using layout::Column;
using layout::Section;

namespace {

std::span<const std::uint32_t> steps_of(const Schema& schema, std::uint32_t first, std::uint32_t count) {
    return count == 0 ? std::span<const std::uint32_t>()
                      : std::span(schema.row(Section::steps, first), count);
}

}  // namespace

// The lists are filled completely before anything points into them.
ProgramInfo::ProgramInfo(const Schema& of, std::uint32_t version_row) : schema(of) {
    for (std::uint32_t i = 0; i < schema.count(Section::tests); ++i) {
        const std::uint32_t* row = schema.row(Section::tests, i);
        tests_.push_back({schema.text(row[0]), static_cast<layout::TestKind>(row[1]),
                          std::uint64_t{row[2]} << 32 | row[3], steps_of(schema, row[4], row[5])});
    }
    for (std::uint32_t i = 0; i < schema.count(Section::rules); ++i) {
        const std::uint32_t* row = schema.row(Section::rules, i);
        rules_.push_back({schema.text(row[0]), schema.text(row[1]), tests(row[2], row[3])});
    }
    for (std::uint32_t i = 0; i < schema.count(Section::objects); ++i) {
        const std::uint32_t* row = schema.row(Section::objects, i);
        objects_.push_back({schema.text(row[0]), schema.text(row[1]), schema.text(row[2]),
                            schema.text(row[3]), (row[4] & layout::k_object_list) != 0,
                            (row[4] & layout::k_object_nullable) != 0, steps_of(schema, row[5], row[6])});
    }
    if (version_row >= schema.count(Section::programs)) return;
    const std::uint32_t* row = schema.row(Section::programs, version_row);
    number = row[0];
    version = row[1];
    name = schema.text(row[2]);
    procedures_.reserve(row[4]);
    for (std::uint32_t i = 0; i < row[4]; ++i) add(schema.row(Section::procedures, row[3] + i));
}

void ProgramInfo::set_added() noexcept {
    is_added_ = true;
    for (ProcedureInfo& procedure : procedures_) procedure.is_added = true;
}

std::span<const Test> ProgramInfo::tests(std::uint32_t first, std::uint32_t count) const noexcept {
    return std::span(tests_).subspan(first, count);
}

void ProgramInfo::add(const std::uint32_t* row) {
    const auto at = [&](Column column) { return row[static_cast<std::size_t>(column)]; };
    const auto text = [&](Column column) { return schema.text(at(column)); };
    const auto objects = [&](Column first, Column count) {
        return std::span(objects_).subspan(at(first), at(count));
    };
    const auto rules = [&](Column first, Column count) {
        return std::span(rules_).subspan(at(first), at(count));
    };
    const std::uint32_t fds = at(Column::fds);
    const std::uint32_t flags = at(Column::flags);
    ProcedureInfo info;
    info.number = at(Column::number);
    info.name = text(Column::name);
    info.kind = at(Column::kind) == 0 ? ProcedureInfo::Kind::call : ProcedureInfo::Kind::event;
    info.args = at(Column::args);
    info.ret = at(Column::ret);
    info.args_max = at(Column::args_most);
    info.ret_max = at(Column::ret_most);
    info.stream = static_cast<Stream>(at(Column::stream));
    info.sparse_flag = at(Column::sparse);
    info.fds_call_min = static_cast<std::uint8_t>(fds);
    info.fds_call_max = static_cast<std::uint8_t>(fds >> 8);
    info.fds_reply_min = static_cast<std::uint8_t>(fds >> 16);
    info.fds_reply_max = static_cast<std::uint8_t>(fds >> 24);
    info.before_auth = (flags & layout::k_before_auth) != 0;
    info.high_priority = (flags & layout::k_high_priority) != 0;
    info.internal = (flags & layout::k_internal) != 0;
    info.readonly = static_cast<ReadOnly>(at(Column::readonly));
    info.readonly_tests = tests(at(Column::readonly_tests), at(Column::readonly_test_count));
    info.rules = rules(Column::rules, Column::rule_count);
    info.filters = rules(Column::filters, Column::filter_count);
    info.objects = objects(Column::objects, Column::object_count);
    info.returns = objects(Column::returns, Column::return_count);
    info.keys = objects(Column::keys, Column::key_count);
    info.event_family = text(Column::event_family);
    info.event_id = at(Column::event_id);
    info.event_style = static_cast<EventStyle>(at(Column::event_style));
    info.driver = text(Column::driver);
    info.since = text(Column::since);
    info.prose = text(Column::prose);
    if (slots_.size() <= info.number) slots_.resize(info.number + std::size_t{1}, k_empty);
    slots_[info.number] = static_cast<std::uint16_t>(procedures_.size());
    procedures_.push_back(info);
}

const ProcedureInfo* ProgramInfo::find(std::string_view procedure) const noexcept {
    const auto found = std::find_if(procedures_.begin(), procedures_.end(),
                                    [&](const ProcedureInfo& info) { return info.name == procedure; });
    return found == procedures_.end() ? nullptr : &*found;
}

}  // namespace virtgate::proto
