// SPDX-License-Identifier: LGPL-2.1-or-later
// decisions - how long it takes to compile a policy and to decide by it, as one line of JSON.
//
//   virtgate-decisions [BINDINGS]
//
// The policy has that many bindings (10,000) of one identity, each with a role of 100 and a domain of its own, so that
// nothing can be found by looking at the first few. What is decided is a call on each domain in turn.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "policy/parse.h"
#include "policy/resolve.h"
#include "policy/rights.h"
#include "policy/table.h"
#include "proto/programs.h"

namespace {

using namespace virtgate;
using Clock = std::chrono::steady_clock;

constexpr int k_roles = 100;
constexpr int k_rounds = 5;
constexpr int k_decisions = 200'000;

double nanoseconds(Clock::time_point from) {
    return std::chrono::duration<double, std::nano>(Clock::now() - from).count();
}

std::string write_policy(int bindings) {
    std::string text = "version = 1\n[identity.a]\nx509 = { CN = \"a\" }\n";
    for (int i = 0; i < k_roles; ++i)
        text += fmt::format("[role.r{}]\nallow = [\"@connect-basic\", \"proc:remote.DOMAIN_{}\"]\n", i,
                            i % 2 == 0 ? "CREATE" : "DESTROY");
    for (int i = 0; i < bindings; ++i)
        text += fmt::format(
            "[[binding]]\nidentity = \"a\"\nrole = \"r{}\"\nobjects = {{ domain = [\"{}machine-{}\"] }}\n",
            i % k_roles, i % 3 == 0 ? "glob:*" : "", i);
    return text;
}

// The quickest of some rounds: everything slower was disturbed.
template <class Work>
double quickest(Work work) {
    double best = 1e18;
    for (int round = 0; round < k_rounds; ++round) {
        const auto began = Clock::now();
        work();
        best = std::min(best, nanoseconds(began));
    }
    return best;
}

}  // namespace

int main(int argc, char** argv) {
    const int bindings = argc > 1 ? std::atoi(argv[1]) : 10'000;
    const std::string text = write_policy(bindings);
    policy::Table table;
    unsigned errors = 0;
    const double compile = quickest([&] {
        policy::Source source;
        policy::Complaints complaints;
        policy::parse_file(text, "10-bench.toml", source, complaints);
        table = policy::Table(policy::resolve(source, complaints));
        errors = static_cast<unsigned>(complaints.errors());
    });
    if (errors != 0) return EXIT_FAILURE;
    std::unique_ptr<policy::Rights> rights;
    const double build =
        quickest([&] { rights = std::make_unique<policy::Rights>(table.rights_of("a", 1)); });

    const auto& remote = proto::remote_program();
    const auto& create = *remote.find("domain_create");
    std::vector<std::string> names;
    for (int i = 0; i < bindings; ++i) names.push_back(fmt::format("machine-{}", i));
    std::size_t allowed = 0;
    const double decide = quickest([&] {
        for (int i = 0; i < k_decisions; ++i) {
            const policy::Object object{
                policy::ObjectKind::domain, names[static_cast<std::size_t>(i) % names.size()], {}};
            allowed += rights->judge(remote, create, 0, {&object, 1}).allowed ? 1 : 0;
        }
    });
    const double need = quickest([&] {
        for (int i = 0; i < k_decisions; ++i)
            allowed += rights->need(remote, create) == policy::Rights::Need::refused ? 1 : 0;
    });
    fmt::print(
        "{{\"bindings\": {}, \"compile_ms\": {:.1f}, \"build_ms\": {:.1f}, \"decide_ns\": {:.0f}, "
        "\"need_ns\": {:.1f}, \"allowed\": {}}}\n",
        bindings, compile / 1e6, build / 1e6, decide / k_decisions, need / k_decisions, allowed);
    return EXIT_SUCCESS;
}
