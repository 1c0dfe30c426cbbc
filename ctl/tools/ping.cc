// SPDX-License-Identifier: LGPL-2.1-or-later
// ping - how long a call takes to a server and back.
#include "ctl/tools/ping.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "ctl/tools/asker.h"
#include "ctl/tools/outcome.h"

namespace virtgate::ctl::tools {

namespace {

using Clock = std::chrono::steady_clock;

// Answered by whatever serves the driver, without asking anything else, and by every server.
constexpr int k_feature = 10;

double milliseconds_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

struct Times {
    unsigned sent = 0, answered = 0;
    double least = 0, most = 0, sum = 0;

    void add(double time) {
        least = answered == 0 ? time : std::min(least, time);
        most = std::max(most, time);
        sum += time;
        ++answered;
    }
};

void print_summary(const Times& times, bool json) {
    const double mean = times.answered == 0 ? 0 : times.sum / times.answered;
    if (json) {
        Json summary = {{"sent", times.sent}, {"answered", times.answered}};
        if (times.answered > 0)
            summary.update({{"min_ms", times.least}, {"mean_ms", mean}, {"max_ms", times.most}});
        fmt::print("{}\n", reflect::print(summary, reflect::Layout::line));
        return;
    }
    fmt::print("{} calls, {} answered", times.sent, times.answered);
    if (times.answered > 0)
        fmt::print("; least, mean, most: {:.3f}, {:.3f}, {:.3f} ms", times.least, mean, times.most);
    fmt::print("\n");
}

void print_answer(unsigned number, double time, bool json) {
    if (json)
        fmt::print("{}\n", reflect::print({{"number", number}, {"ms", time}}, reflect::Layout::line));
    else
        fmt::print("answer {}: {:.3f} ms\n", number, time);
    std::fflush(stdout);
}

}  // namespace

int run_ping(const PingOrder& order) {
    Signals signals;
    const Clock::time_point start = Clock::now();
    auto connection = open(order.target, signals.token());
    if (!connection) return fail_with(connection.error());
    if (!order.json) fmt::print("connected in {:.3f} ms\n", milliseconds_since(start));
    Times times;
    std::mutex mutex;
    std::condition_variable_any sleeping;
    int status = 0;
    while (!signals.came() && (order.count == 0 || times.sent < order.count)) {
        if (times.sent > 0) {
            std::unique_lock lock(mutex);
            sleeping.wait_for(lock, signals.token(), std::chrono::milliseconds(order.interval),
                              [] { return false; });
            if (signals.came()) break;
        }
        client::Deadline deadline = client::Deadline::in(Milliseconds{1000} * order.seconds);
        deadline.stop = signals.token();
        const Clock::time_point sent = Clock::now();
        ++times.sent;
        const auto answer = connection->supports(k_feature, deadline);
        // A server that says that it does not know the call has answered.
        if (answer || answer.error().cause == client::Cause::remote) {
            times.add(milliseconds_since(sent));
            print_answer(times.sent, milliseconds_since(sent), order.json);
            continue;
        }
        if (answer.error().cause == client::Cause::cancelled) {
            --times.sent;
            break;
        }
        status = fail_with(answer.error());
        if (connection->closed()) break;
    }
    print_summary(times, order.json);
    return status;
}

}  // namespace virtgate::ctl::tools
