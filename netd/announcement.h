// SPDX-License-Identifier: LGPL-2.1-or-later
// announcement - the process that announces the listener for TLS on the network, while there is something to announce.
//
// It belongs to no generation: a reload that changes nothing of it leaves it alone, and the old one has ended before a new
// one begins, or they would be after the same name.
//
// Trust:  the announcer has no client's byte, no key and no listener. All it can say is READY; whatever becomes of it,
//         clients are served.
// Owns:   the process.
#pragma once

#include <optional>

#include "netd/ground.h"
#include "netd/post.h"
#include "netd/settings.h"

namespace virtgate::netd {

class Announcement final : private PostOwner {
public:
    // `on_ended`: nothing is announced any more, after withdraw(). `ground` has to outlive this.
    Announcement(loop::Loop& loop, const Ground& ground, loop::Target<> on_ended);

    // From now on it is what `settings` say: nothing, if they have it off.
    void set(const Settings& settings);
    // Nothing is announced from now on.
    void withdraw() noexcept;
    // No process is left.
    [[nodiscard]] bool is_idle() const noexcept { return post_.is_idle(); }
    [[nodiscard]] const Post& post() const noexcept { return post_; }
    // What it logs from now on.
    void set_log(const logging::Settings& log);

private:
    Result<spawn::Launch> plan(Post& post) override;
    void on_up(Post&) noexcept override {}
    void on_ready(Post&) noexcept override {}
    void on_down(Post& post, const spawn::Exit& exit) noexcept override;
    void on_swept() noexcept;

    const Ground& ground_;
    loop::Target<> on_ended_;
    Post post_;
    std::unique_ptr<loop::Timer> sweep_;
    std::optional<proto::config::AnnouncerConfig> wanted_;
    bool waits_ = false;  // the last process found no bus, or no avahi-daemon
};

}  // namespace virtgate::netd
