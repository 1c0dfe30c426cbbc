// SPDX-License-Identifier: LGPL-2.1-or-later
// server - listeners, the clients that came by them, and the programs that these may call.
#include "libshared/server/server.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "libshared/base/path_fault.h"

namespace virtgate::server {

using loop::Want;

// One listener.
class Server::Door {
public:
    Door(loop::Loop& loop, Server& server, UniqueFd socket, unsigned number)
        : server_(server), socket_(std::move(socket)), number_(number) {
        watch_ = loop.watch(socket_.get(), Want::nothing, loop::to<&Door::on_ready>(*this));
    }
    void set_open(bool open) noexcept { watch_->set(open ? Want::read : Want::nothing); }

private:
    void on_ready(Want) noexcept { server_.accept_from(socket_.get(), number_); }

    Server& server_;
    UniqueFd socket_;
    const unsigned number_;
    std::unique_ptr<loop::Watch> watch_;
};

Server::Server(loop::Loop& loop, const ServerLimits& limits, ServerOwner& owner)
    : loop_(loop),
      limits_(limits),
      owner_(owner),
      again_(loop.timer(loop::to<&Server::accept_again>(*this))) {}

Server::~Server() = default;

void Server::listen(UniqueFd socket, unsigned number) {
    require(set_nonblocking(socket.get(), true).has_value(), "a listener without a socket");
    doors_.push_back(std::make_unique<Door>(loop_, *this, std::move(socket), number));
    watch_doors();
}

void Server::start() noexcept {
    is_open_ = true;
    watch_doors();
}

void Server::stop() noexcept {
    is_open_ = false;
    watch_doors();
}

void Server::watch_doors() noexcept {
    const bool open = is_open_ && !is_paused_ && !is_starved_ && clients_.size() < limits_.clients;
    for (const auto& door : doors_) door->set_open(open);
}

void Server::accept_from(int socket, unsigned number) noexcept {
    for (int i = 0; i < k_burst && clients_.size() < limits_.clients; ++i) {
        UniqueFd client{accept4(socket, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
        if (client) {
            if (!greet(std::move(client), number) && refused_.next())
                Log{}.info("refused connections: {}", refused_.count());
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EAGAIN) break;
        // No descriptor, or no memory: the connection stays in the queue, and would wake us at once again.
        if (const int number = errno; starved_.next())
            Log{}.error("cannot accept a connection, {} times so far: {}{}", starved_.count(),
                        std::strerror(number), advice_for(number));
        is_starved_ = true;
        again_->start(k_pause);
        break;
    }
    watch_doors();
}

void Server::accept_again() noexcept {
    is_starved_ = false;
    watch_doors();
}

// False if the peer may not come in.
bool Server::greet(UniqueFd socket, unsigned number) noexcept {
    const auto peer = read_peer(socket.get());
    if (!peer || !owner_.admits(*peer, number)) return false;
    static_cast<void>(add_client({.socket = std::move(socket), .input = {}, .output = {}}, *peer, number));
    return true;
}

Client& Server::add_client(Client::Handed handed, const Peer& peer, unsigned listener) {
    const ClientId id = next_++;
    auto client = std::make_unique<Client>(loop_, std::move(handed), peer, id, listener, programs_,
                                           limits_.client, static_cast<ClientOwner&>(*this));
    return *clients_.emplace(id, std::move(client)).first->second;
}

Result<Client*> Server::adopt(Client::Handed handed, unsigned listener) {
    if (clients_.size() >= limits_.clients) return system_fault(0, "there are too many connections");
    auto peer = read_peer(handed.socket.get());
    if (!peer) return tl::unexpected(std::move(peer.error()));
    Client& client = add_client(std::move(handed), *peer, listener);
    watch_doors();
    return &client;
}

Client* Server::find(ClientId id) const noexcept {
    const auto found = clients_.find(id);
    return found != clients_.end() ? found->second.get() : nullptr;
}

void Server::on_over(Client& client, std::string_view reason) noexcept {
    owner_.on_closed(client, reason);
    const bool was_unsettled = !client.is_settled();
    clients_.erase(client.id());  // `reason` is gone with it
    watch_doors();
    if (was_unsettled) settle_one();
}

void Server::on_answered(Client& client) noexcept {
    if (client.is_settled()) settle_one();
}

void Server::settle_one() noexcept {
    if (is_paused_ && --unsettled_ == 0) owner_.on_settled();
}

void Server::pause() noexcept {
    if (is_paused_) return;
    is_paused_ = true;
    watch_doors();
    for (const auto& [id, client] : clients_) {
        client->pause();
        unsettled_ += client->is_settled() ? 0 : 1;
    }
    if (unsettled_ == 0) owner_.on_settled();
}

}  // namespace virtgate::server
