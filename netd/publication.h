// SPDX-License-Identifier: LGPL-2.1-or-later
// publication - the process that shows what is counted, and the ways on which it may read that.
//
// It belongs to no generation. It has no way of its own to anybody: the steward gets one end of a channel for it, and the
// supervisor makes the connection to the broker, says there that it is for reading alone (OPEN of metrics.x), and only then
// gives it away.
//
// Twin: netd/exporter (proto/metrics.x).
//
// Trust:  whoever may connect to it can try to take it over. All that it can ask for here is those two ways, at most every
//         k_reach_pause each; one that says anything else is killed and started again. Whatever becomes of it, clients are served.
// Owns:   the process, and the channel.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "netd/ground.h"
#include "netd/post.h"
#include "netd/settings.h"
#include "proto/metrics.h"

namespace virtgate::netd {

class Stewardship;

class Publication final : private PostOwner {
public:
    static constexpr Milliseconds k_reach_pause{1'000};

    // All outlive this. `on_ended`: no process is left, after stop().
    Publication(loop::Loop& loop, const Ground& ground, Stewardship& stewardship, loop::Target<> on_ended);

    // What the configuration says; the first time, the process is started, if there is a listener for it.
    void set(const Settings& settings);
    void set_log(const logging::Settings& log);
    // A new steward runs: it has to know the exporter.
    void link_steward() noexcept;
    void stop() noexcept;
    [[nodiscard]] const Post& post() const noexcept { return post_; }

private:
    Result<spawn::Launch> plan(Post& post) override;
    void on_up(Post& post) noexcept override;
    void on_ready(Post& post) noexcept override { post.serve(); }
    void on_down(Post& post, const spawn::Exit& exit) noexcept override;
    void on_swept() noexcept;
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view why) noexcept;
    void reach_broker() noexcept;

    loop::Loop& loop_;
    const Ground& ground_;
    Stewardship& stewardship_;
    const loop::Target<> on_ended_;
    Log log_{"exporter"};
    Post post_;
    std::optional<proto::config::ExporterConfig> config_;
    std::string broker_socket_;
    std::unique_ptr<rpc::Control> channel_;
    std::array<Instant, 2> not_before_{};  // by source
    std::unique_ptr<loop::Timer> sweep_;
    Sparse unreached_;
    bool stopping_ = false;
};

}  // namespace virtgate::netd
