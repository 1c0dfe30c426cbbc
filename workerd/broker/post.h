// SPDX-License-Identifier: LGPL-2.1-or-later
// post - a process that the broker has one of, as the broker sees it: started, spoken to, replaced if it dies or does not read.
//
// Nobody waits for it: a message that does not fit into its queue is the end of that process, and a new one is started.
//
// Trust:  nothing is read from it but that it serves, and what a derived class knows.
// Owns:   the process and the control channel to it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "libshared/rpc/control.h"
#include "libshared/spawn/user.h"
#include "libshared/spawn/ward.h"

namespace virtgate::workerd::broker {

class Post : private spawn::WardOwner {
public:
    static constexpr Milliseconds k_stop_patience{3'000};

    // Ends it; `on_stopped` is called when it has ended, from within if none runs.
    void stop() noexcept;

protected:
    struct Kind {
        std::string name{};
        std::string program{};              // absolute path
        std::optional<spawn::User> user{};  // none: our own
        std::string consequence{};          // of its end, for the log: "its connections have ended"
        std::size_t queue_max = 0;          // messages that may wait for it
        rpc::Header ready{};                // by which it says that it serves; whatever its serial
    };
    Post(loop::Loop& loop, Kind kind, loop::Target<> on_stopped);

    void start_process() noexcept { ward_.start(); }
    [[nodiscard]] bool is_up() const noexcept { return control_ != nullptr; }
    // Nothing happens if none runs. False: it did not go, and the process is replaced.
    bool send(std::uint32_t program, std::uint32_t version, std::uint32_t procedure, ByteView payload,
              int fd = -1) noexcept;
    [[nodiscard]] const Log& log() const noexcept { return log_; }

    // Tells the process that runs what it is to log from now on.
    void tune(Level level) noexcept;

    // Its configuration, encoded.
    [[nodiscard]] virtual Result<ByteVector> make_config() const = 0;
    // A new process has been started: it may be spoken to.
    virtual void on_new() noexcept {}
    // A message but the one that says that it serves. False: nobody knows it, and the process is replaced.
    virtual bool take(const rpc::Control::Message& message) noexcept {
        static_cast<void>(message);
        return false;
    }

private:
    Result<spawn::Launch> plan(spawn::Ward& ward) override;
    void on_started(spawn::Ward& ward, UniqueFd control) noexcept override;
    void on_ended(spawn::Ward& ward, const spawn::Exit& exit) noexcept override;
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view reason) noexcept;

    loop::Loop& loop_;
    const Kind kind_;
    const loop::Target<> on_stopped_;
    const Log log_;
    bool stopping_ = false;
    std::unique_ptr<rpc::Control> control_;
    spawn::Ward ward_;
};

}  // namespace virtgate::workerd::broker
