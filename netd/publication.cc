// SPDX-License-Identifier: LGPL-2.1-or-later
// publication - the process that shows what is counted, and the ways on which it may read that.
#include "netd/publication.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>

#include "libshared/channel/connect.h"
#include "netd/stewardship.h"
#include "proto/codec.h"

namespace virtgate::netd {

namespace {

// It has nothing to end with: who reads comes again.
constexpr Milliseconds k_exporter_patience{1'000};

}  // namespace

Publication::Publication(loop::Loop& loop, const Ground& ground, Stewardship& stewardship,
                         loop::Target<> on_ended)
    : loop_(loop),
      ground_(ground),
      stewardship_(stewardship),
      on_ended_(on_ended),
      post_(loop, *this, Role::exporter, 0),
      sweep_(loop.timer(loop::to<&Publication::on_swept>(*this))) {}

void Publication::set(const Settings& settings) {
    if (!ground_.metrics.socket && !ground_.local_metrics) return;
    const bool is_first = !config_;
    config_ = {.log_level = static_cast<std::uint32_t>(settings.log.of("exporter")),
               .sandbox = settings.sandbox};
    broker_socket_ = settings.broker_socket;
    if (is_first)
        post_.start();
    else
        set_log(settings.log);
}

void Publication::set_log(const logging::Settings& log) {
    if (!config_) return;
    config_->log_level = static_cast<std::uint32_t>(log.of("exporter"));
    post_.tune({.log_level = config_->log_level, .connections = 0, .arrivals = 0});
}

Result<spawn::Launch> Publication::plan(Post&) {
    auto bytes = proto::encode(*config_);
    require(bytes.has_value(), "settings that do not fit their message");
    const int socket = ground_.local_metrics ? ground_.local_metrics.get() : ground_.metrics.socket.get();
    UniqueFd listener{fcntl(socket, F_DUPFD_CLOEXEC, 0)};
    if (!listener) return system_fault(errno, "cannot copy a listener");
    spawn::Launch launch;
    launch.path = fmt::format("{}/virtgate-exporter", ground_.directory);
    launch.config = std::move(*bytes);
    launch.extra.push_back(std::move(listener));
    if (const auto user = ground_.users.find(Role::exporter); user != ground_.users.end())
        launch.user = user->second;
    return launch;
}

void Publication::on_up(Post&) noexcept {
    auto pair = make_channel_pair();
    if (!pair) return log_.error("it cannot be heard: {}", pair.error().text);
    not_before_ = {};
    channel_ = std::make_unique<rpc::Control>(loop_, std::move(pair->first), 0,
                                              loop::to<&Publication::on_message>(*this),
                                              loop::to<&Publication::on_closed>(*this));
    post_.adopt(proto::supervise::PeerRole::peer_supervisor, 0, pair->second.get());
}

void Publication::link_steward() noexcept { stewardship_.link(post_); }

// The connection is of this process: the broker knows us by it, and would do for us what it does for doorman, or for an
// administrator. OPEN, which it reads before anything that comes later, is the end of that.
void Publication::reach_broker() noexcept {
    auto connection = channel::connect_to(broker_socket_, SOCK_SEQPACKET);
    const auto open = rpc::make_frame(rpc::make_message(proto::metrics::k_program, proto::metrics::k_version,
                                                        proto::metrics::Procedure::open),
                                      {});
    if (connection && send(connection->get(), open.data(), open.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
                          static_cast<ssize_t>(open.size()))
        return post_.adopt(proto::supervise::PeerRole::peer_broker, 0, connection->get());
    if (unreached_.next())
        log_.warning("virtgate-workerd cannot be asked what it has counted ({} times so far): {}",
                     unreached_.count(), connection ? "it does not read" : connection.error().text);
}

void Publication::on_message(rpc::Control::Message& message) noexcept {
    namespace metrics = proto::metrics;
    const auto reach = proto::decode<metrics::ReachArgs>(message.payload);
    if (!reach || message.header !=
                      rpc::make_message(metrics::k_program, metrics::k_version, metrics::Procedure::reach)) {
        log_.error("it asked for something that a supervisor does not do; it is started again");
        channel_.reset();
        return post_.kill();
    }
    Instant& not_before = not_before_.at(static_cast<std::size_t>(reach->source));
    const Instant now = loop_.clock().now();
    if (now < not_before) return;  // it asks again
    not_before = now + k_reach_pause;
    return reach->source == metrics::Source::source_broker ? reach_broker() : link_steward();
}

void Publication::on_closed(std::string_view why) noexcept {
    log_.debug("its channel is closed: {}", why);
    channel_.reset();
}

void Publication::on_down(Post&, const spawn::Exit&) noexcept {
    channel_.reset();
    sweep_->start(Milliseconds{0});  // not from here: the post is still busy with its end
}

void Publication::on_swept() noexcept {
    if (stopping_ && post_.is_idle()) on_ended_();
}

void Publication::stop() noexcept {
    stopping_ = true;
    post_.stop(k_exporter_patience);
    sweep_->start(Milliseconds{0});
}

}  // namespace virtgate::netd
