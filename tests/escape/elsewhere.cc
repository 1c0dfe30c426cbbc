// SPDX-License-Identifier: LGPL-2.1-or-later
// elsewhere - the filters of all processes on processors that are not at hand, by running the compiled programs.
#include <criterion/criterion.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "libshared/confine/simulator.h"
#include "libshared/confine/supervisor.h"
#include "tests/escape/plans.h"

using namespace virtgate;
using namespace virtgate::confine;

namespace {

constexpr Architecture k_all[] = {Architecture::x86_64, Architecture::aarch64, Architecture::ppc64le,
                                  Architecture::s390x, Architecture::riscv64};
// Above all that any of these has, apart from the private numbers of some.
constexpr int k_numbers_max = 480;

std::vector<sock_filter> compile(const Plan& plan, Architecture architecture) {
    const auto filter = Filter::make(plan.rows, OnViolation::kill, architecture);
    cr_assert(filter.has_value(), "%s", filter ? "" : filter.error().text.c_str());
    return {filter->program().begin(), filter->program().end()};
}

Answer ask(const std::vector<sock_filter>& program, Architecture architecture, int number,
           std::array<std::uint64_t, 6> arguments) {
    const auto answer = simulate(program, architecture, {audit_number(architecture), number, arguments});
    cr_assert(answer.has_value());
    return *answer;
}

// Arguments that fulfil the conditions of `row`. On s390x clone has its first two the other way round.
std::array<std::uint64_t, 6> fulfil(const Row& row, Architecture architecture) {
    std::array<std::uint64_t, 6> arguments{};
    for (unsigned i = 0; i < row.where_count; ++i) {
        unsigned place = row.wheres.at(i).argument;
        if (architecture == Architecture::s390x && std::strcmp(row.call, "clone") == 0 && place < 2)
            place = 1 - place;
        arguments.at(place) |= row.wheres.at(i).value;
    }
    return arguments;
}

}  // namespace

Test(elsewhere, each_row_means_there_what_it_means_here) {
    for (const Plan& plan : escape::make_plans())
        for (const Architecture one : k_all) {
            const auto program = compile(plan, one);
            for (const auto& table : plan.rows)
                for (const Row& row : table) {
                    const int number = call_number(one, row.call);
                    if (number < 0) continue;  // that architecture does without
                    const auto answer = ask(program, one, number, fulfil(row, one));
                    const Answer wanted =
                        row.error == 0 ? Answer{Verdict::allowed, 0} : Answer{Verdict::error, row.error};
                    cr_expect(answer == wanted, "%s, %s on %d", std::string(plan.process).c_str(), row.call,
                              static_cast<int>(one));
                }
        }
}

Test(elsewhere, what_no_row_names_ends_the_process) {
    for (const Plan& plan : escape::make_plans())
        for (const Architecture one : k_all) {
            const auto program = compile(plan, one);
            std::vector<int> named;
            for (const auto& table : plan.rows)
                for (const Row& row : table) named.push_back(call_number(one, row.call));
            // What the parts of socketcall are called through.
            if (one == Architecture::s390x) named.push_back(call_number(one, "socketcall"));
            for (int number = 0; number < k_numbers_max; ++number) {
                if (std::find(named.begin(), named.end(), number) != named.end()) continue;
                cr_expect(ask(program, one, number, {}) == (Answer{Verdict::killed, 0}), "%s, %d on %d",
                          std::string(plan.process).c_str(), number, static_cast<int>(one));
            }
        }
}

// A filter that supervisors have is below all others: whatever a child needs while it starts has to be in it.
Test(elsewhere, supervisors_allow_what_their_children_do) {
    for (const Plan& plan : escape::make_plans())
        for (const auto& table : plan.rows)
            for (const Row& row : table) {
                if (row.error != 0) continue;
                // What it writes volumes with its own supervisor alone allows (workerd/broker/confinement.cc).
                const std::string_view call = row.call;
                if (plan.process == "store" &&
                    (call == "fallocate" || call == "preadv2" || call.starts_with("sync_file_range")))
                    continue;
                const auto rows = supervisor_rows();
                cr_expect(std::any_of(rows.begin(), rows.end(),
                                      [&](const Row& other) {
                                          return std::strcmp(other.call, row.call) == 0 && other.error == 0;
                                      }),
                          "%s, %s", std::string(plan.process).c_str(), row.call);
            }
}
