// SPDX-License-Identifier: LGPL-2.1-or-later
// endpoints - where etcd's servers are: URLs taken apart, and names looked up, once.
#include "lockd/etcd/endpoints.h"

#include <netdb.h>
#include <sys/socket.h>

#include <array>

#include "libshared/base/bytes.h"
#include "libshared/base/handle.h"
#include "libshared/base/log.h"
#include "lockd/etcd/url.h"

namespace virtgate::lockd::etcd {

namespace {

using Found = std::unique_ptr<addrinfo, FreeWith<freeaddrinfo>>;

// The addresses of `host`, separated by commas; empty if there is none.
std::string look_up(const Url& url) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* first = nullptr;
    if (const int failed = getaddrinfo(url.host.c_str(), nullptr, &hints, &first); failed != 0) {
        Log{}.error("cannot find {}: {}", escape(url.host), gai_strerror(failed));
        return {};
    }
    const Found found{first};
    std::string addresses;
    for (const addrinfo* one = found.get(); one != nullptr; one = one->ai_next) {
        std::array<char, NI_MAXHOST> text{};
        if (getnameinfo(one->ai_addr, one->ai_addrlen, text.data(), text.size(), nullptr, 0,
                        NI_NUMERICHOST) != 0)
            continue;
        const bool is_v6 = one->ai_family == AF_INET6;
        addresses += fmt::format("{}{}{}{}", addresses.empty() ? "" : ",", is_v6 ? "[" : "", text.data(),
                                 is_v6 ? "]" : "");
    }
    return addresses;
}

}  // namespace

Result<std::vector<Endpoint>> find_endpoints(const std::vector<std::string>& urls) {
    std::vector<Endpoint> endpoints;
    for (const std::string& url : urls) {
        const auto parsed = parse_url(url);
        if (!parsed) return system_fault(0, fmt::format("{} is no URL of a server", escape(url)));
        Endpoint endpoint{.url = url};
        if (!parsed->is_numeric)
            endpoint.addresses = {fmt::format("{}:{}:{}", parsed->host, parsed->port, look_up(*parsed))};
        // Without an address libcurl would look for one itself, in a thread that this process may not start.
        if (endpoint.addresses.empty() || !endpoint.addresses.front().ends_with(':'))
            endpoints.push_back(endpoint);
    }
    if (endpoints.empty()) return system_fault(0, "no server of etcd has an address");
    return endpoints;
}

}  // namespace virtgate::lockd::etcd
