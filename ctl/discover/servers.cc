// SPDX-License-Identifier: LGPL-2.1-or-later
// servers - what was found on the network, put together: one server, however many ways there are to it.
#include "ctl/discover/servers.h"

#include <fmt/format.h>

#include <algorithm>

#include "libshared/avahi/service.h"

namespace virtgate::ctl::discover {

namespace {

// libvirt's.
constexpr std::uint16_t k_tls_port = 16514, k_tcp_port = 16509;

// A host name, and nothing that means anything to a shell or within a URI.
bool is_host_name(std::string_view text) noexcept {
    constexpr std::string_view k_allowed =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    return !text.empty() && text.front() != '-' && text.front() != '.' &&
           text.find_first_not_of(k_allowed) == text.npos;
}

std::string find(const std::map<std::string, std::string>& details, const char* key) {
    const auto found = details.find(key);
    return found == details.end() ? std::string{} : found->second;
}

}  // namespace

std::string Server::version() const {
    return find(details, avahi::k_key_product) == avahi::k_product ? find(details, avahi::k_key_version)
                                                                   : std::string{};
}

std::string Server::transport() const {
    const std::string said = find(details, avahi::k_key_transport);
    if (said == "tcp" || (said.empty() && port == k_tcp_port)) return "tcp";
    return avahi::k_transport_tls;
}

std::string Server::uri() const {
    if (!is_host_name(host)) return {};
    const std::string way = transport();
    const bool is_usual = port == (way == "tcp" ? k_tcp_port : k_tls_port);
    return fmt::format("remote+{}://{}{}/", way, host, is_usual ? std::string{} : fmt::format(":{}", port));
}

Server Servers::put_together(const Name& name, const Ways& ways) {
    const Sighting& first = ways.begin()->second;
    Server server{
        .name = name, .host = first.host, .port = first.port, .addresses = {}, .details = first.details};
    for (const auto& [way, sighting] : ways) server.addresses.insert(sighting.address);
    return server;
}

std::optional<Server> Servers::add(const Name& name, const Way& way, Sighting sighting) {
    Ways& ways = found_[name];
    const bool is_new = ways.empty();
    if (!ways.contains(way) && ++count_ > k_sightings_max) {
        --count_;
        if (is_new) found_.erase(name);
        return {};
    }
    const std::optional<Server> before = is_new ? std::nullopt : std::optional(put_together(name, ways));
    ways.insert_or_assign(way, std::move(sighting));
    Server now = put_together(name, ways);
    if (before == now) return {};
    return now;
}

std::optional<Server> Servers::remove(const Name& name, const Way& way) {
    const auto found = found_.find(name);
    if (found == found_.end() || !found->second.contains(way)) return {};
    const Server before = put_together(name, found->second);
    found->second.erase(way);
    --count_;
    if (!found->second.empty()) return {};
    found_.erase(found);
    return before;
}

std::vector<Server> Servers::list() const {
    std::vector<Server> servers;
    for (const auto& [name, ways] : found_) servers.push_back(put_together(name, ways));
    return servers;
}

}  // namespace virtgate::ctl::discover
