// SPDX-License-Identifier: LGPL-2.1-or-later
// store_post - the store's process, as the broker sees it: started, given connections, replaced if it dies.
//
// A worker asks for the store as it asks for a libvirt daemon (CONNECT of proto/work.x), by a name that is no path. The broker
// makes a socket pair: one end is the worker's answer, the other goes to the store. So there is nothing on the machine that
// anybody else could connect to. While no store runs, there is no connection, as with a libvirt daemon that does not run.
//
// Trust:  nothing is read from it but that it serves.
// Owns:   the process and the control channel to it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "libshared/rpc/control.h"
#include "libshared/spawn/user.h"
#include "libshared/spawn/ward.h"
#include "proto/config.h"

namespace virtgate::workerd::broker {

// In the place of a socket's path.
inline constexpr std::string_view k_store_socket = "store";
inline constexpr std::string_view k_store_uri = "virtgate:///";

class StorePost final : public spawn::WardOwner {
public:
    static constexpr Milliseconds k_stop_patience{3'000};
    static constexpr std::size_t k_queue_max = 4'096;

    struct Plan {
        std::string program{};                // absolute path of virtgate-store
        std::optional<spawn::User> user{};    // none: our own
        proto::config::StoreConfig config{};  // without directories no store is started
    };
    // `on_stopped` is called when the process has ended after stop(); from within stop() if none runs.
    StorePost(loop::Loop& loop, Plan plan, loop::Target<> on_stopped);

    [[nodiscard]] bool is_configured() const noexcept { return !plan_.config.directories.empty(); }
    void start() noexcept;
    void stop() noexcept;

    // A new connection for a worker of that identity. Error: system's fault; there is no store now.
    [[nodiscard]] Result<UniqueFd> connect(const std::string& identity, bool read_only);

private:
    Result<spawn::Launch> plan(spawn::Ward& ward) override;
    void on_started(spawn::Ward& ward, UniqueFd control) noexcept override;
    void on_ended(spawn::Ward& ward, const spawn::Exit& exit) noexcept override;
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view reason) noexcept;

    loop::Loop& loop_;
    const Plan plan_;
    const loop::Target<> on_stopped_;
    const Log log_{"store"};
    bool stopping_ = false;
    std::unique_ptr<rpc::Control> control_;
    spawn::Ward ward_;
};

// Makes the directories that are missing, for that user: before the process gives up what that takes. What cannot be made is
// said by the store.
void make_store_directories(const proto::config::StoreConfig& config, const std::optional<spawn::User>& user);

}  // namespace virtgate::workerd::broker
