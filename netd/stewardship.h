// SPDX-License-Identifier: LGPL-2.1-or-later
// stewardship - the process that serves administrators, and what it asks of the supervisor.
//
// It belongs to no generation: it knows the gates of all of them, the draining ones too, each by a channel of its own.
//
// Twin: netd/steward (proto/control.x).
//
// Trust:  the steward speaks with administrators alone, whom the kernel names. It may ask for what an administrator may; one
//         that breaks the form of its channel is killed and started again. Whatever becomes of it, clients are served.
// Owns:   the process, and the channel.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libshared/metrics/pages.h"
#include "netd/ground.h"
#include "netd/post.h"
#include "netd/settings.h"

namespace virtgate::netd {

// Does what administrators want. All calls come from the loop.
class StewardshipOwner {
public:
    // Names a question that is answered later.
    using Ticket = std::uint64_t;
    // Why it is not done: one of libvirt's codes, and words for the administrator.
    struct Refusal {
        int code = 0;
        std::string text{};
    };
    using Verdict = std::optional<Refusal>;

    virtual ~StewardshipOwner() = default;
    // It has to know the gates and doormen that there are, and the exporter: link() each.
    virtual void on_steward_up() noexcept = 0;
    // No process is left, after stop().
    virtual void on_steward_ended() noexcept = 0;
    [[nodiscard]] virtual proto::control::StateRet tell_state() = 0;
    [[nodiscard]] virtual metrics::Samples tell_counts() = 0;
    [[nodiscard]] virtual Verdict change(const proto::control::ChangeArgs& arguments) = 0;
    [[nodiscard]] virtual Verdict drain(const proto::control::DrainArgs& arguments) = 0;
    // These two are answered with Stewardship::answer().
    virtual void reload(Ticket ticket) = 0;
    virtual void resume(Ticket ticket) = 0;
};

class Stewardship final : private PostOwner {
public:
    // `ground` has to outlive this.
    Stewardship(loop::Loop& loop, const Ground& ground, StewardshipOwner& owner);

    // What the configuration says; the first time, the process is started, if there is a socket for it, or one where what is
    // counted is read.
    void set(const Settings& settings);
    // What it logs from now on.
    void set_log(const logging::Settings& log);
    // A channel between it and `other` (a gate, a doorman, the exporter), which has just been started, or was there before it.
    void link(Post& other) noexcept;
    void answer(StewardshipOwner::Ticket ticket, const StewardshipOwner::Verdict& verdict) noexcept;
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
    void reply(const rpc::Header& call, const StewardshipOwner::Verdict& verdict) noexcept;

    loop::Loop& loop_;
    const Ground& ground_;
    StewardshipOwner& owner_;
    Log log_{"steward"};
    Post post_;
    std::optional<proto::config::StewardConfig> config_;
    std::unique_ptr<rpc::Control> channel_;
    metrics::Pages counts_;
    std::unique_ptr<loop::Timer> sweep_;
    struct Waiting {
        StewardshipOwner::Ticket ticket;
        rpc::Header call;
    };
    std::vector<Waiting> waiting_;  // on the channel that there is
    StewardshipOwner::Ticket last_ticket_ = 0;
    bool stopping_ = false;
};

}  // namespace virtgate::netd
