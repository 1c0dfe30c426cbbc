// SPDX-License-Identifier: LGPL-2.1-or-later
// servers - what was found on the network, put together: one server, however many ways there are to it.
//
// The same service is seen once for each network interface and each family of addresses.
//
// Pure.
//
// Trust:  anybody on the network can say all of it. Texts are kept as they came, within the limits: who shows them escapes
//         them. A host name that is none makes no URI.
// Limits: k_sightings_max; a hostile network cannot fill the memory.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace virtgate::ctl::discover {

// The name of an instance, and the domain that it is in.
struct Name {
    std::string name, domain;
    auto operator<=>(const Name&) const = default;
};

// One way on which a service was seen.
struct Way {
    int interface = 0;  // number
    int family = 0;     // as Avahi counts them
    auto operator<=>(const Way&) const = default;
};

// What was said about a service on that way.
struct Sighting {
    std::string host;
    std::uint16_t port = 0;
    std::string address;                         // numeric; "fe80::1%eth0"
    std::map<std::string, std::string> details;  // of the TXT record
    bool operator==(const Sighting&) const = default;
};

struct Server {
    Name name;
    std::string host;
    std::uint16_t port = 0;
    std::set<std::string> addresses;
    std::map<std::string, std::string> details;
    bool operator==(const Server&) const = default;

    // The version of virtgate; empty if it is something else, or does not say so.
    [[nodiscard]] std::string version() const;
    // "tls" or "tcp"; of a server that does not say it, what its port is usually for, and else "tls".
    [[nodiscard]] std::string transport() const;
    // What libvirt's clients can be told, to get the connection that the server itself thinks best; empty if its host name is
    // not one.
    [[nodiscard]] std::string uri() const;
};

class Servers {
public:
    static constexpr std::size_t k_sightings_max = 4096;

    // `name` was seen on `way`. Returns the server, if that is news of it.
    std::optional<Server> add(const Name& name, const Way& way, Sighting sighting);
    // It is not seen there any more. Returns the server as it was, if that was the last of it.
    std::optional<Server> remove(const Name& name, const Way& way);
    [[nodiscard]] bool has(const Name& name) const noexcept { return found_.contains(name); }
    // By name.
    [[nodiscard]] std::vector<Server> list() const;

private:
    using Ways = std::map<Way, Sighting>;
    [[nodiscard]] static Server put_together(const Name& name, const Ways& ways);

    std::map<Name, Ways> found_;
    std::size_t count_ = 0;
};

}  // namespace virtgate::ctl::discover
