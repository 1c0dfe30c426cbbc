// SPDX-License-Identifier: LGPL-2.1-or-later
// asker - asks another process for all that it has counted.
#include "libshared/metrics/asker.h"

#include <algorithm>

#include "libshared/base/log.h"
#include "proto/codec.h"

namespace virtgate::metrics {

namespace wire = proto::metrics;

namespace {
const Log k_asker_log{"metrics"};
}  // namespace

Asker::Asker(loop::Loop& loop, Sources sources, Milliseconds patience)
    : sources_(sources), patience_(patience), timer_(loop.timer(loop::to<&Asker::on_time>(*this))) {}

void Asker::ask(rpc::Control& control, Then then) {
    waiting_.push_back(std::move(then));
    if (waiting_.size() > 1) return;
    control_ = &control;
    samples_.clear();
    timer_->start(patience_);
    if (!ask_page()) end(std::nullopt);
}

bool Asker::ask_page() {
    const auto payload = proto::encode(wire::ReadArgs{.after = static_cast<std::uint32_t>(samples_.size())});
    require(payload.has_value(), "a number does not encode");
    serial_ = control_->next_serial();
    return control_
        ->send(rpc::make_call(wire::k_program, wire::k_version, wire::Procedure::read, serial_), *payload)
        .has_value();
}

bool Asker::take(const rpc::Control::Message& message) {
    if (message.header.program != wire::k_program || message.header.version != wire::k_version ||
        message.header.procedure != static_cast<std::uint32_t>(wire::Procedure::read))
        return false;
    // One that comes too late was given up.
    if (waiting_.empty() || message.header.serial != serial_) return true;
    const auto call = rpc::make_call(wire::k_program, wire::k_version, wire::Procedure::read, serial_);
    auto page = message.header == rpc::reply_to(call) ? proto::decode<wire::ReadRet>(message.payload)
                                                      : tl::unexpected(xdr::Flaw{});
    const bool is_good = page && samples_.size() + page->samples.size() <= k_samples_max &&
                         (page->last || !page->samples.empty()) &&
                         std::all_of(page->samples.begin(), page->samples.end(),
                                     [&](const auto& sample) { return is_of(sample, sources_); });
    if (!is_good) {
        k_asker_log.warning("a process tells of what it cannot have counted: that is left out");
        end(std::nullopt);
        return true;
    }
    std::move(page->samples.begin(), page->samples.end(), std::back_inserter(samples_));
    if (page->last)
        end(std::exchange(samples_, {}));
    else if (!ask_page())
        end(std::nullopt);
    return true;
}

void Asker::end(const Answer& answer) noexcept {
    timer_->stop();
    control_ = nullptr;
    samples_.clear();
    for (const Then& then : std::exchange(waiting_, {})) then(answer);
}

}  // namespace virtgate::metrics
