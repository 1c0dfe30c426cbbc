// SPDX-License-Identifier: LGPL-2.1-or-later
// browser - has avahi-daemon look for servers, and asks it where each of them is.
//
// Trust:  what comes was said by anybody on the network, and has been read by avahi-daemon and libavahi-client.
// Limits: Servers::k_sightings_max questions at a time; who comes after those is not asked about. Functions of the library
//         wait for the daemon's answer, up to 25 seconds.
// Owns:   the connection to the bus.
#pragma once

#include <avahi-client/client.h>
#include <avahi-client/lookup.h>

#include <map>
#include <memory>

#include "ctl/discover/servers.h"
#include "libshared/avahi/poll.h"
#include "libshared/base/handle.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::discover {

// All calls come from the loop.
class BrowserOwner {
public:
    virtual ~BrowserOwner() = default;
    virtual void on_sighting(const Name& name, const Way& way, Sighting sighting) noexcept = 0;
    virtual void on_lost(const Name& name, const Way& way) noexcept = 0;
    // Whoever is there has probably been heard of, and all questions are answered. May come again.
    virtual void on_settled() noexcept = 0;
    // avahi-daemon or the bus has gone. Nothing follows.
    virtual void on_failed(const Error& error) noexcept = 0;
};

class Browser {
public:
    Browser(loop::Loop& loop, BrowserOwner& owner) noexcept;

    // Begins. Error: system's fault; there is no bus or no avahi-daemon, or it refuses.
    Done start();

private:
    struct Question {
        Browser* browser;
        Name name;
        Way way;
        std::unique_ptr<AvahiServiceResolver, FreeWith<avahi_service_resolver_free>> resolver;
        bool answered = false;
    };
    static void on_client(AvahiClient* client, AvahiClientState state, void* self) noexcept;
    static void on_service(AvahiServiceBrowser* browser, AvahiIfIndex interface, AvahiProtocol family,
                           AvahiBrowserEvent event, const char* name, const char* type, const char* domain,
                           AvahiLookupResultFlags flags, void* self) noexcept;
    static void on_answer(AvahiServiceResolver* resolver, AvahiIfIndex interface, AvahiProtocol family,
                          AvahiResolverEvent event, const char* name, const char* type, const char* domain,
                          const char* host, const AvahiAddress* address, std::uint16_t port,
                          AvahiStringList* details, AvahiLookupResultFlags flags, void* question) noexcept;
    void ask(const Name& name, const Way& way);
    void forget(const Name& name, const Way& way) noexcept;
    void settle() noexcept;
    void fail(std::string_view what) noexcept;
    [[nodiscard]] Error error_of(std::string_view what, int number) const;

    BrowserOwner& owner_;
    avahi::Poll poll_;
    std::unique_ptr<AvahiClient, FreeWith<avahi_client_free>> client_;
    std::unique_ptr<AvahiServiceBrowser, FreeWith<avahi_service_browser_free>> services_;
    std::map<std::pair<Name, Way>, Question> questions_;
    bool heard_all_ = false;
};

}  // namespace virtgate::ctl::discover
