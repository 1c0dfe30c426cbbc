// SPDX-License-Identifier: LGPL-2.1-or-later
// publisher - has avahi-daemon publish one service, under a name that nobody else on the network has.
#include "netd/announcer/publisher.h"

#include <avahi-common/alternative.h>
#include <avahi-common/error.h>
#include <avahi-common/malloc.h>
#include <avahi-common/strlst.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "config.h"
#include "libshared/avahi/service.h"
#include "libshared/base/bytes.h"
#include "libshared/spawn/exit.h"

namespace virtgate::netd::announcer {

namespace {

constexpr AvahiIfIndex k_loopback = 1;  // Linux gives this number to no other interface
// As many names as this are tried at once; then somebody seems to be after ours, and each next one waits.
constexpr std::uint64_t k_quick_names = 8;
constexpr Milliseconds k_slow_name{10'000};

// "host1" of "host1.example.org"; empty if the machine has no name.
std::string short_host_name() {
    std::array<char, 256> name{};
    if (gethostname(name.data(), name.size() - 1) < 0) return {};
    const std::string whole = name.data();
    return whole.substr(0, whole.find('.'));
}

std::string default_name() {
    const std::string host = short_host_name();
    std::string name = fmt::format("{}{}{}", avahi::k_default_name, host.empty() ? "" : " ", host);
    if (name.size() > avahi::k_name_max) name.resize(avahi::k_name_max);
    return is_plain_text(name) ? name : avahi::k_default_name;
}

using Texts = std::unique_ptr<AvahiStringList, FreeWith<avahi_string_list_free>>;

// The list is built from its end.
Texts make_record() noexcept {
    AvahiStringList* list =
        avahi_string_list_add_pair(nullptr, avahi::k_key_transport, avahi::k_transport_tls);
    list = avahi_string_list_add_pair(list, avahi::k_key_version, VIRTGATE_VERSION);
    list = avahi_string_list_add_pair(list, avahi::k_key_product, avahi::k_product);
    return Texts{list};
}

}  // namespace

Publisher::Publisher(loop::Loop& loop, const proto::config::AnnouncerConfig& config)
    : loop_(loop),
      config_(config),
      poll_(loop),
      name_(config.name.empty() ? default_name() : config.name),
      changed_(loop.timer(loop::to<&Publisher::act>(*this))),
      group_changed_(loop.timer(loop::to<&Publisher::act_on_group>(*this))),
      retry_(loop.timer(loop::to<&Publisher::publish>(*this))) {}

Done Publisher::connect() {
    int error = 0;
    client_.reset(avahi_client_new(poll_.api(), AVAHI_CLIENT_NO_FAIL, on_client, this, &error));
    // The library has no word for a bus that is not there but "D-Bus error".
    if (!client_)
        return system_fault(0, fmt::format("cannot reach the system's D-Bus ({})", avahi_strerror(error)));
    return {};
}

void Publisher::complain(std::string_view why) const noexcept {
    if (config_.waits && !was_published_) return log_.debug("not announced: {}", why);
    log_.warning("not announced: {}; that is tried again", why);
}

void Publisher::end(std::string_view why) noexcept {
    complain(why);
    status_ = spawn::k_exit_unavailable;
    loop_.stop();
}

// Called by the library in the middle of what it does, and by avahi_client_new() before there is a filter: what follows
// waits for the loop.
void Publisher::on_client(AvahiClient*, AvahiClientState state, void* self) noexcept {
    auto& publisher = *static_cast<Publisher*>(self);
    publisher.state_ = state;
    publisher.changed_->start(Milliseconds{0});
}

void Publisher::on_group(AvahiEntryGroup*, AvahiEntryGroupState state, void* self) noexcept {
    auto& publisher = *static_cast<Publisher*>(self);
    publisher.group_state_ = state;
    publisher.group_changed_->start(Milliseconds{0});
}

void Publisher::act() noexcept {
    switch (state_) {
        case AVAHI_CLIENT_S_RUNNING: return publish();
        // The machine's name is not settled, and the service is at a machine. It runs in a moment.
        case AVAHI_CLIENT_S_REGISTERING:
        case AVAHI_CLIENT_S_COLLISION:
            if (group_) avahi_entry_group_reset(group_.get());
            return;
        case AVAHI_CLIENT_CONNECTING: return complain("no avahi-daemon runs");
        case AVAHI_CLIENT_FAILURE: break;
    }
    end(fmt::format("avahi-daemon has gone ({})", avahi_strerror(avahi_client_errno(client_.get()))));
}

void Publisher::act_on_group() noexcept {
    switch (group_state_) {
        case AVAHI_ENTRY_GROUP_UNCOMMITED:
        case AVAHI_ENTRY_GROUP_REGISTERING: return;
        case AVAHI_ENTRY_GROUP_ESTABLISHED:
            was_published_ = true;
            return log_.info("announced as \"{}\", port {}", escape(name_), config_.port);
        case AVAHI_ENTRY_GROUP_COLLISION:
            take_next_name();
            if (renames_.count() <= k_quick_names) return publish();
            return retry_->start(k_slow_name);
        case AVAHI_ENTRY_GROUP_FAILURE: break;
    }
    end(fmt::format("avahi-daemon gave up ({})", avahi_strerror(avahi_client_errno(client_.get()))));
}

// "NAME", "NAME #2", "NAME #3".
void Publisher::take_next_name() {
    const std::unique_ptr<char, FreeWith<avahi_free>> next{avahi_alternative_service_name(name_.c_str())};
    require(next != nullptr, "no memory for a name");
    if (renames_.next()) log_.info("the name \"{}\" is taken", escape(name_));
    name_ = next.get();
}

void Publisher::publish() noexcept {
    if (state_ != AVAHI_CLIENT_S_RUNNING) return;  // it runs again later, and act() comes here
    if (!group_) group_.reset(avahi_entry_group_new(client_.get(), on_group, this));
    int error = group_ ? try_name() : avahi_client_errno(client_.get());
    // Of this machine's own services, the daemon says it at once.
    for (std::uint64_t i = 0; error == AVAHI_ERR_COLLISION && i < k_quick_names; ++i) {
        take_next_name();
        error = try_name();
    }
    if (error == AVAHI_OK) error = avahi_entry_group_commit(group_.get());
    if (error != AVAHI_OK) end(fmt::format("avahi-daemon refuses it ({})", avahi_strerror(error)));
}

int Publisher::try_name() noexcept {
    if (const int error = avahi_entry_group_reset(group_.get()); error != AVAHI_OK) return error;
    const Texts record = make_record();
    return avahi_entry_group_add_service_strlst(group_.get(), config_.local ? k_loopback : AVAHI_IF_UNSPEC,
                                                AVAHI_PROTO_UNSPEC, AvahiPublishFlags{}, name_.c_str(),
                                                avahi::k_service_type, nullptr, nullptr,
                                                static_cast<std::uint16_t>(config_.port), record.get());
}

}  // namespace virtgate::netd::announcer
