// SPDX-License-Identifier: LGPL-2.1-or-later
// server - listeners, the clients that came by them, and the programs that these may call.
//
// A new daemon defines its programs (program.h) and is their ServerOwner; all else is here. Nothing in here knows what is
// served.
//
//     Server server(loop, limits, owner);
//     server.add(program);
//     server.listen(std::move(socket), k_listener_own);
//     server.start();
//
// Trust:  a peer is whoever the kernel says (peer.h), asked before its first byte is read; whom the owner does not admit
//         is closed without an answer.
// Limits: ServerLimits::clients; more wait in the listeners' queues. Where the system has no descriptor left, nobody is
//         accepted for k_pause.
// Owns:   the listeners and the clients.
#pragma once

#include <unordered_map>

#include "libshared/base/log.h"
#include "libshared/server/client.h"

namespace virtgate::server {

struct ServerLimits {
    std::size_t clients = 1024;
    ClientLimits client{};
};

class ServerOwner {
public:
    virtual ~ServerOwner() = default;
    // Whether `peer` may call anything at all.
    [[nodiscard]] virtual bool admits(const Peer& peer, unsigned listener) noexcept = 0;
    // `client` has ended and is destroyed right after this.
    virtual void on_closed(Client& client, std::string_view reason) noexcept = 0;
    // No call of a client is open any more, after pause().
    virtual void on_settled() noexcept = 0;
};

class Server : private ClientOwner {
public:
    static constexpr Milliseconds k_pause{1'000};
    static constexpr int k_burst = 16;  // accepted in one turn of the loop

    Server(loop::Loop& loop, const ServerLimits& limits, ServerOwner& owner);
    ~Server() override;
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    // Clients may call `program` (borrowed). Before the first client.
    void add(const Program& program) { programs_.push_back(&program); }
    // Accepts from `socket`, which listens and is made non-blocking, after start(). `number`: Client::listener().
    void listen(UniqueFd socket, unsigned number);
    void start() noexcept;
    // Accepts nobody from now on.
    void stop() noexcept;

    // Goes on with a connection that another process had. Error: system's fault, if it is none, or there are too many.
    [[nodiscard]] Result<Client*> adopt(Client::Handed handed, unsigned listener);

    // Accepts nobody and takes no call any more; on_settled() follows, from within this or later.
    void pause() noexcept;
    // All clients, in no order.
    template <class Visit>
    void for_each(Visit&& visit) {
        for (auto& [id, client] : clients_) visit(*client);
    }
    // Null if it has ended.
    [[nodiscard]] Client* find(ClientId id) const noexcept;
    [[nodiscard]] std::size_t size() const noexcept { return clients_.size(); }

private:
    class Door;
    void accept_from(int socket, unsigned number) noexcept;
    void accept_again() noexcept;
    [[nodiscard]] bool greet(UniqueFd socket, unsigned number) noexcept;
    [[nodiscard]] Client& add_client(Client::Handed handed, const Peer& peer, unsigned listener);
    void on_over(Client& client, std::string_view reason) noexcept override;
    void on_answered(Client& client) noexcept override;
    void watch_doors() noexcept;
    void settle_one() noexcept;

    loop::Loop& loop_;
    const ServerLimits limits_;
    ServerOwner& owner_;
    std::vector<const Program*> programs_;
    std::vector<std::unique_ptr<Door>> doors_;
    std::unordered_map<ClientId, std::unique_ptr<Client>> clients_;
    ClientId next_ = 1;
    bool is_open_ = false;    // start() was called, and not stop()
    bool is_paused_ = false;  // pause() was called
    bool is_starved_ = false;
    std::size_t unsettled_ = 0;  // after pause(): clients with an open call
    Sparse refused_, starved_;
    std::unique_ptr<loop::Timer> again_;
};

}  // namespace virtgate::server
