// SPDX-License-Identifier: LGPL-2.1-or-later
// crew - the workers: one process for each identity that has sessions.
//
// A worker is started with the first session of its identity and ends when it had none for k_idle. If it
// dies, its sessions are gone with it (their descriptors close by themselves); the next session starts a new
// one, after a pause if it died soon and often. If it crashed while it served somebody, or had to be stopped
// for what it did, that is counted (crashes.h), and an identity with too much of that gets no session for a
// while.
//
// Trust:  a worker handles what clients sent and may be taken over. All that it can say is that sessions
//         ended, and all that it gets are connections to configured sockets; a message that is not known ends
//         it, and so does a session that it was told to end and did not.
// Limits: k_workers_max workers. Sessions are bounded by the caller.
// Owns:   the processes and their control channels; of each session the ids of its certificates, and what administrators
//         are told of it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libshared/metrics/asker.h"
#include "libshared/rpc/control.h"
#include "libshared/spawn/user.h"
#include "libshared/spawn/ward.h"
#include "proto/config.h"
#include "proto/policy.h"
#include "proto/sessions.h"
#include "proto/work.h"
#include "workerd/broker/crashes.h"

namespace virtgate::workerd::broker {

class Crew {
public:
    static constexpr std::size_t k_workers_max = 1024;
    static constexpr Milliseconds k_idle{30'000};
    static constexpr Milliseconds k_stop_patience{3'000};
    // For the sessions that a worker was told to end: more than their clients get to read the last answers.
    static constexpr Milliseconds k_end_patience{10'000};
    // Between the deaths of a worker and its next start; none after the first, then doubling.
    static constexpr Milliseconds k_pause_min{100};
    static constexpr Milliseconds k_pause_max{10'000};

    // What every worker is started with.
    struct Plan {
        std::string program{};                 // absolute path of virtgate-worker
        std::optional<spawn::User> user{};     // none: our own
        proto::config::WorkerConfig config{};  // its identity is filled in for each
    };
    // Whoever keeps a book of workers and sessions. A worker's number is unique for the life of the crew.
    class Book {
    public:
        virtual ~Book() = default;
        // A worker has started, or needs it again: the end of a channel to the auditor for it; empty: there
        // is none now.
        virtual UniqueFd open_channel(std::uint64_t worker, const std::string& identity) noexcept = 0;
        // The worker is about to get the session, which has a way to the lock daemon or not; on_departed() follows if that fails.
        virtual void on_serving(std::uint64_t worker, const proto::policy::IdentityRights& rights,
                                const proto::work::ServeArgs& session, bool locks) noexcept = 0;
        // A connection to the store for the worker of that identity, for one of its sessions, or for none (0). Error: system's
        // fault; its number says why.
        virtual Result<UniqueFd> connect_store(const std::string& identity, std::uint64_t session,
                                               bool read_only) = 0;
        // The same for the program of that name (programs.d), always for one of its sessions.
        virtual Result<UniqueFd> connect_program(const std::string& name, const std::string& identity,
                                                 std::uint64_t session, bool read_only) = 0;
        virtual void on_departed(std::vector<std::uint64_t> sessions) noexcept = 0;
    };
    // `on_stopped` is called when the last process has ended after stop().
    Crew(loop::Loop& loop, Plan plan, Book& book, loop::Target<> on_stopped);
    ~Crew();
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;

    // Gives a session to the worker of `rights.identity`, which is started if it does not run, and is told
    // these rights if it has others. Returns the gate's end. Error: system's fault, with a reason that the
    // client may see.
    // With `locks`, the gate finds it in the first packet on its end.
    [[nodiscard]] Result<UniqueFd> serve(const proto::policy::IdentityRights& rights,
                                         const proto::work::ServeArgs& session, UniqueFd locks = {});

    // Tells each worker the rights of its identity, which `rights_of` gives. A worker that cannot be told is
    // stopped: rather no sessions than with rights of yesterday.
    using RightsOf = std::function<proto::policy::IdentityRights(const std::string& identity)>;
    void renew_rights(const RightsOf& rights_of);

    // Of the workers that run, and of those to come.
    void set_log_level(Level level) noexcept;

    // Gives each worker a channel to the auditor, which is a new one.
    void renew_auditor() noexcept;

    // Tells the workers to end the sessions that came with one of `certificates`, one line in the log for
    // each. Returns how many these are; those that were told to end before are not counted again.
    std::size_t end_revoked(std::span<const proto::who::CertificateId> certificates);

    // The same for those that an administrator names. Returns them.
    std::vector<std::uint64_t> finish(const proto::sessions::FinishArgs& which);

    // For administrators: the sessions with larger numbers than `after`, by number; and the workers behind the identity
    // `after`, by identity. Valid until something changes.
    [[nodiscard]] std::vector<const proto::sessions::ListedSession*> list(std::uint64_t after) const;
    [[nodiscard]] std::vector<proto::sessions::ListedWorker> list_workers(const std::string& after) const;
    // How often a worker crashed while it served somebody.
    [[nodiscard]] std::uint64_t crashes() const noexcept { return crashed_; }

    // Asks each worker what it has counted, and what those had that have ended: `then` is called once for each answer. Returns how
    // many there will be.
    std::size_t read(const std::function<void(const metrics::Samples&)>& then);

    // Ends all workers; SIGKILL after k_stop_patience.
    void stop() noexcept;

    [[nodiscard]] std::size_t workers() const noexcept { return hands_.size(); }
    [[nodiscard]] std::size_t sessions() const noexcept;
    [[nodiscard]] std::size_t sessions_of(const std::string& identity) const noexcept;
    // How long `identity` gets no session because its workers crashed; 0: it gets one.
    [[nodiscard]] Milliseconds refused_for(const std::string& identity) const {
        return crashes_.refused_for(identity);
    }

private:
    class Hand;
    void on_gone(Hand& hand) noexcept;
    void on_idle(Hand& hand) noexcept;
    void sweep() noexcept;

    loop::Loop& loop_;
    Plan plan_;
    Book& book_;
    const loop::Target<> on_stopped_;
    Crashes crashes_;
    std::uint64_t last_worker_ = 0, crashed_ = 0;
    std::map<std::string, std::unique_ptr<Hand>, std::less<>> hands_;  // by identity
    std::vector<std::unique_ptr<Hand>> leaving_;                       // were idle, and are ending
    std::vector<std::unique_ptr<Hand>> gone_;                          // ended; freed by sweep()
    std::unique_ptr<loop::Timer> sweeper_;
    metrics::Tally ended_;  // what workers had counted that are gone
    bool stopping_ = false;
};

}  // namespace virtgate::workerd::broker
