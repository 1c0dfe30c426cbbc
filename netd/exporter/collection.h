// SPDX-License-Identifier: LGPL-2.1-or-later
// collection - all that is counted, asked of those who know it.
//
// Twins: netd/steward/service, workerd/broker/entrance (proto/metrics.x).
//
// Trust:  each of them may speak of its own families alone; one that does not answer in time is shown as down, and does not
//         keep back what the others say.
// Limits: one question at a time, at most every k_fresh.
// Owns:   the channels; the last answer.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "libshared/metrics/asker.h"

namespace virtgate::netd::exporter {

class Collection {
public:
    // For so long an answer is new enough.
    static constexpr Milliseconds k_fresh{1'000};
    // Longer than those who are asked wait for others.
    static constexpr Milliseconds k_source_patience{4'000};

    using Source = proto::metrics::Source;
    // Somebody is missing: whoever has it may adopt() it.
    using OnMissing = loop::Target<Source>;

    Collection(loop::Loop& loop, OnMissing on_missing);
    Collection(const Collection&) = delete;
    Collection& operator=(const Collection&) = delete;

    void adopt(Source source, UniqueFd channel);
    // `then` gets all that could be had, in order; from within this if it is there already.
    using Then = std::function<void(const metrics::Samples&)>;
    void collect(Then then);

private:
    // One of them.
    class Line {
    public:
        Line(loop::Loop& loop, metrics::Sources sources)
            : loop_(loop), asker_(loop, sources, k_source_patience) {}
        void adopt(UniqueFd channel);
        [[nodiscard]] bool is_open() const noexcept { return control_ != nullptr; }
        void ask(metrics::Asker::Then then);

    private:
        void on_message(rpc::Control::Message& message) noexcept;
        void on_closed(std::string_view why) noexcept;
        loop::Loop& loop_;
        std::unique_ptr<rpc::Control> control_;
        metrics::Asker asker_;
    };
    void on_answer(Source source, const metrics::Asker::Answer& answer);
    void finish();

    loop::Loop& loop_;
    const OnMissing on_missing_;
    Line steward_, broker_;
    std::vector<Then> waiting_;
    metrics::Tally coming_;
    unsigned open_ = 0;
    metrics::Samples last_;
    Instant last_at_{};
    bool has_last_ = false;
};

}  // namespace virtgate::netd::exporter
