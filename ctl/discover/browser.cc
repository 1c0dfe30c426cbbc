// SPDX-License-Identifier: LGPL-2.1-or-later
// browser - has avahi-daemon look for servers, and asks it where each of them is.
#include "ctl/discover/browser.h"

#include <avahi-common/address.h>
#include <avahi-common/error.h>
#include <avahi-common/strlst.h>
#include <fmt/format.h>
#include <net/if.h>

#include <algorithm>
#include <array>

#include "libshared/avahi/service.h"

namespace virtgate::ctl::discover {

namespace {

// A link-local address means nothing without its interface.
std::string to_text(const AvahiAddress& address, AvahiIfIndex interface) {
    std::array<char, AVAHI_ADDRESS_STR_MAX> text{};
    if (avahi_address_snprint(text.data(), text.size(), &address) == nullptr) return {};
    std::string result = text.data();
    if (!result.starts_with("fe80:")) return result;
    std::array<char, IF_NAMESIZE> name{};
    const bool has_name = if_indextoname(static_cast<unsigned>(interface), name.data()) != nullptr;
    return result + "%" + (has_name ? std::string{name.data()} : std::to_string(interface));
}

// "key=value", "key". Of two with one key the first counts (RFC 6763, 6.4); avahi's list is in the order of the record.
std::map<std::string, std::string> read_details(AvahiStringList* list) {
    std::map<std::string, std::string> details;
    for (; list != nullptr; list = avahi_string_list_get_next(list)) {
        const std::string_view text{reinterpret_cast<const char*>(avahi_string_list_get_text(list)),
                                    avahi_string_list_get_size(list)};
        const std::size_t equals = std::min(text.find('='), text.size());
        if (equals == 0) continue;
        details.emplace(text.substr(0, equals), text.substr(std::min(equals + 1, text.size())));
    }
    return details;
}

}  // namespace

Browser::Browser(loop::Loop& loop, BrowserOwner& owner) noexcept : owner_(owner), poll_(loop) {}

Error Browser::error_of(std::string_view what, int number) const {
    return Error{Fault::system, 0, fmt::format("{}: {}", what, avahi_strerror(number))};
}

Done Browser::start() {
    int error = 0;
    client_.reset(avahi_client_new(poll_.api(), AvahiClientFlags{}, on_client, this, &error));
    // The library does not tell a bus that is not there from a daemon that is not.
    if (!client_ && error == AVAHI_ERR_NO_DAEMON)
        return system_fault(0, "no avahi-daemon runs on this machine, or no D-Bus to ask it over");
    if (!client_) return tl::unexpected(error_of("avahi-daemon cannot be asked over D-Bus", error));
    services_.reset(avahi_service_browser_new(client_.get(), AVAHI_IF_UNSPEC, AVAHI_PROTO_UNSPEC,
                                              avahi::k_service_type, nullptr, AvahiLookupFlags{}, on_service,
                                              this));
    if (!services_)
        return tl::unexpected(
            error_of("avahi-daemon does not look for servers", avahi_client_errno(client_.get())));
    return {};
}

void Browser::on_client(AvahiClient*, AvahiClientState state, void* self) noexcept {
    if (state == AVAHI_CLIENT_FAILURE) static_cast<Browser*>(self)->fail("avahi-daemon has gone");
}

void Browser::fail(std::string_view what) noexcept {
    const int number = client_ ? avahi_client_errno(client_.get()) : AVAHI_ERR_DISCONNECTED;
    owner_.on_failed(error_of(what, number));
}

void Browser::on_service(AvahiServiceBrowser*, AvahiIfIndex interface, AvahiProtocol family,
                         AvahiBrowserEvent event, const char* name, const char*, const char* domain,
                         AvahiLookupResultFlags, void* self) noexcept {
    auto& browser = *static_cast<Browser*>(self);
    switch (event) {
        case AVAHI_BROWSER_NEW: return browser.ask({name, domain}, {interface, family});
        case AVAHI_BROWSER_REMOVE: return browser.forget({name, domain}, {interface, family});
        case AVAHI_BROWSER_ALL_FOR_NOW: browser.heard_all_ = true; return browser.settle();
        case AVAHI_BROWSER_CACHE_EXHAUSTED: return;
        case AVAHI_BROWSER_FAILURE: break;
    }
    browser.fail("avahi-daemon has stopped looking for servers");
}

// The question stays, so that news of the same service comes, until the service is gone.
void Browser::ask(const Name& name, const Way& way) {
    if (questions_.size() >= Servers::k_sightings_max) return;
    auto [place, is_new] = questions_.try_emplace({name, way}, Question{this, name, way, nullptr, false});
    if (!is_new) return;
    Question& question = place->second;
    question.resolver.reset(avahi_service_resolver_new(
        client_.get(), way.interface, way.family, name.name.c_str(), avahi::k_service_type,
        name.domain.c_str(), AVAHI_PROTO_UNSPEC, AvahiLookupFlags{}, on_answer, &question));
    // It is gone already, or the daemon has enough questions.
    if (!question.resolver) questions_.erase(place);
}

void Browser::on_answer(AvahiServiceResolver*, AvahiIfIndex interface, AvahiProtocol,
                        AvahiResolverEvent event, const char*, const char*, const char*, const char* host,
                        const AvahiAddress* address, std::uint16_t port, AvahiStringList* details,
                        AvahiLookupResultFlags, void* asked) noexcept {
    auto& question = *static_cast<Question*>(asked);
    question.answered = true;  // also by nobody: one that does not say where it is
    if (event == AVAHI_RESOLVER_FOUND && host != nullptr && address != nullptr)
        question.browser->owner_.on_sighting(question.name, question.way,
                                             {.host = host,
                                              .port = port,
                                              .address = to_text(*address, interface),
                                              .details = read_details(details)});
    question.browser->settle();
}

void Browser::forget(const Name& name, const Way& way) noexcept {
    questions_.erase({name, way});
    owner_.on_lost(name, way);
}

void Browser::settle() noexcept {
    if (heard_all_ && std::all_of(questions_.begin(), questions_.end(),
                                  [](const auto& one) { return one.second.answered; }))
        owner_.on_settled();
}

}  // namespace virtgate::ctl::discover
