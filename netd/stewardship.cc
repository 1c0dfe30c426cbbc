// SPDX-License-Identifier: LGPL-2.1-or-later
// stewardship - the process that serves administrators, and what it asks of the supervisor.
#include "netd/stewardship.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "libshared/rpc/error.h"
#include "proto/codec.h"

namespace virtgate::netd {

namespace control = proto::control;
using proto::supervise::PeerRole;

namespace {

// It has nothing to end with: administrators come again.
constexpr Milliseconds k_steward_patience{1'000};
// An administrator waits for each answer: more are none.
constexpr std::size_t k_waiting_max = 64;

}  // namespace

Stewardship::Stewardship(loop::Loop& loop, const Ground& ground, StewardshipOwner& owner)
    : loop_(loop),
      ground_(ground),
      owner_(owner),
      post_(loop, *this, Role::steward, 0),
      sweep_(loop.timer(loop::to<&Stewardship::on_swept>(*this))) {}

void Stewardship::set(const Settings& settings) {
    if (!ground_.admin && !settings.metrics.is_on()) return;
    const bool is_first = !config_;
    config_ = {.log_level = static_cast<std::uint32_t>(settings.log.of("steward")),
               .owner = geteuid(),
               .sandbox = settings.sandbox};
    if (is_first)
        post_.start();
    else
        set_log(settings.log);
}

void Stewardship::set_log(const logging::Settings& log) {
    if (!config_) return;
    config_->log_level = static_cast<std::uint32_t>(log.of("steward"));
    post_.tune({.log_level = config_->log_level, .connections = 0, .arrivals = 0});
}

Result<spawn::Launch> Stewardship::plan(Post&) {
    auto bytes = proto::encode(*config_);
    require(bytes.has_value(), "settings that do not fit their message");
    UniqueFd listener{ground_.admin ? fcntl(ground_.admin.get(), F_DUPFD_CLOEXEC, 0)
                                    : open("/dev/null", O_RDONLY | O_CLOEXEC)};
    if (!listener) return system_fault(errno, "cannot copy a listener");
    spawn::Launch launch;
    launch.path = fmt::format("{}/virtgate-steward", ground_.directory);
    launch.config = std::move(*bytes);
    launch.extra.push_back(std::move(listener));
    if (const auto user = ground_.users.find(Role::steward); user != ground_.users.end())
        launch.user = user->second;
    return launch;
}

void Stewardship::on_up(Post&) noexcept {
    auto pair = make_channel_pair();
    if (!pair) return log_.error("it cannot be heard: {}", pair.error().text);
    waiting_.clear();
    channel_ = std::make_unique<rpc::Control>(loop_, std::move(pair->first), 0,
                                              loop::to<&Stewardship::on_message>(*this),
                                              loop::to<&Stewardship::on_closed>(*this));
    post_.adopt(PeerRole::peer_supervisor, 0, pair->second.get());
    owner_.on_steward_up();
}

void Stewardship::link(Post& other) noexcept {
    if (!post_.is_up() || !other.is_up()) return;
    auto pair = make_channel_pair();
    if (!pair) return log_.error("it does not get to know {}: {}", other.name(), pair.error().text);
    const PeerRole role = other.role() == Role::gate      ? PeerRole::peer_gate
                          : other.role() == Role::doorman ? PeerRole::peer_doorman
                                                          : PeerRole::peer_exporter;
    post_.adopt(role, other.index(), pair->first.get(), other.serial());
    other.adopt(PeerRole::peer_steward, 0, pair->second.get());
}

void Stewardship::on_down(Post&, const spawn::Exit&) noexcept {
    channel_.reset();
    waiting_.clear();
    sweep_->start(Milliseconds{0});  // not from here: the post is still busy with its end
}

void Stewardship::on_swept() noexcept {
    if (stopping_ && post_.is_idle()) owner_.on_steward_ended();
}

void Stewardship::stop() noexcept {
    stopping_ = true;
    post_.stop(k_steward_patience);
    sweep_->start(Milliseconds{0});
}

void Stewardship::on_closed(std::string_view why) noexcept {
    log_.debug("its channel is closed: {}", why);
    channel_.reset();
    waiting_.clear();
}

void Stewardship::on_message(rpc::Control::Message& message) noexcept {
    const rpc::Header& call = message.header;
    const auto is = [&](control::Procedure procedure) {
        return call == rpc::make_call(control::k_program, control::k_version, procedure, call.serial);
    };
    if (is(control::Procedure::state) && message.payload.empty()) {
        const auto payload = proto::encode(owner_.tell_state(), rpc::Control::k_payload_max);
        require(payload.has_value(), "a state that does not fit its message");
        if (const auto sent = channel_->send_reply(call, *payload); !sent)
            log_.warning("{}", sent.error().text);
        return;
    }
    if (const auto after = metrics::Pages::read_question(message)) {
        if (*after == 0) counts_.set(owner_.tell_counts());
        if (const auto sent = counts_.answer(*channel_, call, *after); !sent)
            log_.warning("{}", sent.error().text);
        return;
    }
    if (is(control::Procedure::change))
        if (const auto arguments = proto::decode<control::ChangeArgs>(message.payload))
            return reply(call, owner_.change(*arguments));
    if (is(control::Procedure::drain))
        if (const auto arguments = proto::decode<control::DrainArgs>(message.payload))
            return reply(call, owner_.drain(*arguments));
    const bool is_reload = is(control::Procedure::reload);
    if ((is_reload || is(control::Procedure::resume)) && message.payload.empty()) {
        if (waiting_.size() >= k_waiting_max)
            return reply(call,
                         StewardshipOwner::Refusal{rpc::k_code_resource_busy, "too many wait for that"});
        waiting_.push_back({.ticket = ++last_ticket_, .call = call});
        return is_reload ? owner_.reload(last_ticket_) : owner_.resume(last_ticket_);
    }
    log_.error("it asked for something that a supervisor does not do; it is started again");
    channel_.reset();
    post_.kill();
}

void Stewardship::answer(StewardshipOwner::Ticket ticket, const StewardshipOwner::Verdict& verdict) noexcept {
    const auto found = std::find_if(waiting_.begin(), waiting_.end(),
                                    [&](const Waiting& one) { return one.ticket == ticket; });
    if (found == waiting_.end()) return;  // it has ended meanwhile
    const rpc::Header call = found->call;
    waiting_.erase(found);
    reply(call, verdict);
}

void Stewardship::reply(const rpc::Header& call, const StewardshipOwner::Verdict& verdict) noexcept {
    if (!channel_) return;
    const auto sent =
        verdict ? channel_->send_error(call, verdict->code, verdict->text) : channel_->send_reply(call, {});
    if (!sent) log_.warning("{}", sent.error().text);
}

}  // namespace virtgate::netd
