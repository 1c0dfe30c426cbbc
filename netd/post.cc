// SPDX-License-Identifier: LGPL-2.1-or-later
// post - one child of netd's supervisor: its process and its control channel.
#include "netd/post.h"

#include <csignal>
#include <ctime>

#include "proto/codec.h"

namespace virtgate::netd {

namespace supervise = proto::supervise;

namespace {

std::string make_name(Role role, std::uint32_t index) {
    switch (role) {
        case Role::gate: return fmt::format("gate-{}", index);
        case Role::keeper: return fmt::format("keeper-{}", index);
        case Role::doorman: return "doorman";
        case Role::sasl: return "sasl";
        case Role::announcer: return "announcer";
        case Role::steward: return "steward";
        case Role::exporter: return "exporter";
    }
    panic("an unknown role");
}

// For a child that ends, from the end of its channel to its own.
constexpr Milliseconds k_linger{1'000};

rpc::Header make_message(supervise::Procedure procedure) noexcept {
    return rpc::make_message(supervise::k_program, supervise::k_version, procedure);
}

}  // namespace

Post::Post(loop::Loop& loop, PostOwner& owner, Role role, std::uint32_t index)
    : loop_(loop),
      owner_(owner),
      role_(role),
      index_(index),
      ward_(loop, *this, make_name(role, index)),
      log_(ward_.name()),
      linger_(loop.timer(loop::to<&Post::on_lingering>(*this))) {}

Result<spawn::Launch> Post::plan(spawn::Ward&) {
    auto launch = owner_.plan(*this);
    if (launch) launch->control = true;
    return launch;
}

void Post::on_started(spawn::Ward&, UniqueFd control) noexcept {
    control_ = std::make_unique<rpc::Control>(
        loop_, std::move(control), 0, loop::to<&Post::on_message>(*this), loop::to<&Post::on_closed>(*this));
    since_ = std::time(nullptr);
    ++starts_;
    owner_.on_up(*this);
}

void Post::on_ended(spawn::Ward&, const spawn::Exit& exit) noexcept {
    control_.reset();
    linger_->stop();
    ready_ = false;
    owner_.on_down(*this, exit);
}

void Post::on_message(rpc::Control::Message& message) noexcept {
    if (message.header != make_message(supervise::Procedure::ready) || !message.payload.empty()) {
        log_.error("it sent something else than READY; it is killed");
        control_.reset();
        return kill();
    }
    if (ready_) return;
    ready_ = true;
    owner_.on_ready(*this);
}

// Its process ends now or in a moment, and with a status that says why; on_ended() follows from the ward.
void Post::on_closed(std::string_view why) noexcept {
    log_.debug("control channel closed: {}", why);
    control_.reset();
    linger_->start(k_linger);
}

void Post::on_lingering() noexcept {
    log_.error("it does not listen and does not end; it is killed");
    kill();
}

// The pid is its own until the ward has reaped it.
void Post::kill() noexcept {
    if (ward_.is_running()) ::kill(ward_.pid(), SIGKILL);
}

void Post::send(supervise::Procedure procedure, ByteView payload, std::span<const int> fds) noexcept {
    if (!control_) return;
    if (const auto sent = control_->send(make_message(procedure), payload, fds); !sent)
        log_.warning("it cannot be told anything: {}", sent.error().text);
}

proto::control::Process Post::describe() const {
    const bool runs = ward_.is_running();
    return {.name = name(),
            .pid = runs ? static_cast<std::uint32_t>(ward_.pid()) : 0,
            .since = runs ? since_ : 0,
            .starts = starts_,
            .generation = 0,
            .life = ready_ ? proto::control::Life::life_serving : proto::control::Life::life_starting};
}

void Post::adopt(supervise::PeerRole role, std::uint32_t index, int channel, std::uint32_t serial) noexcept {
    const auto payload = proto::encode(supervise::AdoptArgs{.role = role, .index = index, .serial = serial});
    require(payload.has_value(), "an index that no gate has");
    send(supervise::Procedure::adopt, *payload, std::span(&channel, 1));
}

void Post::serve() noexcept { send(supervise::Procedure::serve, {}, {}); }

void Post::tune(const supervise::TuneArgs& change) noexcept {
    const auto payload = proto::encode(change);
    require(payload.has_value(), "a change that no child may have");
    send(supervise::Procedure::tune, *payload, {});
}

void Post::dismiss(const std::string& reason) noexcept {
    const auto payload = proto::encode(supervise::DismissArgs{.reason = reason});
    require(payload.has_value(), "a reason that is too long");
    send(supervise::Procedure::dismiss, *payload, {});
}

void Post::drain() noexcept {
    retire();
    send(supervise::Procedure::drain, {}, {});
}

void Post::retire() noexcept {
    ward_.set_restart(spawn::Ward::Restart::never);
    if (!control_) ward_.stop(Milliseconds{0});  // nothing to lose: it was between two starts
}

}  // namespace virtgate::netd
