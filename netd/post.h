// SPDX-License-Identifier: LGPL-2.1-or-later
// post - one child of netd's supervisor: its process and its control channel.
//
// Twins: ADOPT, SERVE, DRAIN and TUNE go to the child, READY comes from it (proto/supervise.x).
//
// Trust:  the child may be taken over. One that says anything but READY, or hangs up and stays, is killed and
//         started again: the supervisor could neither tell it anything any more nor trust it with what it was
//         given.
// Owns:   the process (spawn/ward.h) and the channel.
#pragma once

#include <memory>
#include <string>

#include "libshared/rpc/control.h"
#include "libshared/spawn/ward.h"
#include "proto/control.h"
#include "proto/supervise.h"

namespace virtgate::netd {

enum class Role : unsigned char { gate, keeper, doorman, sasl, announcer, steward, exporter };

class Post;

class PostOwner {
public:
    virtual ~PostOwner() = default;
    // What to start at `post`.
    virtual Result<spawn::Launch> plan(Post& post) = 0;
    // The process runs and hears what is sent to it.
    virtual void on_up(Post& post) noexcept = 0;
    // It says that it is ready to serve.
    virtual void on_ready(Post& post) noexcept = 0;
    // It has ended. Unless it was stopped or is draining, it will be started again.
    virtual void on_down(Post& post, const spawn::Exit& exit) noexcept = 0;
};

class Post final : private spawn::WardOwner {
public:
    // `index`: which gate it is, or whose keeper; 0 for the others.
    Post(loop::Loop& loop, PostOwner& owner, Role role, std::uint32_t index);

    void start() noexcept { ward_.start(); }
    void stop(Milliseconds patience) noexcept { ward_.stop(patience); }
    // Hands a channel to the peer `role` number `index` to the child. `serial`: which start of a gate, for the steward.
    void adopt(proto::supervise::PeerRole role, std::uint32_t index, int channel,
               std::uint32_t serial = 0) noexcept;
    // Tells it to accept clients.
    void serve() noexcept;
    // Tells it what has changed of its configuration.
    void tune(const proto::supervise::TuneArgs& change) noexcept;
    // Tells it to accept nothing new; a gate ends with its last session. It is not started again.
    void drain() noexcept;
    // To a gate: it ends its sessions, with `reason` as their clients' error.
    void dismiss(const std::string& reason) noexcept;
    // Ends it at once; it is started again.
    void kill() noexcept;
    // Lets the process run, but does not start it again when it ends.
    void retire() noexcept;

    [[nodiscard]] Role role() const noexcept { return role_; }
    [[nodiscard]] std::uint32_t index() const noexcept { return index_; }
    [[nodiscard]] const std::string& name() const noexcept { return ward_.name(); }
    [[nodiscard]] bool is_up() const noexcept { return control_ != nullptr; }
    [[nodiscard]] bool is_ready() const noexcept { return ready_; }
    [[nodiscard]] bool is_idle() const noexcept { return ward_.is_idle(); }
    // The process that runs, what the owner calls it, when it was started (seconds since 1970), and how many there were.
    [[nodiscard]] pid_t pid() const noexcept { return ward_.pid(); }
    [[nodiscard]] std::uint32_t serial() const noexcept { return serial_; }
    void set_serial(std::uint32_t serial) noexcept { serial_ = serial; }
    [[nodiscard]] proto::control::Process describe() const;

private:
    Result<spawn::Launch> plan(spawn::Ward& ward) override;
    void on_started(spawn::Ward& ward, UniqueFd control) noexcept override;
    void on_ended(spawn::Ward& ward, const spawn::Exit& exit) noexcept override;
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view why) noexcept;
    void on_lingering() noexcept;
    void send(proto::supervise::Procedure procedure, ByteView payload, std::span<const int> fds) noexcept;

    loop::Loop& loop_;
    PostOwner& owner_;
    Role role_;
    std::uint32_t index_;
    spawn::Ward ward_;
    Log log_;
    std::unique_ptr<rpc::Control> control_;
    std::unique_ptr<loop::Timer> linger_;  // runs from the end of the channel on
    bool ready_ = false;
    std::uint32_t serial_ = 0, starts_ = 0;
    std::int64_t since_ = 0;
};

}  // namespace virtgate::netd
