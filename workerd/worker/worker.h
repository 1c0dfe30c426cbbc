// SPDX-License-Identifier: LGPL-2.1-or-later
// worker - the sessions of one identity, and the channel to the broker.
//
// Trust:  the broker is believed: it says who the client is and what it may do. Each session is fed by a
//         gate.
// Limits: `sessions_max`; a session above it is closed and reported as ended. One thread.
// Owns:   the sessions. When the broker is gone, so are they.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "libshared/metrics/pages.h"
#include "libshared/rpc/control.h"
#include "workerd/worker/session.h"

namespace virtgate::workerd::worker {

class Worker {
public:
    struct Settings {
        std::string identity{};
        UriTable uris;
        OwnProcess ours{};
        Milliseconds upstream_timeout{};
        std::size_t sessions_max = 0;
    };
    // Serves `control`, the channel to the broker, and says READY on it. The loop stops when the channel
    // closes.
    Worker(loop::Loop& loop, Settings settings, UniqueFd control);

    [[nodiscard]] std::size_t sessions() const noexcept { return sessions_.size(); }

private:
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view reason) noexcept;
    void on_session_ended(std::uint64_t number) noexcept;
    [[nodiscard]] std::string_view serve(rpc::Control::Message& message);
    [[nodiscard]] std::string_view end(const rpc::Control::Message& message);
    [[nodiscard]] static std::string_view tune(const rpc::Control::Message& message);
    [[nodiscard]] std::string_view take_rights(rpc::Control::Message& message);
    [[nodiscard]] std::string_view take_auditor(rpc::Control::Message& message);
    [[nodiscard]] std::shared_ptr<const policy::Rights> rights_for(const std::string& listener);
    [[nodiscard]] bool is_shadowed(bool is_local) const noexcept;
    void note_ended(std::uint64_t number);
    void say_ended() noexcept;
    void on_idle_look() noexcept;

    loop::Loop& loop_;
    const Settings settings_;
    Scratch scratch_;
    Budget budget_;
    Witness witness_;
    BrokerConnector connector_;
    NamesDirectory names_;
    CallCounts counts_;
    metrics::Pages pages_;
    Home home_;
    Log log_;
    rpc::Control control_;
    proto::policy::IdentityRights rights_;
    // What is in force; by listener, since grants may be for certain listeners only.
    std::map<std::string, std::shared_ptr<const policy::Rights>> in_force_;
    std::unordered_map<std::uint64_t, std::unique_ptr<Session>> sessions_;
    std::vector<std::uint64_t> ended_;  // the broker is told in the next turn, of all of them at once
    std::unique_ptr<loop::Timer> tell_;
    std::unique_ptr<loop::Timer> idle_look_;  // runs where the policy limits how long a session may be silent
};

}  // namespace virtgate::workerd::worker
