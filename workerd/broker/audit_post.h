// SPDX-License-Identifier: LGPL-2.1-or-later
// audit_post - the auditor's process, as the broker sees it: started, told who comes and goes, replaced if it dies.
//
// Workers speak to the auditor over channels of their own, which are made here. Whom a session is for the auditor
// learns from here alone. If it dies, a new one is started and told of all that is there; what happens in between is
// not recorded, and each worker counts what it could not tell.
//
// Nobody waits for the auditor: one that does not read is killed and replaced.
//
// Trust:  nothing is read from it but that it serves.
// Owns:   the process and the control channel to it; per session a copy of what the auditor was told.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "libshared/rpc/control.h"
#include "libshared/spawn/user.h"
#include "libshared/spawn/ward.h"
#include "proto/audit.h"
#include "proto/config.h"

namespace virtgate::workerd::broker {

class AuditPost final : public spawn::WardOwner {
public:
    static constexpr Milliseconds k_stop_patience{3'000};
    // A new auditor is told of all sessions at once; of what goes on meanwhile as much again may wait.
    static constexpr std::size_t k_queue_max = 65'536;

    struct Plan {
        std::string program{};                  // absolute path of virtgate-auditor
        std::optional<spawn::User> user{};      // none: our own
        proto::config::AuditorConfig config{};  // without any place for records no auditor is started
    };
    // `on_new` is called when an auditor has been started: workers then need channels, add_worker(). `on_stopped` is called
    // when the process has ended after stop(); from within stop() if none runs.
    AuditPost(loop::Loop& loop, Plan plan, loop::Target<> on_new, loop::Target<> on_stopped);

    void start() noexcept;
    void stop() noexcept;
    // Opens the file of records again, after it was renamed.
    void reopen() noexcept;

    // The end of a channel for the worker `number` of that identity; empty if there is no auditor now.
    [[nodiscard]] UniqueFd add_worker(std::uint64_t number, const std::string& identity) noexcept;

    // A client came; one that was admitted is remembered until it leaves. To be told before the worker gets the session.
    void tell(proto::audit::ArrivalArgs arrival) noexcept;
    // These sessions are over.
    void tell_departed(std::span<const std::uint64_t> sessions) noexcept;
    // A policy came into force, or did not.
    void tell(const proto::audit::PolicyArgs& policy) noexcept;

private:
    Result<spawn::Launch> plan(spawn::Ward& ward) override;
    void on_started(spawn::Ward& ward, UniqueFd control) noexcept override;
    void on_ended(spawn::Ward& ward, const spawn::Exit& exit) noexcept override;
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view reason) noexcept;
    [[nodiscard]] bool has_places() const noexcept;
    template <class Args>
    void send(proto::audit::Procedure procedure, const Args& args, UniqueFd fd = {}) noexcept;
    void send_bytes(proto::audit::Procedure procedure, ByteView payload, UniqueFd fd = {}) noexcept;

    loop::Loop& loop_;
    const Plan plan_;
    const loop::Target<> on_new_;
    const loop::Target<> on_stopped_;
    const Log log_{"auditor"};
    bool stopping_ = false;
    std::unique_ptr<rpc::Control> control_;
    std::map<std::uint64_t, ByteVector> sessions_;  // the ARRIVAL of each
    spawn::Ward ward_;
};

}  // namespace virtgate::workerd::broker
