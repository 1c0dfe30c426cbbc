// SPDX-License-Identifier: LGPL-2.1-or-later
// cuts - a server that dies at any byte: make check-client-cuts.
//
//   client-cuts URI FIRST STEP [DENSE]      a URI of the transport unix (with "socket=") or tls
//
// The same dialogue (login, OPEN, a call, a registration for events, a download) is held again and again through a
// relay that ends it after the first FIRST, FIRST + STEP, … bytes of the server, until it is not cut any more; behind the
// first DENSE bytes less often. Each time every call has to come back, done or with a failure that says so. Exit status 1 if one does not.
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>

#include "libshared/channel/connect.h"
#include "libshared/client/connection.h"
#include "libshared/client/tls.h"
#include "proto/remote_client.h"

using namespace virtgate;
namespace remote = proto::remote;

namespace {

constexpr Milliseconds k_patience{20000};
constexpr std::size_t k_dense = 6000, k_sparsely = 61;

// Passes bytes between a client and the server at `uri`; those of the server up to `limit`.
class Relay {
public:
    Relay(UniqueFd client, UniqueFd server, std::size_t limit)
        : client_(std::move(client)), server_(std::move(server)), limit_(limit), thread_([this] { run(); }) {}
    Relay(const Relay&) = delete;
    Relay& operator=(const Relay&) = delete;
    ~Relay() {
        shutdown(client_.get(), SHUT_RDWR);
        thread_.join();
    }
    [[nodiscard]] bool has_cut() const { return has_cut_; }

private:
    void run() {
        std::array<pollfd, 2> waited{{{client_.get(), POLLIN, 0}, {server_.get(), POLLIN, 0}}};
        std::array<char, 65536> buffer;
        while (poll(waited.data(), waited.size(), -1) > 0) {
            for (const bool from_server : {false, true}) {
                if (waited[from_server ? 1 : 0].revents == 0) continue;
                const UniqueFd& from = from_server ? server_ : client_;
                const UniqueFd& to = from_server ? client_ : server_;
                const std::size_t most = from_server ? std::min(buffer.size(), limit_) : buffer.size();
                const ssize_t n = read(from.get(), buffer.data(), most);
                if (n <= 0) return end();
                if (from_server) limit_ -= static_cast<std::size_t>(n);
                for (ssize_t at = 0; at < n;) {
                    const ssize_t sent =
                        send(to.get(), buffer.data() + at, static_cast<std::size_t>(n - at), MSG_NOSIGNAL);
                    if (sent < 0) return end();
                    at += sent;
                }
                if (limit_ > 0) continue;
                has_cut_ = true;
                return end();
            }
        }
    }
    void end() const {
        shutdown(client_.get(), SHUT_RDWR);
        shutdown(server_.get(), SHUT_RDWR);
    }

    UniqueFd client_, server_;
    std::size_t limit_;
    std::atomic<bool> has_cut_ = false;
    std::thread thread_;
};

client::CallOptions soon() {
    return {.deadline = client::Deadline::in(k_patience), .fds = {}, .received = nullptr};
}

// True if it is what a server that has gone may cause.
bool is_clear(const client::Failure& failure) {
    return !failure.text.empty() && failure.cause != client::Cause::timeout &&
           failure.cause != client::Cause::remote && failure.cause != client::Cause::invalid;
}

client::Done download(client::Connection& connection) {
    const auto domain = connection.remote().domain_lookup_by_name({.name = "test"}, soon());
    if (!domain) return tl::unexpected(domain.error());
    auto shot =
        connection.remote().domain_screenshot({.domain = domain->domain, .screen = 0, .flags = 0}, soon());
    if (!shot) return tl::unexpected(shot.error());
    std::size_t size = 0;
    auto done = shot->stream.receive_all(
        [&size](ByteView bytes) -> client::Done {
            size += bytes.size();
            return {};
        },
        {}, client::Deadline::in(k_patience));
    require(!done || size > 0, "a picture of nothing");
    return done;
}

// The dialogue. Where it ends.
client::Done hold(const client::Uri& uri, std::unique_ptr<client::Channel> channel) {
    client::Options options;
    options.service = client::Service::thread;
    options.deadline = client::Deadline::in(k_patience);
    auto connection = client::Connection::open_over(std::move(channel), uri, options);
    if (!connection) return tl::unexpected(connection.error());
    const auto version = connection->remote().connect_get_lib_version(soon());
    if (!version) return tl::unexpected(version.error());
    const auto events = connection->remote().on_domain_event_callback_lifecycle(
        [](const remote::DomainEventCallbackLifecycleMsg&) {}, {}, soon());
    if (!events) return tl::unexpected(events.error());
    return download(*connection);
}

// A client's channel of `uri` through a relay, which ends it after `limit` bytes.
client::Result<std::unique_ptr<client::Channel>> reach(const client::Uri& uri, std::size_t limit,
                                                       std::unique_ptr<Relay>& relay) {
    int ends[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "no socket pair");
    UniqueFd ours{ends[0]}, theirs{ends[1]};
    require(set_nonblocking(ours.get(), true).has_value(), "no such descriptor");
    const auto deadline = client::Deadline::in(k_patience);
    UniqueFd server;
    if (uri.how() == client::Transport::unix_socket) {
        auto socket = channel::connect_to(uri.socket, SOCK_STREAM);
        require(socket.has_value(), "no server at that socket");
        server = std::move(*socket);
    } else {
        auto socket = client::connect_tcp_socket(uri.effective_host(), uri.effective_port(), deadline);
        if (!socket) return tl::unexpected(socket.error());
        server = std::move(*socket);
    }
    require(set_nonblocking(server.get(), false).has_value(), "no such descriptor");
    relay = std::make_unique<Relay>(std::move(theirs), std::move(server), limit);
    if (uri.how() == client::Transport::unix_socket)
        return client::make_socket_channel(std::move(ours), true, false);
    auto paths = client::find_pki(uri.pkipath, client::Environment::of_process());
    if (!paths) return tl::unexpected(paths.error());
    auto credentials = client::TlsCredentials::load(*paths, true);
    if (!credentials) return tl::unexpected(credentials.error());
    return client::make_tls_channel(std::move(ours), std::move(*credentials),
                                    {.host = uri.effective_host(), .priority = {}, .verify = true}, deadline);
}

}  // namespace

int main(int count, char** words) {
    if (count != 4 && count != 5) return 2;
    const auto uri = client::Uri::parse(words[1]);
    require(uri.has_value(), "no URI");
    const std::size_t step = strtoul(words[3], nullptr, 10);
    std::size_t cuts = 0, limit = strtoul(words[2], nullptr, 10);
    // The picture alone is 32 KiB, whose bytes are all alike to us.
    const std::size_t dense = count == 5 ? strtoul(words[4], nullptr, 10) : k_dense;
    for (;; limit += limit < dense ? step : k_sparsely * step) {
        std::unique_ptr<Relay> relay;
        auto channel = reach(*uri, limit, relay);
        const auto done = channel ? hold(*uri, std::move(*channel)) : tl::unexpected(channel.error());
        if (!done && (!relay || !is_clear(done.error()))) {
            fmt::print("after {} bytes: {}: {}\n", limit, client::to_text(done.error().cause),
                       done.error().text);
            return 1;
        }
        const bool has_cut = relay && relay->has_cut();
        relay.reset();
        if (done && !has_cut) break;
        ++cuts;
    }
    fmt::print("{} cuts in {} bytes\n", cuts, limit);
    return 0;
}
