// SPDX-License-Identifier: LGPL-2.1-or-later
// budget - what all sessions of one identity together may use up.
//
// A call that is over a limit is refused with the limit's name; stream data that is over one waits. Who is refused more
// often than k_refusals_per_second is not read for a while: a flood of calls that are refused is a flood, too. That is
// often enough for a client's pings, which wait behind its calls, to be answered long before it gives up. Rates are token
// buckets: calls_per_second fills, `burst` is what it holds (as many as one second brings, if the policy does not say).
//
// Limits: those of the policy; an absent one never refuses.
// Source: the names are those of a policy's "limits", see virtgate-policy(5).
#pragma once

#include <cstdint>
#include <string>

#include "libshared/base/clock.h"
#include "proto/policy.h"
#include "workerd/worker/open_calls.h"

namespace virtgate::workerd::worker {

class Budget {
public:
    static constexpr double k_refusals_per_second = 500;
    static constexpr Milliseconds k_rest{100};

    // `clock` has to outlive it.
    explicit Budget(const Clock& clock) noexcept : clock_(clock) {}

    // What counts from now on. What was used up before stays used.
    void set_limits(const proto::policy::LimitSet& limits) noexcept;

    // Takes one call with `size` bytes of arguments. Returns the limit that is against it, "calls_per_second=5";
    // empty if it may go on.
    [[nodiscard]] std::string take_call(std::size_t size, bool opens_stream);

    // Takes one refusal by take_call(). Returns how long nothing of the session should be read; 0: go on.
    [[nodiscard]] Milliseconds take_refusal() noexcept;

    // Takes `size` bytes of stream data that went on. Returns how long no more of it should be read; 0: go on.
    [[nodiscard]] Milliseconds take_stream(std::size_t size) noexcept;

    // How long a session may be silent; 0: for ever.
    [[nodiscard]] Milliseconds idle_timeout() const noexcept;

    // Where open calls and streams are counted.
    [[nodiscard]] OpenCalls::Usage& usage() noexcept { return usage_; }

private:
    // What can be taken fills with time; a debt has to be filled up first.
    struct Bucket {
        double level = 0;
        Instant filled{};
        void fill(Instant now, double rate, double size) noexcept;
    };
    const Clock& clock_;
    proto::policy::LimitSet limits_{};
    OpenCalls::Usage usage_{};
    Bucket calls_{}, stream_{}, refusals_{};
};

}  // namespace virtgate::workerd::worker
