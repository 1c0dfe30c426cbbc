// SPDX-License-Identifier: LGPL-2.1-or-later
// broker - admits clients: policy, session numbers, workers.
//
// A client that doorman has authenticated is matched with the policy; if exactly one identity fits, it gets a
// session with the worker of that identity. What it may do there is decided by that worker.
//
//     compiling ── policy good ─▶ serving ── stop() ─▶ stopping ── last child ended ─▶ (the loop stops)
//         └────── policy bad ─▶ stopping
//
// Trust:  doorman is believed about who the client is, and which certificates are revoked: those end
//         sessions, and are forgotten again, since doorman lets nobody in with them. No byte of a client
//         comes here but its names.
// Limits: those of the settings, on all sessions and on those of one identity.
// Owns:   everything that the daemon has: policy, crew, entrance.
#pragma once

#include "libshared/spawn/listen_fds.h"
#include "workerd/broker/administration.h"
#include "workerd/broker/audit_post.h"
#include "workerd/broker/crew.h"
#include "workerd/broker/entrance.h"
#include "workerd/broker/inventory.h"
#include "workerd/broker/lock_door.h"
#include "workerd/broker/log_desk.h"
#include "workerd/broker/policy_source.h"
#include "workerd/broker/program_posts.h"
#include "workerd/broker/settings.h"
#include "workerd/broker/store_post.h"

namespace virtgate::workerd::broker {

class Broker final : public Admission, private Crew::Book {
public:
    // Between two attempts to have the auditor hear the locker; doubling. A session that may lock is one more attempt.
    static constexpr Milliseconds k_locker_pause_min{1'000};
    static constexpr Milliseconds k_locker_pause_max{30'000};

    // `programs`: the directory of our executables. With `check_only` the loop stops after the first
    // compilation.
    Broker(loop::Loop& loop, Settings settings, const std::string& programs, bool check_only);

    // Makes the socket: before the process gives up what that takes. If the service manager has `passed` one called
    // "broker", that is it. Whoever connects waits. Error: system's fault, also if something else was passed.
    [[nodiscard]] Done listen(std::vector<spawn::NamedFd> passed);
    // Compiles the policy, then serves.
    void start() noexcept;
    // Compiles it again; the old one stays in force if that fails. Reads the log's settings again, too.
    void reload() noexcept;
    // Ends everything; the loop stops when the last child has ended.
    void stop() noexcept;

    // For the exit status of the program, after the loop stopped.
    [[nodiscard]] int status() const noexcept { return status_; }

    tl::expected<Granted, Refused> serve_open_session(const proto::who::Who& who) override;
    proto::broker::RevokeRet serve_revoke(const proto::broker::RevokeArgs& args) override;

private:
    enum class State : unsigned char { compiling, serving, stopping };
    void on_compiled(bool good) noexcept;
    void on_crew_stopped() noexcept;
    void on_store_stopped() noexcept;
    void on_programs_stopped() noexcept;
    void on_auditor_stopped() noexcept;
    void on_new_auditor() noexcept;
    void on_locker_gone() noexcept;
    void give_locker() noexcept;
    [[nodiscard]] metrics::Samples read_locker();
    void serve();
    void note_refused(const proto::who::Who& who, const policy::Table::Rule* rule, std::string_view reason,
                      std::string_view detail);

    UniqueFd open_channel(std::uint64_t worker, const std::string& identity) noexcept override;
    void on_serving(std::uint64_t worker, const proto::policy::IdentityRights& rights,
                    const proto::work::ServeArgs& session, bool locks) noexcept override;
    void on_departed(std::vector<std::uint64_t> sessions) noexcept override;
    Result<UniqueFd> connect_store(const std::string& identity, std::uint64_t session,
                                   bool read_only) override;
    Result<UniqueFd> connect_program(const std::string& name, const std::string& identity,
                                     std::uint64_t session, bool read_only) override;
    [[nodiscard]] std::string find_limit(const policy::Table::Rule& rule) const;

    loop::Loop& loop_;
    const Settings settings_;
    const bool check_only_;
    State state_ = State::compiling;
    int status_ = 0;

    std::uint64_t last_session_ = 0;
    Sparse unserved_;
    PolicySource policy_;
    LockDoor lock_door_;
    AuditPost audit_;
    bool has_locker_ = false;  // the auditor hears the locker, as far as is known
    Milliseconds locker_pause_{k_locker_pause_min};
    std::unique_ptr<loop::Timer> locker_timer_;
    StorePost store_;
    ProgramPosts programs_;
    Crew crew_;
    LogDesk log_desk_;
    Administration administration_;
    Inventory inventory_;
    channel::LocalListener listener_;  // until it serves
    std::unique_ptr<Entrance> entrance_;
};

}  // namespace virtgate::workerd::broker
