// SPDX-License-Identifier: LGPL-2.1-or-later
// asker - asks another process for all that it has counted (READ of proto/metrics.x), with a deadline.
//
// The channel is its owner's, who hands on what comes: take().
//
// Trust:  the other process may be taken over: what is not of its role, or too much, is no answer.
// Limits: k_samples_max samples; k_patience for all parts together. One question at a time: who asks meanwhile gets the same
//         answer.
// Owns:   what has come so far.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "libshared/metrics/tally.h"
#include "libshared/rpc/control.h"

namespace virtgate::metrics {

class Asker {
public:
    static constexpr std::size_t k_samples_max = 65'536;
    static constexpr Milliseconds k_patience{1'500};

    // None: no answer, or none that can be believed.
    using Answer = std::optional<Samples>;
    using Then = std::function<void(const Answer&)>;

    // `sources`: what the other process may speak of.
    Asker(loop::Loop& loop, Sources sources, Milliseconds patience = k_patience);
    Asker(const Asker&) = delete;
    Asker& operator=(const Asker&) = delete;

    // Asks over `control`, which lives until the answer or give_up(). `then` is called once, from the loop; from within if
    // nothing can be asked.
    void ask(rpc::Control& control, Then then);
    // True if `message` belongs to the open question, and is used up.
    bool take(const rpc::Control::Message& message);
    // The channel is gone.
    void give_up() noexcept { end(std::nullopt); }
    [[nodiscard]] bool is_open() const noexcept { return !waiting_.empty(); }

private:
    bool ask_page();
    void on_time() noexcept { end(std::nullopt); }
    void end(const Answer& answer) noexcept;

    const Sources sources_;
    const Milliseconds patience_;
    rpc::Control* control_ = nullptr;
    std::vector<Then> waiting_;
    std::uint32_t serial_ = 0;
    Samples samples_;
    std::unique_ptr<loop::Timer> timer_;
};

}  // namespace virtgate::metrics
