// SPDX-License-Identifier: LGPL-2.1-or-later
// control_desk - the control program, served to virtgate's own tools.
//
// Twin: ctl/admin (proto/control.x).
//
// Trust:  whoever calls is an administrator; what he changes is logged with who he is.
// Owns:   nothing; open questions are the links'.
#pragma once

#include "libshared/server/program.h"
#include "netd/steward/gates.h"

namespace virtgate::netd::steward {

// The supervisor, as far as it is there.
class Supervisor {
public:
    virtual ~Supervisor() = default;
    virtual void ask(proto::control::Procedure procedure, ByteView payload, Milliseconds patience,
                     Link::Then then) = 0;
};

class ControlDesk {
public:
    // Both outlive this.
    ControlDesk(Gates& gates, Supervisor& supervisor);
    [[nodiscard]] const server::Program& program() const noexcept { return program_; }

private:
    using Client = server::Client;
    using Call = server::Call;
    void connections(Client& client, const proto::control::ConnectionsArgs& arguments, Call call) noexcept;
    void close(Client& client, const proto::control::CloseArgs& arguments, Call call) noexcept;
    void counters(Client& client, Call call) noexcept;
    void state(Client& client, Call call) noexcept;
    void change(Client& client, const proto::control::ChangeArgs& arguments, Call call) noexcept;
    void reload(Client& client, Call call) noexcept;
    void drain(Client& client, const proto::control::DrainArgs& arguments, Call call) noexcept;
    void resume(Client& client, Call call) noexcept;
    // The supervisor's answer is the answer.
    void pass_on(proto::control::Procedure procedure, ByteView payload, Call call);

    Gates& gates_;
    Supervisor& supervisor_;
    server::Program program_;
    Log log_{"administration"};
};

// "user 0 (process 4711)".
[[nodiscard]] std::string describe(const server::Client& client);

}  // namespace virtgate::netd::steward
