// SPDX-License-Identifier: LGPL-2.1-or-later
// supervisor - starts netd's processes, connects them with each other, and keeps them running.
#include "netd/supervisor.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "config.h"
#include "libshared/spawn/notify.h"
#include "proto/codec.h"

namespace virtgate::netd {

using proto::supervise::PeerRole;

namespace {

// Children that end so often before everything was ready once will not do better later.
constexpr unsigned k_early_ends_max = 5;
constexpr std::uint32_t k_indices = 1024;  // see adopt_args in proto/supervise.x

const char* executable(Role role) noexcept {
    switch (role) {
        case Role::gate: return "virtgate-gate";
        case Role::keeper: return "virtgate-keeper";
        case Role::doorman: return "virtgate-doorman";
    }
    panic("an unknown role");
}

PeerRole peer_role(Role role) noexcept {
    switch (role) {
        case Role::gate: return PeerRole::peer_gate;
        case Role::keeper: return PeerRole::peer_keeper;
        case Role::doorman: return PeerRole::peer_doorman;
    }
    panic("an unknown role");
}

template <class Config>
ByteVector encode_config(const Config& config) {
    auto bytes = proto::encode(config);
    require(bytes.has_value(), "settings that do not fit their message");
    return std::move(*bytes);
}

}  // namespace

Supervisor::Supervisor(loop::Loop& loop, std::string path, std::string directory, Settings settings, Pki pki,
                       Listener listener)
    : loop_(loop),
      path_(std::move(path)),
      directory_(std::move(directory)),
      settings_(std::move(settings)),
      pki_(std::move(pki)),
      listener_(std::move(listener)),
      doorman_(loop, *this, Role::doorman, 0) {
    for (const int number : {SIGTERM, SIGINT})
        signals_.push_back(loop.signal(number, loop::to<&Supervisor::on_stop_signal>(*this)));
    signals_.push_back(loop.signal(SIGHUP, loop::to<&Supervisor::on_reload_signal>(*this)));
    sweep_ = loop.timer(loop::to<&Supervisor::on_sweep>(*this));
}

int Supervisor::run() {
    find_users();
    doorman_.start();
    add_seats();
    loop_.run();
    return status_;
}

// As root every role runs as a user of its own, if the package made these users.
void Supervisor::find_users() noexcept {
    if (geteuid() != 0 || !settings_.user_switch) return;
    const std::pair<Role, const char*> wanted[] = {{Role::gate, VIRTGATE_NET_USER},
                                                   {Role::keeper, VIRTGATE_KEY_USER},
                                                   {Role::doorman, VIRTGATE_AUTH_USER}};
    for (const auto& [role, name] : wanted) {
        auto user = spawn::find_user(name);
        if (user && *user)
            users_.emplace(role, std::move(**user));
        else
            log_.warning("there is no user {}: {} runs as root", name, executable(role));
    }
}

ByteVector Supervisor::make_config(const Post& post) const {
    const auto level = static_cast<std::uint32_t>(settings_.log_level);
    switch (post.role()) {
        case Role::gate:
            return encode_config(proto::config::GateConfig{.index = post.index(),
                                                           .log_level = level,
                                                           .limits = settings_.limits,
                                                           .keepalive = settings_.keepalive,
                                                           .priority = settings_.priority,
                                                           .certificate = pki_.certificate,
                                                           .authorities = pki_.authorities});
        case Role::keeper:
            return encode_config(proto::config::KeeperConfig{
                .index = post.index(), .log_level = level, .certificate = pki_.certificate});
        case Role::doorman:
            return encode_config(proto::config::DoormanConfig{.log_level = level,
                                                              .broker_socket = settings_.broker_socket,
                                                              .authorities = pki_.authorities,
                                                              .revoked = pki_.revoked,
                                                              .certificate = pki_.certificate});
    }
    panic("an unknown role");
}

Result<spawn::Launch> Supervisor::plan(Post& post) {
    spawn::Launch launch;
    launch.path = fmt::format("{}/{}", directory_, executable(post.role()));
    launch.config = make_config(post);
    if (const auto user = users_.find(post.role()); user != users_.end()) launch.user = user->second;
    if (post.role() == Role::gate) {
        launch.extra.emplace_back(fcntl(listener_.socket.get(), F_DUPFD_CLOEXEC, 0));
        if (!launch.extra.back()) return system_fault(errno, "cannot copy the listener");
    }
    if (post.role() == Role::keeper) {
        auto key = open_key(settings_);
        if (!key) return tl::unexpected(key.error());
        launch.extra.push_back(std::move(*key));
    }
    return launch;
}

void Supervisor::add_seats() noexcept {
    for (unsigned n = 0; n < settings_.gates; ++n) {
        std::uint32_t index = 0;
        while (std::any_of(seats_.begin(), seats_.end(),
                           [&](const auto& seat) { return seat->gate.index() == index; }))
            ++index;
        PostOwner& owner = *this;
        seats_.push_back(std::make_unique<Seat>(loop_, owner, index));
        Seat& seat = *seats_.back();
        seat.keeper.start();
        seat.gate.start();
    }
}

Supervisor::Seat& Supervisor::seat_of(const Post& post) noexcept {
    for (const auto& seat : seats_)
        if (&seat->gate == &post || &seat->keeper == &post) return *seat;
    panic("a gate or keeper without a seat");
}

// Gives both the ends of a new channel. Until the other one runs, there is nothing to do: it is linked then.
void Supervisor::link(Post& one, Post& other) noexcept {
    if (!one.is_up() || !other.is_up() || (renew_doorman_ && &other == &doorman_)) return;
    auto pair = make_channel_pair();
    if (!pair)
        return log_.error("{} and {} cannot be connected: {}", one.name(), other.name(), pair.error().text);
    one.adopt(peer_role(other.role()), other.index(), pair->first.get());
    other.adopt(peer_role(one.role()), one.index(), pair->second.get());
}

void Supervisor::on_up(Post& post) noexcept {
    if (post.role() == Role::doorman) {
        for (const auto& seat : seats_) link(seat->gate, doorman_);
        return;
    }
    Seat& seat = seat_of(post);
    link(seat.gate, seat.keeper);
    if (post.role() == Role::gate) link(seat.gate, doorman_);
}

void Supervisor::on_ready(Post& post) noexcept {
    log_.debug("{} is ready", post.name());
    if (!announced_ && all_ready()) announce();
}

bool Supervisor::all_ready() const noexcept {
    return doorman_.is_ready() && std::all_of(seats_.begin(), seats_.end(), [](const auto& seat) {
               return seat->draining || (seat->gate.is_ready() && seat->keeper.is_ready());
           });
}

bool Supervisor::all_idle() const noexcept {
    return doorman_.is_idle() && std::all_of(seats_.begin(), seats_.end(), [](const auto& seat) {
               return seat->gate.is_idle() && seat->keeper.is_idle();
           });
}

void Supervisor::announce() noexcept {
    served_ = announced_ = true;
    log_.info("serving TLS on {} with {} gates", listener_.name, settings_.gates);
    const auto told = spawn::notify(fmt::format("READY=1\nSTATUS=serving TLS on {}\nX_VIRTGATE_TLS_PORT={}",
                                                listener_.name, listener_.port));
    if (!told) log_.warning("{}", told.error().text);
}

void Supervisor::on_down(Post& post, const spawn::Exit& exit) noexcept {
    sweep_->start(Milliseconds{0});  // not from here: the caller is a part of what may have to go
    if (stopping_ || served_) return;
    if (!exit.by_signal && exit.number == spawn::k_exit_config) {
        log_.error("{} {}: giving up", post.name(), describe(exit));
        return stop(spawn::k_exit_config);
    }
    if (++early_ends_ >= k_early_ends_max) {
        log_.error("{} {}, and none of this has ever worked: giving up", post.name(), describe(exit));
        stop(spawn::k_exit_system);
    }
}

// Ends what is to end, and forgets what has ended.
void Supervisor::on_sweep() noexcept {
    if (stopping_ && all_idle()) return loop_.stop();
    if (stopping_) return;
    if (renew_doorman_ && doorman_.is_idle()) {
        renew_doorman_ = false;
        doorman_.start();
    }
    for (const auto& seat : seats_)
        if (seat->draining && seat->gate.is_idle() && !seat->keeper.is_idle()) seat->keeper.stop(k_patience);
    std::erase_if(seats_, [](const auto& seat) {
        return seat->draining && seat->gate.is_idle() && seat->keeper.is_idle();
    });
}

void Supervisor::on_stop_signal(loop::Want) noexcept {
    log_.info("stopping");
    static_cast<void>(spawn::notify("STOPPING=1"));
    stop(0);
}

void Supervisor::stop(int status) noexcept {
    if (stopping_) return;
    stopping_ = true;
    status_ = status;
    // Gates first: a client that is there sees the end of its connection, not a refusal.
    for (const auto& seat : seats_) seat->gate.stop(k_patience);
    for (const auto& seat : seats_) seat->keeper.stop(k_patience);
    doorman_.stop(k_patience);
    sweep_->start(Milliseconds{0});
}

void Supervisor::on_reload_signal(loop::Want) noexcept {
    if (stopping_ || !announced_)
        return log_.warning("not reloading: the last start or reload is not complete");
    reload();
}

void Supervisor::reload() {
    auto settings = read_settings(path_);
    if (!settings) return log_.error("not reloading: {}", settings.error().text);
    auto pki = read_pki(*settings);
    if (!pki) return log_.error("not reloading: {}", pki.error().text);
    if (auto key = open_key(*settings); !key) return log_.error("not reloading: {}", key.error().text);
    if (seats_.size() + settings->gates > k_indices)
        return log_.error("not reloading: {} gates are still draining", seats_.size());
    if (settings->address != settings_.address || settings->port != settings_.port)
        log_.warning("address and port stay as they are until virtgate-netd is started again");
    settings->address = settings_.address;
    settings->port = settings_.port;
    settings_ = std::move(*settings);
    pki_ = std::move(*pki);
    set_log_level(settings_.log_level);
    log_.info("reloading: new gates take over, old ones drain");
    static_cast<void>(spawn::notify("STATUS=reloading"));
    announced_ = false;
    renew_doorman_ = true;
    doorman_.stop(k_patience);
    for (const auto& seat : seats_) {
        seat->draining = true;
        seat->gate.drain();
        seat->keeper.retire();  // it ends with its gate
    }
    add_seats();
    sweep_->start(Milliseconds{0});  // for a doorman that was not running, and gates that were not
}

}  // namespace virtgate::netd
