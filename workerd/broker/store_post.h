// SPDX-License-Identifier: LGPL-2.1-or-later
// store_post - the store's process, as the broker sees it: started, given connections, replaced if it dies.
//
// A worker asks for the store as it asks for a libvirt daemon (CONNECT of proto/work.x), by a name that is no path. The broker
// makes a socket pair: one end is the worker's answer, the other goes to the store. So there is nothing on the machine that
// anybody else could connect to. While no store runs, there is no connection, as with a libvirt daemon that does not run.
//
// It has its way to the lock daemon from here, too, when it asks for one: a connection that was begun for it.
//
// Trust:  nothing is read from it but that it serves, and that it wants a way to the lock daemon.
// Limits: that it may ask every k_ask_pause.
#pragma once

#include "proto/config.h"
#include "proto/store.h"
#include "workerd/broker/lock_door.h"
#include "workerd/broker/post.h"

namespace virtgate::workerd::broker {

// In the place of a socket's path.
inline constexpr std::string_view k_store_socket = "store";
inline constexpr std::string_view k_store_uri = "virtgate:///";
// As the lock daemon knows it: no identity of a policy can have this name.
inline constexpr std::string_view k_store_owner = "the store";

class StorePost final : public Post {
public:
    static constexpr Milliseconds k_ask_pause{20};
    static constexpr std::size_t k_queue_max = 4'096;

    struct Plan {
        std::string program{};                // absolute path of virtgate-store
        std::optional<spawn::User> user{};    // none: our own
        proto::config::StoreConfig config{};  // without directories no store is started
    };
    // `on_stopped` is called when the process has ended after stop(); from within stop() if none runs. `locks` is borrowed.
    StorePost(loop::Loop& loop, Plan plan, LockDoor& locks, loop::Target<> on_stopped);

    [[nodiscard]] bool is_configured() const noexcept { return !config_.directories.empty(); }
    void start() noexcept;
    // Of the process that runs, and of those to come.
    void set_log_level(Level level) noexcept;

    // A new connection for a worker of that identity, and for that session (0: none). Error: system's fault; there is no
    // store now.
    [[nodiscard]] Result<UniqueFd> connect(const std::string& identity, std::uint64_t session,
                                           bool read_only);

private:
    Result<ByteVector> make_config() const override;
    bool take(const rpc::Control::Message& message) noexcept override;
    bool send(proto::store::Procedure procedure, ByteView payload, int fd) noexcept;

    const loop::Loop& loop_;
    proto::config::StoreConfig config_;
    LockDoor& locks_;
    Instant may_ask_{};
};

// What the store may do with the lock daemon, in the words of a policy: lock its volumes, and nothing else.
[[nodiscard]] proto::policy::IdentityRights make_store_rights(const proto::config::StoreConfig& config);

// Makes the directories that are missing, for that user: before the process gives up what that takes. What cannot be made is
// said by the store.
void make_store_directories(const proto::config::StoreConfig& config, const std::optional<spawn::User>& user);

}  // namespace virtgate::workerd::broker
