// SPDX-License-Identifier: LGPL-2.1-or-later
// link - one of our processes that the steward asks: a gate, a doorman, or the supervisor.
//
// Twins: netd/gate/overseen, netd/doorman/service, netd/stewardship (proto/control.x, proto/metrics.x).
//
// Trust:  a gate may be taken over. What does not answer a question, or answers it in another form, breaks the link.
// Limits: k_questions_max open questions; each is answered with an error when its time is over.
// Owns:   the channel, and the questions that are open.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "libshared/base/log.h"
#include "libshared/metrics/asker.h"
#include "libshared/rpc/control.h"
#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/control.h"

namespace virtgate::netd::steward {

template <class T>
using Answer = tl::expected<T, rpc::Failure>;

class Link {
public:
    static constexpr std::size_t k_questions_max = 256;
    static constexpr Milliseconds k_patience{5'000};
    // Of what waits for new processes.
    static constexpr Milliseconds k_long_patience{60'000};

    // `name`: for logs.
    // `sources`: of what it may have counted something.
    Link(loop::Loop& loop, UniqueFd channel, const std::string& name, metrics::Sources sources);
    ~Link();
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

    // Asks. `then` gets the payload of the answer, once, from the loop; from within this only if nothing can be asked.
    using Then = std::function<void(Answer<ByteVector>)>;
    void ask(proto::control::Procedure procedure, ByteView payload, Milliseconds patience, Then then);

    // Asks for what it has counted. Without an answer `then` gets the counters that it had said last.
    void read(std::function<void(const metrics::Samples&)> then);
    // The counters that it had said last: what stays when it has ended.
    [[nodiscard]] const metrics::Samples& last_counters() const noexcept { return last_; }

    // The other one said what cannot be: nothing more is heard of it.
    void distrust(std::string_view why) noexcept;
    [[nodiscard]] bool is_open() const noexcept { return control_ != nullptr; }

private:
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view why) noexcept;
    void on_time() noexcept;
    void give_up() noexcept;

    [[nodiscard]] bool take_last(const rpc::Control::Message& message);

    struct Question {
        proto::control::Procedure procedure{};
        Instant until{};
        Then then{};
    };
    loop::Loop& loop_;
    Log log_;
    std::unique_ptr<rpc::Control> control_;
    const metrics::Sources sources_;
    metrics::Asker asker_;
    metrics::Samples last_;
    std::map<std::uint32_t, Question> questions_;  // by serial
    std::unique_ptr<loop::Timer> timer_;
};

// What is said of one that does not answer.
[[nodiscard]] rpc::Failure no_answer();

}  // namespace virtgate::netd::steward
