// SPDX-License-Identifier: LGPL-2.1-or-later
// suite - the daemons of virtgate as children of this process: started in order, kept running, ended together.
//
//   starting ──lockd, workerd, netd are READY──▶ serving ──signal──▶ ending ──netd, workerd, lockd ended──▶ over
//       └──── a daemon ends or is silent for too long, or a signal ──────────▲
//
// While it serves, a daemon that ends is started again after a pause (libshared/spawn/ward.h). What lockd leaves here it gets
// back then: so no lock is lost with it.
//
// Trust:  the daemons are believed about themselves: that they are ready, and which port they got.
// Limits: k_patience for a daemon to become ready; k_grace for one to end before it is killed.
// Owns:   the daemons' processes, the notify socket, and the file DIR/ready. Nothing of these outlives it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ctl/up/configuration.h"
#include "ctl/up/fd_store.h"
#include "ctl/up/notify.h"
#include "ctl/up/options.h"
#include "ctl/up/places.h"
#include "libshared/base/log.h"
#include "libshared/loop/loop.h"
#include "libshared/spawn/ward.h"

namespace virtgate::ctl::up {

class Suite final : public spawn::WardOwner {
public:
    static constexpr Milliseconds k_patience{20'000};
    static constexpr Milliseconds k_grace{5'000};
    // Of what a daemon says; it has bounded what its children say.
    static constexpr unsigned k_log_lines_per_second = 2000;

    struct Setup {
        const Options& options;
        const Places& places;
        std::string programs;      // the directory of the daemons' executables
        NotifySocket notices;      // made at places.notify_socket
        bool netd_edited = false;  // DIR/etc/netd.toml is the user's own
    };
    Suite(loop::Loop& loop, Setup setup);
    ~Suite() override;

    // Starts everything and serves the loop until all has ended. Returns the exit status, see run() in up.h.
    [[nodiscard]] int run() noexcept;

private:
    enum class State : unsigned char { starting, serving, ending };

    // What is known about one daemon beside its ward.
    struct Daemon {
        explicit Daemon(loop::Loop& loop, Suite& suite, const char* name, std::string config_path)
            : ward(loop, suite, name, spawn::Ward::Restart::never), config(std::move(config_path)) {}
        spawn::Ward ward;
        std::string config;  // path of its configuration file
        pid_t pid = -1;      // of the process that runs, or of the one whose last notices are to be read
        bool ready = false;  // the running process said so
        std::optional<Instant> due;  // when it has to be ready
    };

    Result<spawn::Launch> plan(spawn::Ward& ward) override;
    void on_started(spawn::Ward& ward, UniqueFd control) noexcept override;
    void on_ended(spawn::Ward& ward, const spawn::Exit& exit) noexcept override;

    [[nodiscard]] Daemon& daemon_of(const spawn::Ward& ward) noexcept;
    void on_notice(loop::Want ready) noexcept;
    void on_signal(loop::Want ready) noexcept;
    void on_impatient() noexcept;
    void take(Notice notice);
    void take_descriptor(Notice& notice);
    void go_on() noexcept;
    void serve() noexcept;
    void end(int status) noexcept;
    void end_next() noexcept;
    void publish_port() noexcept;
    void keep_port() noexcept;
    void greet() noexcept;

    loop::Loop& loop_;
    Setup setup_;
    const Options& options_;
    const Places& places_;
    Log log_{"up"};
    State state_ = State::starting;
    int status_ = 0;
    Ports ports_;  // 0 = not known yet
    FdStore fds_;  // lockd's
    Daemon lockd_, workerd_, netd_;
    std::array<Daemon*, 3> daemons_{&lockd_, &workerd_, &netd_};  // in the order in which they start
    std::unique_ptr<loop::Watch> notice_watch_;
    std::vector<std::unique_ptr<loop::Watch>> signals_;
    std::unique_ptr<loop::Timer> impatience_;
};

}  // namespace virtgate::ctl::up
