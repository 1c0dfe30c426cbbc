// SPDX-License-Identifier: LGPL-2.1-or-later
// pages - answers to READ (proto/metrics.x), in parts that fit a message.
//
// Trust:  whoever has the channel may read, and nothing else is taken here.
// Limits: an answer has at most k_page bytes. Between two parts of an answer the samples of that moment are kept.
// Owns:   these samples.
#pragma once

#include <optional>

#include "libshared/metrics/tally.h"
#include "libshared/rpc/control.h"

namespace virtgate::metrics {

class Pages {
public:
    static constexpr std::size_t k_page = 49'152;

    // Where `message` wants to go on, if it is a well-formed READ.
    [[nodiscard]] static std::optional<std::uint32_t> read_question(const rpc::Control::Message& message);

    // New samples, for the answer to a question with 0.
    void set(Samples samples) { samples_ = std::move(samples); }
    // Answers `call`, a READ that goes on `after` so many. Error: the peer does not read, or is gone.
    Done answer(rpc::Control& control, const rpc::Header& call, std::uint32_t after) const;

    // A part of `samples`, from `after` on.
    [[nodiscard]] static proto::metrics::ReadRet cut(const Samples& samples, std::size_t after);

private:
    Samples samples_;
};

}  // namespace virtgate::metrics
