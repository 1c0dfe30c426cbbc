// SPDX-License-Identifier: LGPL-2.1-or-later
// login - a client that has to log in before it has a session: the frames of libvirt's SASL dialogue.
//
//     reading ─ AUTH_SASL_START, _STEP ─▶ asking doorman ─ goes on, or may try again ─▶ reading
//        │                                    └─ complete ─▶ leaving (last bytes go out) ─▶ admitted
//        └─ breaks a rule, too slow, too often wrong ─▶ over
//
// One frame is read at a time and nothing behind it, because after the last one the bytes may belong to a security
// layer. Nothing is told that an outsider should not know: whatever else is called gets "authentication required".
//
// Trust:  nobody is known yet. Tokens are opaque here and go to doorman.
// Limits: frames as long as the longest token needs; those longer than k_small share `memory` with all logins of the
//         gate. k_mistakes_max calls that lead to nothing. The deadline is the owner's.
// Owns:   the frame that is coming. The connection is borrowed until it is over.
#pragma once

#include "libshared/rpc/header.h"
#include "netd/gate/connection.h"
#include "netd/gate/door.h"

namespace virtgate::netd::gate {

class Login {
public:
    static constexpr std::size_t k_small = 4096;
    static constexpr std::size_t k_memory_max = std::size_t{32} << 20;
    // libvirt's tokens travel with four bytes for each.
    static constexpr std::size_t k_frame_max =
        rpc::k_frame_min + 2048 + 4 * std::size_t{proto::door::k_token_max};
    static constexpr unsigned k_mistakes_max = 16;

    enum class State : unsigned char { reading, asking, leaving, admitted, over };

    // A client that is not let in at all: its first call is answered with `refusal`, and then it is over.
    Login(Connection& connection, Door& door, std::string refusal, std::size_t& memory,
          loop::Target<> changed);

    // `memory`: bytes of long frames that all logins hold together. `changed` is called when doorman's answer has
    // moved it to another state. Door and connection have to outlive it.
    Login(Connection& connection, Door& door, proto::door::Visit visit, std::size_t& memory,
          loop::Target<> changed);
    ~Login();
    Login(const Login&) = delete;
    Login& operator=(const Login&) = delete;

    // Goes on: the connection is ready for something that want() asked for.
    void go_on();
    [[nodiscard]] State state() const noexcept { return state_; }
    [[nodiscard]] loop::Want want() const noexcept;
    // Input waits in memory: go_on() without waiting for the socket.
    [[nodiscard]] bool has_input() const noexcept {
        return state_ == State::reading && connection_.has_input();
    }
    // Why it is over.
    [[nodiscard]] const std::string& why() const noexcept { return why_; }

    // When admitted. With a layer, the session's connection is that.
    struct Admission {
        proto::who::SessionGrant grant;
        UniqueFd session, layer;
    };
    [[nodiscard]] Admission take() noexcept { return std::move(admission_); }

private:
    // What of the dialogue was done.
    enum class Stage : unsigned char { nothing, listed, begun };
    void read();
    bool reserve(std::size_t size);
    void release() noexcept;
    void take_frame();
    void take_call(const rpc::Header& call, ByteView payload);
    void serve_init(const rpc::Header& call, ByteView payload);
    void serve_start(const rpc::Header& call, ByteView payload);
    void serve_step(const rpc::Header& call, ByteView payload);
    void on_decision(Door::Decision& decision) noexcept;
    void answer_token(const Door::Decision& decision);
    void refuse(const rpc::Header& call, int code, std::string_view text);
    void send(ByteView frame);
    void end(std::string why);

    Connection& connection_;
    Door& door_;
    proto::door::Visit visit_;
    std::size_t& memory_;
    loop::Target<> changed_;
    State state_ = State::reading;
    Stage stage_ = Stage::nothing;
    ByteVector frame_;
    std::size_t have_ = 0;      // bytes of frame_ that came
    std::size_t reserved_ = 0;  // of memory_
    rpc::Header asked_{};
    Door::Ticket ticket_ = 0;
    unsigned mistakes_ = 0;
    std::string refusal_;
    bool gone_ = false;  // doorman has forgotten the visit
    Admission admission_;
    std::string why_;
};

}  // namespace virtgate::netd::gate
