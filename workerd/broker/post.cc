// SPDX-License-Identifier: LGPL-2.1-or-later
// post - a process that the broker has one of, as the broker sees it.
#include "workerd/broker/post.h"

#include <csignal>

#include "proto/codec.h"
#include "proto/supervise.h"

namespace virtgate::workerd::broker {

Post::Post(loop::Loop& loop, Kind kind, loop::Target<> on_stopped)
    : loop_(loop),
      kind_(std::move(kind)),
      on_stopped_(on_stopped),
      log_(kind_.name),
      ward_(loop, *this, kind_.name) {}

void Post::stop() noexcept {
    stopping_ = true;
    const bool was_running = ward_.is_running();
    // It brings to its end what it has when its channel closes; the signal is for one that does not.
    control_.reset();
    ward_.stop(k_stop_patience);
    if (!was_running && ward_.is_idle()) on_stopped_();
}

Result<spawn::Launch> Post::plan(spawn::Ward&) {
    auto config = make_config();
    if (!config) return tl::unexpected(std::move(config.error()));
    spawn::Launch launch;
    launch.path = kind_.program;
    launch.config = std::move(*config);
    launch.control = true;
    launch.user = kind_.user;
    return launch;
}

void Post::on_started(spawn::Ward&, UniqueFd control) noexcept {
    control_ =
        std::make_unique<rpc::Control>(loop_, std::move(control), 0, loop::to<&Post::on_message>(*this),
                                       loop::to<&Post::on_closed>(*this), kind_.queue_max);
    on_new();
}

void Post::on_ended(spawn::Ward&, const spawn::Exit& exit) noexcept {
    control_.reset();
    if (stopping_) return on_stopped_();
    log_.error("{}; {}", describe(exit), kind_.consequence);
}

void Post::on_message(rpc::Control::Message& message) noexcept {
    rpc::Header ready = kind_.ready;
    ready.serial = message.header.serial;
    if (message.header == ready && message.payload.empty()) return log_.debug("serves");
    if (take(message)) return;
    log_.error("it sent a message that is not known here; it is stopped");
    on_closed({});
}

// One that cannot be spoken to is replaced.
void Post::on_closed(std::string_view) noexcept {
    control_.reset();
    if (stopping_ || !ward_.is_running()) return;
    log_.error("the channel to it broke");
    kill(ward_.pid(), SIGKILL);
}

void Post::tune(Level level) noexcept {
    const auto payload =
        proto::encode(proto::supervise::TuneArgs{.log_level = static_cast<std::uint32_t>(level)});
    require(payload.has_value(), "a level that does not encode");
    static_cast<void>(send(proto::supervise::k_program, proto::supervise::k_version,
                           static_cast<std::uint32_t>(proto::supervise::Procedure::tune), *payload));
}

bool Post::send(std::uint32_t program, std::uint32_t version, std::uint32_t procedure, ByteView payload,
                int fd) noexcept {
    if (!control_) return false;
    const rpc::Header header = rpc::make_message(program, version, procedure, control_->next_serial());
    const auto sent = control_->send(header, payload, fd >= 0 ? std::span(&fd, 1) : std::span<const int>{});
    if (sent) return true;
    log_.error("it does not read: {}", sent.error().text);
    on_closed({});
    return false;
}

}  // namespace virtgate::workerd::broker
