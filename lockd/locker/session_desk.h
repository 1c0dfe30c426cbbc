// SPDX-License-Identifier: LGPL-2.1-or-later
// session_desk - sessions of the front door: connections that the broker began, with the rights of an identity.
//
// A session is its connection. Its owner is what the broker has said, never what comes by the connection; what it may do is
// judged here, by the policy's rights, call by call. Its locks end with it, or, where the rule that allowed them says "keep",
// belong to the identity: a later session of that, or an administrator, releases them.
//
// One kind of session is a process of the broker's own that locks for others (the store): its REGISTER says for whom, which is
// shown with its locks and decides nothing.
//
// Twin: workerd/broker/lock_door (proto/lock_session.x).
//
// Trust:  who may begin sessions can be any identity. Whoever has the connection afterwards is a client of the network, or a
//         process that was taken over: names and paths are hostile, and lead nowhere but where they say, before they are judged.
// Limits: a session's rights have at most k_session_rights_max bytes.
// Owns:   the rights of each session.
#pragma once

#include <set>
#include <unordered_map>

#include "libshared/server/program.h"
#include "libshared/server/server.h"
#include "lockd/locker/connections.h"
#include "lockd/locker/witness.h"
#include "policy/rights.h"
#include "proto/lock.h"
#include "proto/lock_session.h"

namespace virtgate::lockd::locker {

class SessionDesk {
public:
    // `users`: who may use the lock program itself. `beginners`: who may begin sessions, besides root and our own user.
    SessionDesk(Connections& connections, Witness& witness, std::vector<std::uint32_t> users,
                const std::vector<std::uint32_t>& beginners);
    SessionDesk(const SessionDesk&) = delete;
    SessionDesk& operator=(const SessionDesk&) = delete;

    [[nodiscard]] const server::Program& program() const noexcept { return program_; }

    // True if `uid` may begin sessions.
    [[nodiscard]] bool admits(uid_t uid) const noexcept { return beginners_.contains(uid); }
    // False for who may begin sessions, and nothing else.
    [[nodiscard]] bool may_lock_itself(const server::Client& client) const noexcept;

    // True if `client` is a session. The others are for sessions only, but number_of() is 0 for what is none.
    [[nodiscard]] bool has(const server::Client& client) const noexcept { return all_.contains(client.id()); }
    [[nodiscard]] bool is_registered(const server::Client& client) const { return at(client).is_registered; }
    [[nodiscard]] std::uint64_t number_of(const server::Client& client) const noexcept;
    // Whose the locks are that outlast it.
    [[nodiscard]] const Owner& identity_of(const server::Client& client) const { return at(client).identity; }

    // It locks for other sessions, and may know who has what it does not get.
    [[nodiscard]] bool is_for_others(const server::Client& client) const noexcept;
    // Whose its locks are, shown with the name of whom they are for; `owner` is what the connection speaks for.
    [[nodiscard]] Owner owner_of(const server::Client& client, const Owner& owner) const;

    // The session has said who it is; what it said is of no interest, but of one that locks for others. Answers `call`.
    void register_owner(const server::Client& client, const proto::lock::Owner& owner, server::Call call);

    struct Verdict {
        bool keep = false;  // the lock outlasts the session
    };
    // Whether the session may call `procedure` with `flags`, on the resource `name` of the lock space `path`, on the lock space
    // itself (no name), or on nothing (no path). The decision is recorded as the role says, and if it is allowed, how `call`
    // ends.
    [[nodiscard]] Answer<Verdict> judge(const server::Client& client, proto::lock::Procedure procedure,
                                        std::uint32_t flags, const std::string* path, const std::string* name,
                                        server::Call& call);

    // `client` has ended.
    void on_closed(const server::Client& client) noexcept { all_.erase(client.id()); }

private:
    struct Session {
        std::uint64_t number = 0;  // in the front door; of one for others, that of the last REGISTER
        std::uint64_t broker = 0;
        bool for_others = false;
        std::string guest{};  // of one for others: for whom, by the last REGISTER
        std::string listener{};
        Owner identity{};
        bool is_registered = false;
        policy::Rights rights;
    };
    using Client = server::Client;
    using Call = server::Call;
    void begin(Client& client, const proto::lock_session::BeginArgs& arguments, Call call) noexcept;
    void hear(Client& client, const proto::lock_session::WitnessArgs& arguments, Call call) noexcept;
    struct Made {
        proto::lock::Procedure procedure{};
        std::uint32_t flags = 0;
        bool has_object = false;
        std::string object{};
        std::string_view detail{};
    };
    void note(const Session& session, const Made& made, const policy::Decision& decision, Call& call);
    void renew(Client& client, const proto::lock_session::RenewArgs& arguments, Call call) noexcept;
    [[nodiscard]] bool admit(const Client& client, Call& call) const noexcept;
    [[nodiscard]] const Session& at(const server::Client& client) const { return all_.at(client.id()); }

    Connections& connections_;
    Witness& witness_;
    const std::vector<std::uint32_t> users_;
    std::set<uid_t> beginners_;
    server::Program program_;
    std::unordered_map<server::ClientId, Session> all_;
};

}  // namespace virtgate::lockd::locker
