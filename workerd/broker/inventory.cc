// SPDX-License-Identifier: LGPL-2.1-or-later
// inventory - what the broker and its processes have counted.
#include "workerd/broker/inventory.h"

#include <ctime>

#include "libshared/metrics/processes.h"

namespace virtgate::workerd::broker {

using metrics::Family;

namespace {
// More than can be asked at a time.
constexpr std::size_t k_answers_max = 1'000'000;
}  // namespace

void Inventory::note_opened(const std::string& identity) {
    const bool is_new = tally_.value_of(Family::sessions_opened, {identity}) == 0;
    if (is_new && identities_ >= k_identities_max) return tally_.add(Family::sessions_opened, {"other"}, 1);
    if (is_new) ++identities_;
    tally_.add(Family::sessions_opened, {identity}, 1);
}

void Inventory::note_refused(std::string_view reason) { tally_.add(Family::session_refusals, {reason}, 1); }

void Inventory::note_policy(bool accepted) {
    tally_.add(Family::policy_reloads, {accepted ? "ok" : "failed"}, 1);
    if (accepted) policy_since_ = std::time(nullptr);
}

void Inventory::read(Then then) {
    struct Sum {
        metrics::Tally tally;
        std::size_t open = 1;
        Then then;
    };
    const auto sum = std::make_shared<Sum>();
    sum->tally = tally_;
    sum->then = std::move(then);
    metrics::Tally& all = sum->tally;
    // What has not happened yet is there with 0: a rate needs a beginning.
    for (const char* reason : {"no-identity", "ambiguous", "limit", "system"})
        all.add(Family::session_refusals, {reason}, 0);
    for (const char* result : {"ok", "failed"}) all.add(Family::policy_reloads, {result}, 0);
    all.add(Family::sessions_limit, {}, settings_.sessions_max);
    all.add(Family::policy_generation, {}, policy_.generation());
    if (policy_since_ != 0) all.add(Family::policy_load, {}, static_cast<std::uint64_t>(policy_since_));
    all.add(Family::policy_identities, {}, policy_.table().identities());
    all.add(Family::worker_crashes, {}, crew_.crashes());
    for (const auto& row : tally_.samples())
        if (row.family == static_cast<std::uint32_t>(Family::sessions_opened))
            all.add(Family::sessions, {row.labels.front()}, crew_.sessions_of(row.labels.front()));
    metrics::add_processes(all, spawn::Census::of_this_process());
    const auto on_answer = [sum](const metrics::Samples& samples) {
        sum->tally.add_all(samples);
        if (--sum->open == 0) sum->then(sum->tally.samples());
    };
    // Answers may come before all have been asked.
    sum->open += k_answers_max;
    const std::size_t asked = others_.size() + crew_.read(on_answer);
    for (const Ask& ask : others_) ask(on_answer);
    sum->open -= k_answers_max - asked;
    on_answer({});
}

}  // namespace virtgate::workerd::broker
