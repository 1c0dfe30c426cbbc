// SPDX-License-Identifier: LGPL-2.1-or-later
// collection - all that is counted, asked of those who know it.
#include "netd/exporter/collection.h"

#include "config.h"

namespace virtgate::netd::exporter {

using metrics::Family;
namespace source = metrics::source;

namespace {
constexpr metrics::Sources k_of_steward = source::gate | source::doorman | source::netd;
constexpr metrics::Sources k_of_broker =
    source::broker | source::worker | source::auditor | source::locker;
}  // namespace

Collection::Collection(loop::Loop& loop, OnMissing on_missing)
    : loop_(loop), on_missing_(on_missing), steward_(loop, k_of_steward), broker_(loop, k_of_broker) {}

void Collection::Line::adopt(UniqueFd channel) {
    asker_.give_up();
    control_ = std::make_unique<rpc::Control>(
        loop_, std::move(channel), 0, loop::to<&Line::on_message>(*this), loop::to<&Line::on_closed>(*this));
}

void Collection::Line::ask(metrics::Asker::Then then) {
    if (!control_) return then(std::nullopt);
    asker_.ask(*control_, std::move(then));
}

void Collection::Line::on_message(rpc::Control::Message& message) noexcept {
    static_cast<void>(asker_.take(message));  // what nobody asked for is nothing
}

void Collection::Line::on_closed(std::string_view) noexcept {
    control_.reset();
    asker_.give_up();
}

void Collection::adopt(Source source, UniqueFd channel) {
    (source == Source::source_broker ? broker_ : steward_).adopt(std::move(channel));
}

void Collection::collect(Then then) {
    if (has_last_ && loop_.clock().now() < last_at_ + k_fresh) return then(last_);
    waiting_.push_back(std::move(then));
    if (waiting_.size() > 1) return;
    // One that is missing now is there for the next reader.
    if (!steward_.is_open()) on_missing_(Source::source_steward);
    if (!broker_.is_open()) on_missing_(Source::source_broker);
    coming_ = {};
    coming_.add(Family::build, {VIRTGATE_VERSION}, 1);
    open_ = 2;
    steward_.ask([this](const auto& answer) { on_answer(Source::source_steward, answer); });
    broker_.ask([this](const auto& answer) { on_answer(Source::source_broker, answer); });
}

void Collection::on_answer(Source source, const metrics::Asker::Answer& answer) {
    const std::string_view name = source == Source::source_broker ? "workerd" : "netd";
    coming_.add(Family::exporter_source_up, {name}, answer ? 1 : 0);
    if (answer) coming_.add_all(*answer);
    if (--open_ == 0) finish();
}

void Collection::finish() {
    last_ = coming_.samples();
    last_at_ = loop_.clock().now();
    has_last_ = true;
    for (const Then& then : std::exchange(waiting_, {})) then(last_);
}

}  // namespace virtgate::netd::exporter
