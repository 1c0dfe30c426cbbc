// SPDX-License-Identifier: LGPL-2.1-or-later
// connections - what is known of each connection: whose locks it speaks of, and whether it may still say so.
//
// A connection whose peer is the owner itself outlives a crash of this process (the holder keeps it), so that the end of its
// owner is noticed all the same. All others outlive only a hand-over in good order.
//
// Trust:  the owner is what the client says. Its process number is compared with the peer's, which the kernel told at accept.
// Owns:   the state of connections and the slots of those that are kept; not the connections (libshared/server).
#pragma once

#include <unordered_map>
#include <unordered_set>

#include "libshared/server/server.h"
#include "lockd/locker/departures.h"

namespace virtgate::lockd::locker {

class ConnectionsUser {
public:
    virtual ~ConnectionsUser() = default;
    // The end of hand_over(): all that could be kept is.
    virtual void on_handed_over() noexcept = 0;
};

class Connections : private KeepingUser {
public:
    // On their way to the holder at a time, when all are handed over.
    static constexpr std::size_t k_window = 32;

    Connections(Keeping& keeping, Departures& departures, ConnectionsUser& user);
    ~Connections() override;
    Connections(const Connections&) = delete;
    Connections& operator=(const Connections&) = delete;

    struct Connection {
        std::optional<Owner> owner{};
        bool is_restricted = false;
        bool is_of_process = false;  // it means something to this process alone: it is not handed over
        bool is_dismissed = false;   // it was told so by its end: that is not for its peer to answer for
        std::optional<Slot> slot{};  // it is kept: its peer is the owner, or it is a session
        UniqueFd process{};          // the peer, if it is the owner and has not ended
    };
    [[nodiscard]] const Connection& of(const server::Client& client) { return all_[client.id()]; }

    // From now on `client` speaks for `owner`; answers `call`.
    void set_owner(server::Client& client, Owner owner, server::Call call);
    // It ends with this process, whoever comes next.
    void keep_back(const server::Client& client) { all_[client.id()].is_of_process = true; }
    // It is restricted; answers `call`. It has an owner.
    void restrict(server::Client& client, server::Call call);
    // It has ended.
    void on_closed(server::Client& client) noexcept;

    // Goes on with `client` as `kept` says; kept in `slot`, and with its peer's `process`, if that is the owner.
    void adopt(server::Client& client, const proto::kept::KeptConnection& kept, std::optional<Slot> slot,
               UniqueFd process);

    // A copy of the descriptor of the process `number`, if it has a connection of its own; otherwise empty.
    [[nodiscard]] UniqueFd find_process(std::uint32_t number) const;

    // `client` is a session of the front door, which is `owner`, from now on and for good; answers `call`. Its locks end with
    // the connection, whatever becomes of this process.
    void begin_session(server::Client& client, Owner owner, server::Call call);

    // The owners (key_of) that have a connection of their own, and have not ended as far as is known.
    [[nodiscard]] std::unordered_set<std::string> alive() const;

    // A lock of `owner` was broken or lost: connections of `server` that speak for it are ended, which is all that it can be
    // told. Nobody is ended for that.
    void dismiss(const Owner& owner, server::Server& server);

    // Keeps all clients of `server`, paused and settled, for whoever comes next. on_handed_over() follows.
    void hand_over(server::Server& server);

    // What is kept of a connection that is served.
    [[nodiscard]] static proto::kept::Kept make_record(const server::Client& client,
                                                       const Connection& connection);

private:
    // A call that the holder has to hear of before it is answered.
    struct Waiting {
        server::ClientId client = 0;
        std::optional<server::Call> call{};
        Connection next{};         // without the process
        bool is_new_slot = false;  // free again if it is not kept
        bool is_drop = false;      // the slot is free if it is dropped
        Slot slot = 0;
    };
    void ask_keep(server::Client& client, Connection next, bool is_new_slot, server::Call call);
    void on_kept(Ticket ticket, Answer<void> done) noexcept override;
    void on_call_kept(Waiting& waiting, Answer<void> done);
    void hand_over_more();
    void hand_over_one(server::Client& client);

    Keeping& keeping_;
    Departures& departures_;
    ConnectionsUser& user_;
    std::unordered_map<server::ClientId, Connection> all_;
    std::unordered_map<Ticket, Waiting> waiting_;
    server::Server* handing_over_ = nullptr;  // whose clients are handed over
    std::vector<server::ClientId> left_;      // that still are to be
    std::vector<UniqueFd> handed_;            // open until all are kept
    std::size_t lost_ = 0;                    // could not be handed over
    bool is_handing_over_more_ = false;
    bool is_handed_over_ = false;
    Ticket next_ticket_ = 1;
};

// True if `owner` is the process at the other end.
[[nodiscard]] bool is_peer(const Owner& owner, const server::Peer& peer) noexcept;

}  // namespace virtgate::lockd::locker
