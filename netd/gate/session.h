// SPDX-License-Identifier: LGPL-2.1-or-later
// session - one admitted client: its connection on one side, its session descriptor on the other.
//
//   client ══ TLS ══▶ cutter ─▶ vet ─▶ packets ══ session fd ══▶ worker
//   client ◀══ TLS ══ frames ◀─ vet ◀─ cutter ◀══ session fd ══ worker
//
// Calls of the program lock go to the lock daemon, by a descriptor of their own, and are answered from there:
//
//   client ══ TLS ══▶ cutter ─▶ vet ══ lock descriptor ══▶ lock daemon
//
// What the gate answers itself (keepalive, AUTH_*, the features of the transport, refusals) is put between the
// frames of the worker. Backpressure is the kernel's: when one side does not take more, the other side is not read.
//
// Trust:  hostile input from both sides: the client may be anybody, the worker may have been taken over.
// Limits: settings.h. Memory of an idle session is this object and GnuTLS's.
// Owns:   the connection, the session descriptor and that of the lock daemon. Closing them ends the session there.
#pragma once

#include <memory>
#include <string>

#include "libshared/base/log.h"
#include "libshared/loop/loop.h"
#include "libshared/rpc/cutter.h"
#include "libshared/rpc/ping_schedule.h"
#include "netd/gate/backlog.h"
#include "netd/gate/connection.h"
#include "netd/gate/ledger.h"
#include "netd/gate/roll.h"
#include "netd/gate/settings.h"
#include "netd/gate/sources.h"
#include "netd/gate/vet.h"
#include "proto/who.h"

namespace virtgate::netd::gate {

// A client that doorman has let in, on its way to the session loop.
struct Admitted {
    std::unique_ptr<Connection> connection;
    UniqueFd worker;  // the gate's end of the session
    std::uint64_t session = 0;
    proto::who::LockWay locks = proto::who::LockWay::locks_refused;
    std::string identity;
    std::string source;
    Sources::Place place;
    Roll::Entry entry{};
};

class Session {
public:
    // `ended` is called once, from the loop, when the session is over; it may destroy the session.
    Session(loop::Loop& loop, const Settings& settings, Admitted admitted, loop::Target<Session&> ended);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // Its number on the roll.
    [[nodiscard]] std::uint64_t connection() const noexcept { return entry_.id(); }
    // Ends it at once. It may be gone then.
    void close(std::string_view why) noexcept;
    // Ends it with `why` as the error of what is open. Where nothing is open, the next call within k_last_call_time gets it;
    // then it ends. It may be gone then.
    void dismiss(std::string_view why) noexcept;

private:
    // serving → farewell (the worker is gone: last words, nothing is read any more) → over
    enum class State : unsigned char { serving, farewell, over };

    void on_client(loop::Want ready) noexcept;
    void on_worker(loop::Want ready) noexcept;
    void on_keepalive() noexcept;
    void on_deadline() noexcept;

    // session.cc
    void end_turn() noexcept;
    void update_wants() noexcept;
    [[nodiscard]] bool worker_waits() const noexcept;
    [[nodiscard]] bool must_pause() const noexcept;
    void pause(ByteView rest);
    void resume();
    void start_keepalive();
    void note_partial_frame();
    void worker_gone(std::string_view why);
    void client_gone(std::string_view why) noexcept;
    void worker_broke_rules(std::string_view what);
    void client_broke_rules(std::string_view what) noexcept;
    void log_end(std::string_view why) const noexcept;

    // session_input.cc: client → worker
    void read_client();
    void take_input(MutableBytes in);
    void take_cut(const rpc::Cut& cut);
    void take_header(const rpc::Cut& cut);
    void take_frame(const rpc::Cut& cut);
    void take_call(const rpc::Cut& cut);
    void judge_partial();
    bool answer_here(const rpc::Header& call, ByteView payload);
    void refuse(const rpc::Header& call, const Ruling& ruling);
    void pass_to_worker(MutableBytes bytes);
    void flush_worker_run();
    void send_to_worker(ByteView packet);
    void flush_to_worker();

    // session_descriptors.cc: frames with descriptors, both ways
    void begin_descriptors(const rpc::Cut& cut);
    [[nodiscard]] MutableBytes take_descriptor_bytes(MutableBytes in);
    void end_descriptors();
    void send_descriptors_to_worker();
    void check_stray_descriptors();
    void pass_descriptors_to_client(const rpc::Cut& cut);

    // session_locks.cc: client ↔ lock daemon
    void take_locks(proto::who::LockWay way);
    void on_locks(loop::Want ready) noexcept;
    void pass_to_locks(const rpc::Cut& cut, const proto::ProcedureInfo& procedure);
    void flush_to_locks();
    void read_locks();
    void take_lock_cut(const rpc::Cut& cut);
    void locks_gone(std::string_view why);

    // session_output.cc: worker → client
    void read_worker();
    void take_answers(MutableBytes in);
    void take_answer_cut(const rpc::Cut& cut);
    void settle(const rpc::Header& header);
    void pass_to_client(MutableBytes bytes);
    void flush_client_run();
    void send_to_client(ByteView bytes);
    // Sends a frame of our own, between two frames of the worker.
    void insert(ByteView frame);
    void drain_output();

    loop::Loop& loop_;
    const Settings& settings_;
    loop::Target<Session&> ended_;
    Log log_;
    State state_ = State::serving;
    std::unique_ptr<Connection> client_;
    UniqueFd worker_;
    Ledger ledger_;
    rpc::PingSchedule keepalive_;
    Instant began_;

    rpc::Cutter from_client_{rpc::k_request_max};
    rpc::Cutter from_worker_{rpc::k_frame_max};
    const proto::ProcedureInfo* calling_ = nullptr;  // of the call that from_client_ is collecting
    std::size_t judged_ = 0;                         // bytes of a partial call that were found good so far
    ByteVector parked_;     // input that was read and not looked at yet, while paused
    Backlog to_worker_;     // vetted bytes that the worker's socket did not take yet
    ByteVector to_client_;  // bytes that wait behind those in the connection
    ByteVector inserted_;   // own frames that wait for the end of a worker's frame
    // A call with descriptors, from its frame until the worker has it. They come behind it, one byte each.
    struct WithDescriptors {
        ByteVector frame;
        std::size_t bytes_left = 0;
        std::vector<UniqueFd> descriptors;
        bool vetted = false;
    };
    std::unique_ptr<WithDescriptors> with_descriptors_;
    channel::ReceivedFds from_worker_fds_;  // of the packet that is being looked at
    MutableBytes worker_run_{};             // adjacent vetted bytes of this turn, to leave as one packet
    MutableBytes client_run_{};             // the same in the other direction
    std::size_t client_frame_left_ = 0;     // bytes of the frame that was begun towards the client
    Sparse refused_;
    std::string dismissed_;  // why; empty: it is not
    bool paused_ = false;
    bool frame_open_ = false;  // the client has got a part of a frame
    Instant partial_since_{};  // when the client's partial frame began or last moved; epoch if there is none

    Sources::Place place_;
    Roll::Entry entry_;
    // To the lock daemon, if there is a way to it.
    UniqueFd locks_;
    rpc::Cutter from_locks_{k_lock_answer_max};
    ByteVector to_locks_;        // vetted calls that its socket did not take yet
    std::string_view no_locks_;  // why there is no way, for the client
    bool holds_locks_ = false;   // perhaps: it has answered a call well
    std::unique_ptr<loop::Watch> client_watch_, worker_watch_, locks_watch_;
    std::unique_ptr<loop::Timer> keepalive_timer_, deadline_timer_;
};

}  // namespace virtgate::netd::gate
