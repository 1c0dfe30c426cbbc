// SPDX-License-Identifier: LGPL-2.1-or-later
// publisher - has avahi-daemon publish one service, under a name that nobody else on the network has.
//
//     connect() ──▶ waiting for avahi-daemon ──▶ publishing ──▶ published
//                         (over the bus)            ▲  │ somebody has the name: the next one, "NAME #2"
//                                                   └──┘
//     the bus or avahi-daemon goes away, or refuses: the loop ends, with status k_exit_unavailable
//
// A client of the library does not outlive its daemon, and a new one would need a new connection to the bus, which the
// process cannot make any more: so it ends, and the supervisor starts another one.
//
// Trust:  what the bus and avahi-daemon say is read by libdbus and libavahi-client. Nothing that a peer on the network has
//         said comes here, but that a name is taken.
// Limits: functions of the library wait for the daemon's answer, up to 25 seconds. Names that are taken again and again are
//         tried more and more slowly.
// Owns:   the connection to the bus. When it is closed, avahi-daemon withdraws what was published.
#pragma once

#include <avahi-client/client.h>
#include <avahi-client/publish.h>

#include <memory>
#include <string>

#include "libshared/avahi/poll.h"
#include "libshared/base/handle.h"
#include "libshared/base/log.h"
#include "libshared/base/result.h"
#include "proto/config.h"

namespace virtgate::netd::announcer {

class Publisher {
public:
    // Publishes what `config` says; stops `loop` when it cannot any more.
    Publisher(loop::Loop& loop, const proto::config::AnnouncerConfig& config);

    // Connects to the system bus. Publishing begins in the loop. Error: system's fault; there is no bus, or it refuses.
    Done connect();
    // Says that nothing is announced, and why. Whoever is started again only to find the same says nothing.
    void complain(std::string_view why) const noexcept;
    // With which the process has to end, after the loop.
    [[nodiscard]] int status() const noexcept { return status_; }

private:
    static void on_client(AvahiClient* client, AvahiClientState state, void* self) noexcept;
    static void on_group(AvahiEntryGroup* group, AvahiEntryGroupState state, void* self) noexcept;
    void act() noexcept;
    void act_on_group() noexcept;
    void publish() noexcept;
    [[nodiscard]] int try_name() noexcept;
    void take_next_name();
    void end(std::string_view why) noexcept;

    loop::Loop& loop_;
    const proto::config::AnnouncerConfig& config_;
    Log log_;
    avahi::Poll poll_;
    std::string name_;
    std::unique_ptr<AvahiClient, FreeWith<avahi_client_free>> client_;
    std::unique_ptr<AvahiEntryGroup, FreeWith<avahi_entry_group_free>> group_;
    AvahiClientState state_ = AVAHI_CLIENT_CONNECTING;
    AvahiEntryGroupState group_state_ = AVAHI_ENTRY_GROUP_UNCOMMITED;
    std::unique_ptr<loop::Timer> changed_, group_changed_, retry_;
    Sparse renames_;
    bool was_published_ = false;
    int status_ = 0;
};

}  // namespace virtgate::netd::announcer
