// SPDX-License-Identifier: LGPL-2.1-or-later
// desk - the procedures of libvirt's lock program: what is checked, in which order, and who does it then.
//
// The checks are those of virtlockd in its order: flags, restricted, owner, lock space. The rest is the table's.
//
// Trust:  arguments are a client's: within the limits of proto/lock.x, and nothing else.
#pragma once

#include "libshared/server/program.h"
#include "lockd/locker/connections.h"
#include "lockd/locker/session_desk.h"
#include "lockd/locker/spaces.h"
#include "proto/lock.h"

namespace virtgate::lockd::locker {

class Desk {
public:
    // All outlive this object.
    Desk(Connections& connections, SessionDesk& sessions, Spaces& spaces, LockTable& table);
    Desk(const Desk&) = delete;
    Desk& operator=(const Desk&) = delete;

    [[nodiscard]] const server::Program& program() const noexcept { return program_; }

private:
    using Client = server::Client;
    using Call = server::Call;
    void register_owner(Client& client, const proto::lock::RegisterArgs& arguments, Call call) noexcept;
    void restrict(Client& client, const proto::lock::RestrictArgs& arguments, Call call) noexcept;
    void open_new(Client& client, const proto::lock::NewArgs& arguments, Call call) noexcept;
    void create_resource(Client& client, const proto::lock::CreateResourceArgs& arguments,
                         Call call) noexcept;
    void delete_resource(Client& client, const proto::lock::DeleteResourceArgs& arguments,
                         Call call) noexcept;
    void acquire(Client& client, const proto::lock::AcquireResourceArgs& arguments, Call call) noexcept;
    void release(Client& client, const proto::lock::ReleaseResourceArgs& arguments, Call call) noexcept;
    void open_space(Client& client, const proto::lock::CreateLockSpaceArgs& arguments, Call call) noexcept;

    // What a procedure asks of its flags and of its connection.
    struct Demand {
        proto::lock::Procedure number;
        std::string_view procedure;
        std::uint32_t flags = 0;
        std::uint32_t flags_known = 0;
        bool owner = true;
    };
    [[nodiscard]] Answer<void> check(const Client& client, const Demand& demand);
    // Of a session: whether its rights allow the call, on the resource `name` of `path`, or on the lock space itself.
    [[nodiscard]] Answer<SessionDesk::Verdict> judge(const Client& client, const Demand& demand,
                                                     const std::string* path, const std::string* name,
                                                     Call& call);
    // The same, and the lock space has to be there.
    [[nodiscard]] Answer<LockTable::Where> check(const Client& client, const Demand& demand,
                                                 const std::string& path, const std::string& name, Call& call,
                                                 SessionDesk::Verdict* verdict = nullptr);

    Connections& connections_;
    SessionDesk& sessions_;
    Spaces& spaces_;
    LockTable& table_;
    server::Program program_;
};

}  // namespace virtgate::lockd::locker
