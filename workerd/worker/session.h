// SPDX-License-Identifier: LGPL-2.1-or-later
// session - relays one client: the session's descriptor on one side, a libvirt daemon on the other.
//
//     waiting ── CONNECT_OPEN ─▶ opening ── good reply ─▶ open ── daemon gone ─▶ draining ─▶ ended
//        ▲──────────── error reply ─┘
// Any state becomes ended when the gate closes the session's descriptor or sends what no gate may send.
//
// dismiss() leads to draining as well.
//
// Gate to daemon: calls are taken whole, validated and judged; refusals are answered here. Stream data passes
// in pieces. Daemon to gate: frames pass as they come, small ones together in one packet; each is checked
// against what is open. Nothing is queued beyond one packet's rest: while one side is full, the other is not
// read.
//
// Descriptors pass between a local client and the daemon with the calls that are made for that
// (session_fds.cc).
//
// Trust:  the gate may be taken over, the daemon only strange. Neither is followed after a broken frame.
// Limits: OpenCalls' and Lane's; k_notices_max own replies, then the gate is not read. The descriptors of one
//         call and of one reply, then that side is not read.
// Owns:   both descriptors, and those that pass.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "libshared/base/log.h"
#include "libshared/loop/loop.h"
#include "workerd/worker/budget.h"
#include "workerd/worker/call_counts.h"
#include "workerd/worker/conditions.h"
#include "workerd/worker/lane.h"
#include "workerd/worker/names_directory.h"
#include "workerd/worker/open_calls.h"
#include "workerd/worker/opening.h"
#include "workerd/worker/scrutiny.h"
#include "workerd/worker/uri_table.h"
#include "workerd/worker/vet.h"
#include "workerd/worker/witness.h"

namespace virtgate::workerd::worker {

// What the sessions of one process share.
struct Home {
    loop::Loop& loop;
    const UriTable& uris;
    Scratch& scratch;
    Connector& connector;
    Milliseconds upstream_timeout;
    Budget& budget;
    Witness& witness;
    NamesDirectory& names;
    CallCounts& counts;
};

class Session {
public:
    enum class State : unsigned char { waiting, opening, open, draining, ended };
    static constexpr std::size_t k_notices_max = 64;
    // How long a client gets to read what was answered for a daemon that is gone; and how often a session
    // whose gate is not read looks whether it is still there.
    static constexpr Milliseconds k_leave{5000};

    // Whom it is for.
    struct Client {
        std::string identity{};
        bool is_local = false;   // of a UNIX socket: descriptors can be passed
        bool read_only = false;  // whatever it asks for
        std::string listener{};
        Prologue::Identity upstream{};                   // whom the daemon is told that it serves
        std::shared_ptr<const policy::Rights> rights{};  // never null
        bool is_shadowed = false;                        // the policy is on probation for it
    };
    // Serves `gate`. `on_ended` gets the session's number when it is over, from the loop, and destroys the
    // session.
    Session(Home& home, std::uint64_t number, Client client, UniqueFd gate,
            loop::Target<std::uint64_t> on_ended);

    // Leaves the daemon at once, answers what is open with `reason` and ends. The session may be gone when it
    // returns.
    void dismiss(std::string_view reason) noexcept;

    // What the next call is judged by. False if a stream is open that could not be opened with these rights: the session
    // then has to be dismissed, because a stream alone cannot be ended in the middle of a frame.
    [[nodiscard]] bool set_rights(std::shared_ptr<const policy::Rights> rights, bool is_shadowed);

    [[nodiscard]] State state() const noexcept { return state_; }
    [[nodiscard]] const std::string& listener() const noexcept { return listener_; }
    [[nodiscard]] bool is_local() const noexcept { return is_local_; }
    // When the client or the daemon said something for the last time.
    [[nodiscard]] Instant active() const noexcept { return active_; }
    [[nodiscard]] std::uint64_t number() const noexcept { return number_; }

private:
    void enter(State state);
    void settle() noexcept;
    void on_timer() noexcept;

    // Gate to daemon (session_up.cc).
    void on_gate(loop::Want ready) noexcept;
    void read_gate();
    void go_up(MutableBytes in);
    [[nodiscard]] bool may_go_up() const noexcept;
    [[nodiscard]] bool on_up_cut(const rpc::Cut& cut, Run& run, MutableBytes in);
    void take_up(const rpc::Cut& header);
    [[nodiscard]] bool on_call(const rpc::Header& call, MutableBytes payload, std::size_t fds);
    [[nodiscard]] bool refuse_early(const rpc::Header& call, ByteView payload, std::size_t fds);
    [[nodiscard]] bool answer_feature(const rpc::Header& call, ByteView payload);
    void on_open_call(const rpc::Header& header, ByteView payload);
    [[nodiscard]] bool carries(std::uint32_t program) const noexcept;
    [[nodiscard]] bool serves(const rpc::Header& header) const noexcept;
    [[nodiscard]] std::string_view backend() const noexcept;

    // Calls, replies and events of an identity that may not do everything (session_scrutiny.cc).
    [[nodiscard]] bool scrutinise(const rpc::Header& call, MutableBytes payload, std::size_t fds);
    [[nodiscard]] bool follow(Scrutiny::Ruling ruling, const rpc::Header& call,
                              const proto::ProcedureInfo& procedure, ByteView frame, Instant began);
    void on_shown(const Scrutiny::Outcome& outcome);
    void note_stream(const rpc::Header& call, const proto::ProcedureInfo& procedure, const Finding& finding);

    // What the auditor is told (session_audit.cc).
    [[nodiscard]] std::uint64_t record(const rpc::Header& call, const proto::ProcedureInfo& procedure,
                                       const Finding& finding, Instant began);
    void record_refusal(const rpc::Header& call, ByteView payload, proto::audit::AuditReason reason,
                        std::string_view detail);
    void record_end(int error) noexcept;
    void send_own_up() noexcept;
    void pace(std::size_t stream_bytes) noexcept;
    void on_paced() noexcept { settle(); }
    void on_scrutinised(const rpc::Cut& frame);

    [[nodiscard]] bool pass_up(MutableBytes bytes, Run& run, MutableBytes in);
    [[nodiscard]] bool send_up(Run& run, MutableBytes in);
    [[nodiscard]] std::size_t write_up(ByteView bytes) noexcept;
    void lie(std::string_view why);

    // Daemon to gate (session_down.cc).
    void on_opened() noexcept;
    void on_upstream(loop::Want ready) noexcept;
    void hear_names() noexcept;
    [[nodiscard]] bool may_come_down() const noexcept;
    void read_upstream();
    void go_down(MutableBytes in);
    [[nodiscard]] std::string_view take_down(const rpc::Cut& header, std::size_t at_hand, bool& alone);
    [[nodiscard]] std::string_view judge_down(const rpc::Cut& header, bool& wanted);
    void leave_upstream(int code, int domain, std::string_view text);
    [[nodiscard]] MutableBytes place(MutableBytes bytes, MutableBytes in);
    [[nodiscard]] bool send_down(Run& run, MutableBytes in);
    void lose_upstream(std::string_view why);

    // Descriptors, in both directions (session_fds.cc).
    using Fds = std::vector<UniqueFd>;
    // A reply of the daemon whose descriptors have not all come.
    struct Bundle {
        rpc::Header reply{};
        bool wanted = false;  // false: they are dropped, and the call is answered with an error
        ByteVector frame{};   // if it is wanted
        std::size_t missing = 0;
        Fds fds{};
    };
    void read_local_gate();
    void on_call_with_fds(MutableBytes packet, channel::ReceivedFds& fds);
    void send_up_fds() noexcept;
    [[nodiscard]] ssize_t read_local_upstream(MutableBytes area) noexcept;
    [[nodiscard]] std::string_view on_reply_with_fds(const rpc::Cut& frame);
    [[nodiscard]] std::string_view take_fds(MutableBytes& in);
    void finish_bundle();

    // To the gate, from both directions.
    struct Notice {
        ByteVector frame{};
        Fds fds{};
    };
    void log_refusal(std::string_view call, std::string_view why);
    void answer(const rpc::Header& call, int code, std::string_view text, int domain);
    void notify(ByteVector frame, Fds fds = {});
    void notify_long(ByteView frame);
    void write_gate();
    bool write_notices();
    [[nodiscard]] bool send_packet(ByteView packet, const Fds& fds = {});

    Home& home_;
    const std::uint64_t number_;
    const Log log_;
    const std::string listener_;
    const bool is_local_;
    const bool must_read_only_;
    const Prologue::Identity identity_;  // whom the daemon is told that it serves
    const loop::Target<std::uint64_t> on_ended_;
    State state_ = State::waiting;

    UniqueFd gate_;
    UniqueFd upstream_;
    std::unique_ptr<loop::Watch> gate_watch_;
    std::unique_ptr<loop::Watch> upstream_watch_;
    std::unique_ptr<loop::Timer>
        timer_;  // while draining: the end; while the gate is not read: is it still there?
    std::unique_ptr<Opening> opening_;

    Lane up_;
    Lane down_;
    OpenCalls open_;
    Instant active_;
    std::unique_ptr<loop::Timer> paced_;  // while it runs, streams have been too fast and nothing is read
    Sparse refused_;
    Scrutiny scrutiny_;
    std::shared_ptr<NamesLink> names_;  // of the daemon; null where nothing is kept
    rpc::Header held_{};                // the client's call that waits for an answer to a question of ours
    Instant held_since_{};
    // Calls that opened a stream, and what they were about. Some are over.
    struct StreamNote {
        rpc::Header call{};
        const proto::ProcedureInfo* procedure = nullptr;
        Finding finding{};
    };
    std::vector<StreamNote> streams_;
    OpenCalls::Record answered_{};  // of the call whose reply is coming, if its end has to be recorded
    ByteVector own_up_;             // for the daemon: a question of ours, or a call that was held or changed
    bool scrutinising_ = false;     // the frame that is coming from the daemon has to be whole
    FromGate now_{};                // the call that is being taken whole
    bool up_is_dead_ = false;       // the daemon takes nothing any more; what it sent is still read
    bool down_in_frame_ = false;    // the gate has got a part of a frame
    bool is_closing_ = false;       // the client said goodbye: the daemon will close the connection
    bool read_only_ = false;        // the connection was opened for reading
    std::uint32_t program_ = 0;     // of others, for which it was opened; 0: libvirt's
    bool notices_first_ = false;    // nothing may overtake the notices: the daemon is not read
    rpc::Header open_call_{};       // the CONNECT_OPEN that is being served
    Fds up_fds_;                    // for the daemon, behind what is unsent; the last one first
    Fds came_;                      // of the daemon; their bytes have not been looked at
    std::unique_ptr<Bundle> bundle_;  // what is there of such a reply
    std::deque<Notice> notices_;      // own frames, and those with descriptors, that wait for the gate
};

}  // namespace virtgate::workerd::worker
