// SPDX-License-Identifier: LGPL-2.1-or-later
// audit_post - the auditor's process, as the broker sees it: started, told who comes and goes, replaced if it dies.
//
// Workers speak to the auditor over channels of their own, which are made here. Whom a session is for the auditor
// learns from here alone. If it dies, a new one is started and told of all that is there; what happens in between is
// not recorded, and each worker counts what it could not tell.
//
// Nobody waits for the auditor: one that does not read is killed and replaced.
//
// The lock daemon's process tells the auditor, too, over a connection that lock_door.h begins.
//
// Trust:  nothing is read from it but that it serves, and that it does not hear the locker any more.
// Owns:   the process and the control channel to it; per session a copy of what the auditor was told.
#pragma once

#include <functional>
#include <map>
#include <span>

#include "libshared/metrics/tally.h"
#include "proto/audit.h"
#include "proto/config.h"
#include "workerd/broker/post.h"

namespace virtgate::workerd::broker {

class AuditPost final : public Post {
public:
    // A new auditor is told of all sessions at once; of what goes on meanwhile as much again may wait.
    static constexpr std::size_t k_queue_max = 65'536;

    struct Plan {
        std::string program{};                  // absolute path of virtgate-auditor
        std::optional<spawn::User> user{};      // none: our own
        proto::config::AuditorConfig config{};  // without any place for records no auditor is started
    };
    // `on_new` is called when an auditor has been started: workers then need channels, add_worker(). `on_stopped` is called
    // when the process has ended after stop(); from within stop() if none runs.
    // `on_locker_gone`: the connection of add_locker() has ended.
    AuditPost(loop::Loop& loop, Plan plan, loop::Target<> on_new, loop::Target<> on_locker_gone,
              loop::Target<> on_stopped);

    void start() noexcept;
    // Of the process that runs, and of those to come.
    void set_log_level(Level level) noexcept;
    // Opens the file of records again, after it was renamed.
    void reopen() noexcept;

    // The end of a channel for the worker `number` of that identity; empty if there is no auditor now.
    [[nodiscard]] UniqueFd add_worker(std::uint64_t number, const std::string& identity) noexcept;

    // The connection by which the locker tells, which was begun for that (proto/lock_session.x).
    void add_locker(UniqueFd connection) noexcept;
    // False: nothing is recorded, and nobody has to tell.
    [[nodiscard]] bool has_places() const noexcept;

    // A client came; one that was admitted is remembered until it leaves. To be told before the worker gets the session.
    void tell(proto::audit::ArrivalArgs arrival) noexcept;
    // These sessions are over.
    void tell_departed(std::span<const std::uint64_t> sessions) noexcept;
    // What it has recorded, those before it too: `then` is called once, without what a process does not say in time.
    void read(const std::function<void(const metrics::Samples&)>& then);
    // A policy came into force, or did not.
    void tell(const proto::audit::PolicyArgs& policy) noexcept;

private:
    Result<ByteVector> make_config() const override;
    void on_new() noexcept override;
    bool take(const rpc::Control::Message& message) noexcept override;
    template <class Args>
    void send(proto::audit::Procedure procedure, const Args& args, UniqueFd fd = {}) noexcept;
    void send_bytes(proto::audit::Procedure procedure, ByteView payload, UniqueFd fd = {}) noexcept;

    proto::config::AuditorConfig config_;
    const loop::Target<> on_new_, on_locker_gone_;
    std::map<std::uint64_t, ByteVector> sessions_;  // the ARRIVAL of each
    void on_late() noexcept { tell_readers(); }
    void tell_readers() noexcept;
    std::vector<std::function<void(const metrics::Samples&)>> readers_;
    proto::audit::CountedArgs ended_{}, counted_{};  // by processes before this one; by this one
    std::unique_ptr<loop::Timer> late_;
};

}  // namespace virtgate::workerd::broker
