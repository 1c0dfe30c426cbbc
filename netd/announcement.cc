// SPDX-License-Identifier: LGPL-2.1-or-later
// announcement - the process that announces the listener for TLS on the network, while there is something to announce.
#include "netd/announcement.h"

#include "proto/codec.h"

namespace virtgate::netd {

namespace {

// It has nothing to end with: avahi-daemon notices.
constexpr Milliseconds k_patience{1'000};

}  // namespace

Announcement::Announcement(loop::Loop& loop, const Ground& ground, loop::Target<> on_ended)
    : ground_(ground),
      on_ended_(on_ended),
      post_(loop, *this, Role::announcer, 0),
      sweep_(loop.timer(loop::to<&Announcement::on_swept>(*this))) {}

void Announcement::set(const Settings& settings) {
    std::optional<proto::config::AnnouncerConfig> wanted;
    if (settings.announce)
        wanted = proto::config::AnnouncerConfig{.log_level = static_cast<std::uint32_t>(settings.log.of("announcer")),
                                                .name = settings.announced_name,
                                                .port = ground_.tls.port,
                                                .local = ground_.tls.local,
                                                .waits = false,
                                                .sandbox = settings.sandbox};
    if (wanted == wanted_) return;
    wanted_ = std::move(wanted);
    waits_ = false;
    if (!post_.is_idle()) post_.stop(k_patience);
    sweep_->start(Milliseconds{0});
}

void Announcement::set_log(const logging::Settings& log) {
    if (!wanted_) return;
    wanted_->log_level = static_cast<std::uint32_t>(log.of("announcer"));
    post_.tune({.log_level = wanted_->log_level, .connections = 0, .arrivals = 0});
}

void Announcement::withdraw() noexcept {
    wanted_.reset();
    post_.stop(k_patience);
    sweep_->start(Milliseconds{0});
}

Result<spawn::Launch> Announcement::plan(Post&) {
    require(wanted_.has_value(), "an announcer without anything to announce");
    auto config = *wanted_;
    config.waits = waits_;
    auto bytes = proto::encode(config);
    require(bytes.has_value(), "settings that do not fit their message");
    spawn::Launch launch;
    launch.path = fmt::format("{}/virtgate-announcer", ground_.directory);
    launch.config = std::move(*bytes);
    if (const auto user = ground_.users.find(Role::announcer); user != ground_.users.end())
        launch.user = user->second;
    return launch;
}

void Announcement::on_down(Post&, const spawn::Exit& exit) noexcept {
    waits_ = exit.is_waiting();
    sweep_->start(Milliseconds{0});  // not from here: the post is still busy with its end
}

// Where a process has ended that was stopped, the next one begins; one that ended by itself comes back by itself.
void Announcement::on_swept() noexcept {
    if (!post_.is_idle()) return;
    if (wanted_) return post_.start();
    on_ended_();
}

}  // namespace virtgate::netd
