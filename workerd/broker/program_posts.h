// SPDX-License-Identifier: LGPL-2.1-or-later
// program_posts - the processes that serve programs of others (programs.d): started when somebody wants one, ended when idle.
//
// A worker asks for such a program as it asks for a libvirt daemon (CONNECT of proto/work.x), by a name that is no path. The
// broker makes a socket pair: one end is the worker's answer, the other goes to the program's process (proto/service.x). So
// there is nothing on the machine that anybody else could connect to. A program has one process for each identity that uses
// it, as libvirt's have workers, unless its file says "shared": then it has one for all.
//
//     (none) ──connect()──▶ running ──its last session ended, k_idle──▶ leaving ──▶ (none)
//                              └── it dies: replaced, with a pause that grows (spawn::Ward)
//
// Trust:  nothing is read from these processes but that they serve. Each may be taken over by its clients: it has what its file
//         in programs.d names, and below that what libshared/service leaves it.
// Limits: k_posts_max processes; k_queue_max connections that wait for one to take them.
// Owns:   the processes.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "libshared/programs/programs.h"
#include "proto/config.h"
#include "workerd/broker/post.h"

namespace virtgate::workerd::broker {

// In the place of a socket's path: this, and the program's name.
inline constexpr std::string_view k_program_socket = "program:";

class ProgramPosts {
public:
    static constexpr std::size_t k_posts_max = 1024;
    static constexpr std::size_t k_queue_max = 1024;
    static constexpr Milliseconds k_idle{30'000};

    struct Plan {
        std::vector<programs::Announced> programs{};
        std::vector<std::optional<spawn::User>> users{};  // of each of them; none: our own
        proto::config::ServiceConfig config{};            // what all have in common
    };
    // `on_stopped` is called when the last process has ended after stop(); from within stop() if none runs.
    ProgramPosts(loop::Loop& loop, Plan plan, loop::Target<> on_stopped);
    ~ProgramPosts();
    ProgramPosts(const ProgramPosts&) = delete;
    ProgramPosts& operator=(const ProgramPosts&) = delete;

    // A new connection to the program of that name, for that session. Error: system's fault; there is no process now.
    [[nodiscard]] Result<UniqueFd> connect(const std::string& name, const std::string& identity,
                                           std::uint64_t session, bool read_only);
    // These sessions have ended.
    void on_departed(const std::vector<std::uint64_t>& sessions) noexcept;
    void stop() noexcept;
    // Of processes that are started from now on: what a program of others understands is fixed.
    void set_log_level(Level level) noexcept { plan_.config.log_level = static_cast<std::uint32_t>(level); }

private:
    class One;
    using Key = std::pair<std::string, std::string>;  // program, identity or nobody
    void on_one_idle(One& one) noexcept;
    void sweep() noexcept;
    void sweep_later() noexcept { sweeper_->start(Milliseconds{0}); }

    loop::Loop& loop_;
    Plan plan_;
    const loop::Target<> on_stopped_;
    std::map<Key, std::unique_ptr<One>> posts_;
    std::vector<std::unique_ptr<One>> leaving_;
    std::unique_ptr<loop::Timer> sweeper_;  // frees those that have ended, from the loop
    bool stopping_ = false;
};

}  // namespace virtgate::workerd::broker
