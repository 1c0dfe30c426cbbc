// SPDX-License-Identifier: LGPL-2.1-or-later
// ground - what all generations of processes share: the listeners, above all.
#include "netd/ground.h"

#include <grp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace virtgate::netd {

namespace {

using Passed = std::vector<spawn::NamedFd>;

Result<Listener> find_network(Passed& passed, std::string_view name, const Settings::Network& settings) {
    auto socket = spawn::take_listener(passed, name, SOCK_STREAM, {AF_INET, AF_INET6});
    if (!socket) return tl::unexpected(std::move(socket.error()));
    if (*socket) return adopt_listener(std::move(*socket));
    return open_listener(settings.address, settings.port);
}

Result<channel::LocalListener> open_local(const std::string& path, unsigned mode, const std::string& group) {
    constexpr int k_backlog = 128;
    channel::LocalListener::Options options{
        .type = SOCK_STREAM, .mode = mode, .backlog = k_backlog, .group = {}};
    if (!group.empty()) {
        errno = 0;
        const ::group* entry = getgrnam(group.c_str());
        if (entry == nullptr) return system_fault(errno, fmt::format("there is no group {}", escape(group)));
        options.group = entry->gr_gid;
    }
    return channel::LocalListener::open(path, options);
}

// Empty: none was passed, and `path` is empty.
Result<channel::LocalListener> find_local(Passed& passed, std::string_view name, const std::string& path,
                                          unsigned mode, const std::string& group) {
    auto socket = spawn::take_listener(passed, name, SOCK_STREAM, {AF_UNIX});
    if (!socket) return tl::unexpected(std::move(socket.error()));
    if (*socket) return channel::LocalListener::adopt(std::move(*socket), {});
    if (path.empty()) return channel::LocalListener{};
    return open_local(path, mode, group);
}

Done open_metrics(const Settings::Metrics& settings, Passed& passed, Ground& ground) {
    auto socket = spawn::take_listener(passed, "metrics", SOCK_STREAM, {AF_UNIX, AF_INET, AF_INET6});
    if (!socket) return tl::unexpected(std::move(socket.error()));
    int family = AF_INET;
    socklen_t size = sizeof family;
    if (*socket && getsockopt(socket->get(), SOL_SOCKET, SO_DOMAIN, &family, &size) < 0)
        return system_fault(errno, "cannot find out what kind a socket is");
    if (*socket ? family == AF_UNIX : !settings.path.empty()) {
        auto local = *socket ? channel::LocalListener::adopt(std::move(*socket), {})
                             : open_local(settings.path, settings.mode, settings.group);
        if (!local) return tl::unexpected(std::move(local.error()));
        ground.local_metrics = std::move(*local);
        return {};
    }
    auto listener =
        *socket ? adopt_listener(std::move(*socket)) : open_listener(settings.address, settings.port);
    if (!listener) return tl::unexpected(std::move(listener.error()));
    if (!listener->local)
        return system_fault(
            0, fmt::format("the socket \"metrics\" listens at {}: it has to be an address of the "
                           "loopback interface, since whoever connects may read there",
                           listener->name));
    ground.metrics = std::move(*listener);
    return {};
}

}  // namespace

Result<Ground> open_ground(Settings& settings, Passed passed) {
    const auto has = [&passed](std::string_view name) {
        return std::any_of(passed.begin(), passed.end(), [&](const auto& one) { return one.name == name; });
    };
    if (!passed.empty()) {
        if (!has("tcp")) settings.tcp.login = proto::config::LoginMode::login_off;
        if (!has("unix")) settings.local.login = proto::config::LoginMode::login_off;
        if (!has("unix-ro")) settings.local.read_only_path.clear();
        if (!has("admin")) settings.admin.enabled = false;
        if (!has("metrics")) settings.metrics.enabled = false;
    }
    Ground ground;
    const auto settle = [](auto found, auto& place) -> Done {
        if (!found) return tl::unexpected(std::move(found.error()));
        place = std::move(*found);
        return {};
    };
    Done done = settle(find_network(passed, "tls", settings.tls), ground.tls);
    if (done && settings.tcp.is_on()) done = settle(find_network(passed, "tcp", settings.tcp), ground.tcp);
    if (const Settings::Local& local = settings.local; local.is_on()) {
        if (done)
            done = settle(find_local(passed, "unix", local.path, local.mode, local.group), ground.local);
        if (done)
            done =
                settle(find_local(passed, "unix-ro", local.read_only_path, local.read_only_mode, local.group),
                       ground.local_read_only);
    }
    constexpr unsigned k_admin_mode = 0600;
    if (done && settings.admin.is_on())
        done = settle(find_local(passed, "admin", settings.admin.path, k_admin_mode, {}), ground.admin);
    if (done && settings.metrics.is_on()) done = open_metrics(settings.metrics, passed, ground);
    // A listener that is off in the settings is left, too.
    if (done) done = spawn::expect_nothing_left(passed);
    if (!done) return tl::unexpected(std::move(done.error()));
    return ground;
}

}  // namespace virtgate::netd
