// SPDX-License-Identifier: LGPL-2.1-or-later
// question - may this identity do this, there?
#include "ctl/policy/question.h"

#include <fmt/format.h>

#include <algorithm>

#include "libshared/base/bytes.h"

namespace virtgate::ctl::policy {

using proto::policy::Grant;
using virtgate::policy::Rights;
using virtgate::policy::Table;

namespace {

std::optional<std::int64_t>& as_of() noexcept {
    static std::optional<std::int64_t> seconds;
    return seconds;
}

std::int64_t read_as_of() noexcept { return *as_of(); }

}  // namespace

void set_as_of(std::int64_t seconds) noexcept { as_of() = seconds; }

Rights rights_of(const Table::Rule& rule, std::vector<Grant> grants, const std::string& listener) {
    return Rights(
        {.generation = 0, .identity = rule.name, .grants = std::move(grants), .limits = rule.limits},
        {.listener = listener, .clock = as_of() ? read_as_of : nullptr});
}

Rights rights_of(const Table::Rule& rule, const std::string& listener) {
    return rights_of(rule, rule.grants, listener);
}

virtgate::policy::Decision judge(const Rights& rights, const Request& request) {
    static const virtgate::policy::XmlFacts k_harmless{};
    const auto objects = request.objects();
    return rights.judge(*request.program, *request.procedure, request.flags, objects, 0, &k_harmless);
}

bool is_for_readers(const Request& request) noexcept {
    const auto& procedure = *request.procedure;
    if (procedure.readonly != proto::ReadOnly::conditional)
        return procedure.readonly == proto::ReadOnly::allowed;
    return std::none_of(
        procedure.readonly_tests.begin(), procedure.readonly_tests.end(),
        [&](const proto::Test& test) { return test.path != "flags" || test.holds(request.flags); });
}

std::string say_place(const virtgate::policy::Place& place) {
    if (place.file.empty()) return "(built in)";
    std::string text = fmt::format("{}:{}", escape(place.file), place.line);
    return place.column == 0 ? text : fmt::format("{}:{}", text, place.column);
}

}  // namespace virtgate::ctl::policy
