// SPDX-License-Identifier: LGPL-2.1-or-later
// entrance - the UNIX socket at which doormen ask for sessions, and say which certificates are revoked.
//
// Trust:  whoever may connect can claim any identity that the policy knows. So the socket has mode 0660, and
//         the kernel says which user connects: only the allowed ones are served.
// Limits: k_doormen_max connections; more are closed. While one doorman takes over from another there are
//         two.
// Owns:   the listening socket, its name in the file system (unlinked at the end), and the connections.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libshared/base/log.h"
#include "libshared/channel/local_listener.h"
#include "libshared/rpc/control.h"
#include "proto/broker.h"
#include "proto/who.h"

namespace virtgate::workerd::broker {

// Who answers. `error` of a refusal goes to doorman, and from there to the client.
class Admission {
public:
    virtual ~Admission() = default;
    struct Granted {
        proto::who::SessionGrant grant{};
        UniqueFd session{};
    };
    struct Refused {
        int code = 0;
        std::string text{};
    };
    virtual tl::expected<Granted, Refused> serve_open_session(const proto::who::Who& who) = 0;
    // Ends the sessions that came with one of these certificates.
    virtual proto::broker::RevokeRet serve_revoke(const proto::broker::RevokeArgs& args) = 0;
};

class Administration;
class Inventory;

class Entrance {
public:
    static constexpr std::size_t k_doormen_max = 8;
    static constexpr std::size_t k_administrators_max = 8;  // who are no doormen
    static constexpr std::size_t k_readers_max = 4;

    // Listens at `path`, which must not be in use; a socket that a dead process left there is replaced. The
    // socket is given to `group`, if there is one. Whoever connects waits for an Entrance. Error: system's fault.
    [[nodiscard]] static Result<channel::LocalListener> listen(const std::string& path,
                                                               std::optional<gid_t> group);

    // Serves those who connect to `listener` and have one of the uids `allowed`.
    Entrance(loop::Loop& loop, channel::LocalListener listener, std::vector<uid_t> allowed,
             Admission& admission);
    ~Entrance();
    // From now on a connection that says so (OPEN of proto/metrics.x) is for reading what is counted in `inventory` (borrowed),
    // and for nothing else: it lets the exporter have a connection of somebody who may do more.
    void open_to_readers(Inventory& inventory) noexcept { inventory_ = &inventory; }
    // From now on root and this process's own user may call `administration`, too (borrowed).
    void open_to_administrators(Administration& administration) noexcept {
        administration_ = &administration;
    }
    Entrance(const Entrance&) = delete;
    Entrance& operator=(const Entrance&) = delete;

private:
    class Doorman;
    void on_connection(loop::Want) noexcept;
    void on_retry() noexcept;
    void on_doorman_gone(const Doorman& doorman) noexcept;

    loop::Loop& loop_;
    channel::LocalListener listener_;
    const std::vector<uid_t> allowed_;
    Admission& admission_;
    Administration* administration_ = nullptr;
    Inventory* inventory_ = nullptr;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> retry_;
    std::vector<std::unique_ptr<Doorman>> doormen_;
    Sparse starved_;
};

}  // namespace virtgate::workerd::broker
