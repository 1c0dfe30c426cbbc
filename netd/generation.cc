// SPDX-License-Identifier: LGPL-2.1-or-later
// generation - the processes that serve one reading of the configuration, connected with each other.
#include "netd/generation.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "proto/codec.h"

namespace virtgate::netd {

using proto::supervise::PeerRole;

namespace {

const char* executable(Role role) noexcept {
    switch (role) {
        case Role::gate: return "virtgate-gate";
        case Role::keeper: return "virtgate-keeper";
        case Role::doorman: return "virtgate-doorman";
        case Role::sasl: return "virtgate-sasl";
        case Role::announcer:
        case Role::steward:
        case Role::exporter: break;  // are in no generation
    }
    panic("an unknown role");
}

PeerRole peer_role(Role role) noexcept {
    switch (role) {
        case Role::gate: return PeerRole::peer_gate;
        case Role::keeper: return PeerRole::peer_keeper;
        case Role::doorman: return PeerRole::peer_doorman;
        case Role::sasl: return PeerRole::peer_sasl;
        case Role::announcer: break;  // has no peer
        case Role::exporter: return PeerRole::peer_exporter;
        case Role::steward: return PeerRole::peer_steward;
    }
    panic("an unknown role");
}

// What the settings of the log call it.
std::string_view log_name(Role role) noexcept {
    switch (role) {
        case Role::gate: return "gate";
        case Role::keeper: return "keeper";
        case Role::doorman: return "doorman";
        case Role::sasl: return "sasl";
        case Role::announcer: return "announcer";
        case Role::steward: return "steward";
        case Role::exporter: return "exporter";
    }
    panic("an unknown role");
}

// A copy of a listener for a child; /dev/null where there is none.
Result<UniqueFd> copy_of(int listener) {
    UniqueFd copy{listener >= 0 ? fcntl(listener, F_DUPFD_CLOEXEC, 0)
                                : open("/dev/null", O_RDONLY | O_CLOEXEC)};
    if (!copy) return system_fault(errno, "cannot copy a listener");
    return copy;
}

template <class Config>
ByteVector encode_config(const Config& config) {
    auto bytes = proto::encode(config);
    require(bytes.has_value(), "settings that do not fit their message");
    return std::move(*bytes);
}

}  // namespace

Generation::Generation(loop::Loop& loop, GenerationOwner& owner, const Ground& ground, Settings settings,
                       Pki pki, UniqueFd key, const std::vector<std::uint32_t>& indices)
    : owner_(owner),
      ground_(ground),
      settings_(std::move(settings)),
      pki_(std::move(pki)),
      key_(std::move(key)),
      bounds_{.connections = settings_.limits.connections * settings_.gates,
              .arrivals = settings_.limits.arrivals * settings_.gates},
      doorman_(loop, *this, Role::doorman, 0),
      sasl_(loop, *this, Role::sasl, 0),
      sweep_(loop.timer(loop::to<&Generation::on_sweep>(*this))) {
    PostOwner& self = *this;
    for (const std::uint32_t index : indices) seats_.push_back(std::make_unique<Seat>(loop, self, index));
}

void Generation::start() noexcept {
    doorman_.start();
    if (settings_.needs_sasl()) sasl_.start();
    for (const auto& seat : seats_) {
        seat->keeper.start();
        seat->gate.start();
    }
}

void Generation::drain() noexcept {
    if (state_ != State::serving) return stop();
    state_ = State::draining;
    for (const auto& seat : seats_) {
        seat->gate.drain();
        seat->keeper.retire();  // it ends with its gate
    }
    doorman_.drain();
    sasl_.retire();
    sweep_->start(Milliseconds{0});  // for gates that were between two starts
}

void Generation::dismiss(const std::string& reason) noexcept {
    for (const auto& seat : seats_) seat->gate.dismiss(reason);
}

void Generation::stop() noexcept {
    state_ = State::stopping;
    // Gates first: a client that is there sees the end of its connection, not a refusal.
    for (const auto& seat : seats_) seat->gate.stop(k_patience);
    for (const auto& seat : seats_) seat->keeper.stop(k_patience);
    doorman_.stop(k_patience);
    sasl_.stop(k_patience);
    sweep_->start(Milliseconds{0});
}

bool Generation::has_gate(std::uint32_t index) const noexcept {
    return std::any_of(seats_.begin(), seats_.end(),
                       [&](const auto& seat) { return seat->gate.index() == index; });
}

ByteVector Generation::make_config(const Post& post) const {
    const auto level = [&](std::string_view process) {
        return static_cast<std::uint32_t>(settings_.log.of(process));
    };
    switch (post.role()) {
        case Role::gate: {
            // The sources' limits are for all gates together; the kernel spreads connections over them.
            const auto share = [&](std::uint32_t limit) {
                return (limit + settings_.gates - 1) / settings_.gates;
            };
            return encode_config(
                proto::config::GateConfig{.index = post.index(),
                                          .log_level = level("gate"),
                                          .limits = limits_of(post),
                                          .keepalive = settings_.keepalive,
                                          .sources = {.connections = share(settings_.sources.connections),
                                                      .arrivals = share(settings_.sources.arrivals)},
                                          .tls = settings_.tls.login,
                                          .tcp = settings_.tcp.login,
                                          .priority = settings_.priority,
                                          .certificate = pki_.certificate,
                                          .authorities = pki_.authorities,
                                          .sandbox = settings_.sandbox,
                                          .schemas = settings_.schemas});
        }
        case Role::keeper:
            return encode_config(proto::config::KeeperConfig{.index = post.index(),
                                                             .log_level = level("keeper"),
                                                             .key_file = settings_.key_file,
                                                             .certificate_file = settings_.certificate_file,
                                                             .certificate = pki_.certificate,
                                                             .sandbox = settings_.sandbox});
        case Role::doorman:
            return encode_config(proto::config::DoormanConfig{.log_level = level("doorman"),
                                                              .broker_socket = settings_.broker_socket,
                                                              .tls = settings_.tls.login,
                                                              .tcp = settings_.tcp.login,
                                                              .local = settings_.local.login,
                                                              .logins = settings_.logins,
                                                              .login = settings_.limits.login,
                                                              .certificate_file = settings_.certificate_file,
                                                              .authorities_file = settings_.ca_file,
                                                              .revoked_file = settings_.crl_file,
                                                              .authorities = pki_.authorities,
                                                              .revoked = pki_.revoked,
                                                              .certificate = pki_.certificate,
                                                              .sandbox = settings_.sandbox});
        case Role::sasl: return encode_config(settings_.sasl);
        case Role::announcer:
        case Role::steward:
        case Role::exporter: break;
    }
    panic("an unknown role");
}

// Its share of the bounds: those of all gates add up to them.
proto::config::ClientLimits Generation::limits_of(const Post& gate) const {
    const auto position = static_cast<std::uint32_t>(
        std::find_if(seats_.begin(), seats_.end(), [&](const auto& seat) { return &seat->gate == &gate; }) -
        seats_.begin());
    const auto share = [&](std::uint32_t all) {
        return all / settings_.gates + (position < all % settings_.gates ? 1 : 0);
    };
    proto::config::ClientLimits limits = settings_.limits;
    limits.connections = share(bounds_.connections);
    limits.arrivals = share(bounds_.arrivals);
    return limits;
}

proto::supervise::TuneArgs Generation::tuning_of(const Post& post) const {
    proto::config::ClientLimits limits;
    if (post.role() == Role::gate) limits = limits_of(post);
    return {.log_level = static_cast<std::uint32_t>(settings_.log.of(log_name(post.role()))),
            .connections = limits.connections,
            .arrivals = limits.arrivals};
}

void Generation::tune() noexcept {
    for (Post* post : {&doorman_, &sasl_}) post->tune(tuning_of(*post));
    for (const auto& seat : seats_)
        for (Post* post : {&seat->gate, &seat->keeper}) post->tune(tuning_of(*post));
}

void Generation::set_log(const logging::Settings& log) {
    settings_.log = log;
    settings_.sasl.log_level = static_cast<std::uint32_t>(log.of("sasl"));
    tune();
}

void Generation::set_bounds(const proto::control::ClientBounds& bounds) {
    bounds_ = bounds;
    tune();
}

void Generation::list_processes(std::vector<proto::control::Process>& list) const {
    using proto::control::Life;
    const auto add = [&](const Post& post) {
        if (post.is_idle()) return;
        list.push_back(post.describe());
        list.back().generation = number_;
        if (state_ == State::draining) list.back().life = Life::life_draining;
        if (state_ == State::stopping) list.back().life = Life::life_stopping;
    };
    for (const auto& seat : seats_) {
        add(seat->gate);
        add(seat->keeper);
    }
    add(doorman_);
    add(sasl_);
}

// In the order of libshared/fdmap.h.
Result<std::vector<UniqueFd>> Generation::make_descriptors(const Post& post) const {
    std::vector<UniqueFd> descriptors;
    std::vector<int> listeners;
    if (post.role() == Role::gate) {
        listeners = {ground_.tls.socket.get(), settings_.tcp.is_on() ? ground_.tcp.socket.get() : -1};
    } else if (post.role() == Role::doorman) {
        listeners = {-1, -1};
        if (settings_.local.is_on()) listeners = {ground_.local.get(), ground_.local_read_only.get()};
    } else if (post.role() == Role::keeper) {
        // The same file, opened anew: keepers share no file offset, and a key that was replaced stays with
        // the next generation.
        descriptors.emplace_back(
            open(fmt::format("/proc/self/fd/{}", key_.get()).c_str(), O_RDONLY | O_CLOEXEC));
        if (!descriptors.back()) return system_fault(errno, "cannot open the private key again");
    }
    for (const int listener : listeners) {
        auto copy = copy_of(listener);
        if (!copy) return tl::unexpected(copy.error());
        descriptors.push_back(std::move(*copy));
    }
    return descriptors;
}

Result<spawn::Launch> Generation::plan(Post& post) {
    spawn::Launch launch;
    launch.path = fmt::format("{}/{}", ground_.directory, executable(post.role()));
    launch.config = make_config(post);
    if (const auto user = ground_.users.find(post.role()); user != ground_.users.end())
        launch.user = user->second;
    auto descriptors = make_descriptors(post);
    if (!descriptors) return tl::unexpected(descriptors.error());
    launch.extra = std::move(*descriptors);
    return launch;
}

// Gives both the ends of a new channel. Until the other one runs, there is nothing to do: it is linked then.
void Generation::link(Post& one, Post& other) noexcept {
    if (!one.is_up() || !other.is_up()) return;
    auto pair = make_channel_pair();
    if (!pair)
        return log_.error("{} and {} cannot be connected: {}", one.name(), other.name(), pair.error().text);
    one.adopt(peer_role(other.role()), other.index(), pair->first.get());
    other.adopt(peer_role(one.role()), one.index(), pair->second.get());
}

void Generation::on_up(Post& post) noexcept {
    if (&post == &doorman_ || &post == &sasl_) link(doorman_, sasl_);
    if (&post == &doorman_) owner_.on_counting_up(*this, post);
    for (const auto& seat : seats_) {
        const bool is_of_seat = &post == &seat->gate || &post == &seat->keeper;
        if (is_of_seat) link(seat->gate, seat->keeper);
        if (&post == &doorman_ || &post == &seat->gate) link(seat->gate, doorman_);
        if (&post == &seat->gate) owner_.on_counting_up(*this, post);
    }
}

void Generation::on_ready(Post& post) noexcept {
    log_.debug("{} is ready", post.name());
    const bool all_ready =
        doorman_.is_ready() && (sasl_.is_ready() || !settings_.needs_sasl()) &&
        std::all_of(seats_.begin(), seats_.end(), [](const auto& seat) { return seat->is_ready(); });
    if (state_ == State::serving) return serve(post);  // it was started again
    if (state_ != State::starting || !all_ready) return;
    state_ = State::serving;
    serve(doorman_);
    for (const auto& seat : seats_) serve(seat->gate);
    owner_.on_serving(*this);
}

// Nobody is accepted before: while it starts, a generation may still turn out not to work.
void Generation::serve(Post& post) noexcept {
    if (post.role() == Role::gate || post.role() == Role::doorman) post.serve();
}

void Generation::on_down(Post& post, const spawn::Exit& exit) noexcept {
    sweep_->start(Milliseconds{0});  // not from here: the caller is a part of what may have to go
    if (state_ != State::starting || failure_ != 0) return;
    const bool is_final = exit.is_for_administrator();
    if (!is_final && ++early_ends_ < k_early_ends_max) return;
    failure_ = is_final ? exit.number : spawn::k_exit_system;
    log_.error("{} {}{}", post.name(), describe(exit), is_final ? "" : ", and this has never worked");
}

// Ends what is to end, forgets what has ended, and tells the owner.
void Generation::on_sweep() noexcept {
    if (state_ == State::starting && failure_ != 0) return owner_.on_failed(*this, failure_);
    if (state_ != State::draining && state_ != State::stopping) return;
    clear_seats();
    if (!seats_.empty()) return;
    // They may be idle then, or on_down() follows.
    if (!doorman_.is_idle()) doorman_.stop(k_patience);
    if (!sasl_.is_idle()) sasl_.stop(k_patience);
    if (doorman_.is_idle() && sasl_.is_idle()) owner_.on_ended(*this);
}

void Generation::clear_seats() noexcept {
    for (const auto& seat : seats_)
        if (seat->gate.is_idle() && !seat->keeper.is_idle()) seat->keeper.stop(k_patience);
    std::erase_if(seats_, [](const auto& seat) { return seat->is_idle(); });
}

}  // namespace virtgate::netd
