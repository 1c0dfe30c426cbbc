// SPDX-License-Identifier: LGPL-2.1-or-later
// leasers - keeps a leaser running for each lock space in etcd, and connects them with the locker.
#include "lockd/holder/leasers.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "proto/codec.h"
#include "proto/supervise.h"

namespace virtgate::lockd::holder {

namespace supervise = proto::supervise;

class Leasers::One {
public:
    One(loop::Loop& loop, Leasers& owner, spawn::WardOwner& ward_owner, unsigned index)
        : loop_(loop),
          owner_(owner),
          index_(index),
          ward_(loop, ward_owner, fmt::format("leaser-{}", index)) {}

    [[nodiscard]] spawn::Ward& ward() noexcept { return ward_; }
    [[nodiscard]] unsigned index() const noexcept { return index_; }
    [[nodiscard]] bool is_ready() const noexcept { return control_ && is_ready_; }

    void listen(UniqueFd channel) noexcept {
        is_ready_ = false;
        control_ =
            std::make_unique<rpc::Control>(loop_, std::move(channel), 0, loop::to<&One::on_message>(*this),
                                           loop::to<&One::on_closed>(*this));
    }
    void forget() noexcept { control_.reset(); }

    [[nodiscard]] bool adopt(int locker) noexcept {
        const auto payload =
            proto::encode(supervise::AdoptArgs{.role = supervise::PeerRole::peer_locker, .index = 0});
        const auto header =
            rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::adopt);
        return control_->send(header, *payload, std::span(&locker, 1)).has_value();
    }

private:
    void on_message(rpc::Control::Message& message) noexcept {
        const auto ready = rpc::make_message(supervise::k_program, supervise::k_version,
                                             supervise::Procedure::ready, message.header.serial);
        if (message.header != ready || !message.payload.empty() || is_ready_) return kill();
        is_ready_ = true;
        owner_.owner_.on_leaser_ready(index_);
    }
    void on_closed(std::string_view) noexcept { kill(); }
    // Its end follows, and its next start.
    void kill() noexcept {
        is_ready_ = false;
        if (ward_.is_running()) ::kill(ward_.pid(), SIGKILL);
    }

    loop::Loop& loop_;
    Leasers& owner_;
    const unsigned index_;
    bool is_ready_ = false;
    std::unique_ptr<rpc::Control> control_;
    spawn::Ward ward_;
};

Leasers::Leasers(loop::Loop& loop, const Settings& settings, std::string program, LeasersOwner& owner)
    : loop_(loop), settings_(settings), program_(std::move(program)), owner_(owner) {
    spawn::WardOwner& self = *this;
    for (unsigned index = 0; index < settings_.etcd.size(); ++index)
        all_.push_back(std::make_unique<One>(loop_, *this, self, index));
}

Leasers::~Leasers() = default;

void Leasers::start() noexcept {
    for (const auto& one : all_) one->ward().start();
}

Leasers::One& Leasers::of(const spawn::Ward& ward) noexcept {
    const auto found =
        std::find_if(all_.begin(), all_.end(), [&](const auto& one) { return &one->ward() == &ward; });
    require(found != all_.end(), "a leaser that is not known");
    return **found;
}

Result<spawn::Launch> Leasers::plan(spawn::Ward& ward) {
    auto config =
        make_leaser_config(settings_.etcd[of(ward).index()], settings_.log.of("leaser"), settings_.sandbox);
    if (!config) return tl::unexpected(std::move(config.error()));
    auto bytes = proto::encode(*config);
    if (!bytes) return system_fault(0, "a leaser's configuration does not encode");
    spawn::Launch launch;
    launch.path = program_;
    launch.config = std::move(*bytes);
    launch.control = true;
    return launch;
}

void Leasers::on_started(spawn::Ward& ward, UniqueFd control) noexcept {
    of(ward).listen(std::move(control));
}

void Leasers::on_ended(spawn::Ward& ward, const spawn::Exit&) noexcept { of(ward).forget(); }

UniqueFd Leasers::connect(unsigned index) noexcept {
    One& one = *all_[index];
    std::array<int, 2> ends{-1, -1};
    if (!one.is_ready()) return {};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) < 0) {
        Log{}.error("no channel between the locker and a leaser: errno {}", errno);
        return {};
    }
    UniqueFd lockers{ends[0]};
    const UniqueFd leasers{ends[1]};
    return one.adopt(leasers.get()) ? std::move(lockers) : UniqueFd{};
}

}  // namespace virtgate::lockd::holder
