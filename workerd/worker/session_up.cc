// SPDX-License-Identifier: LGPL-2.1-or-later
// session_up - the direction from the gate to the daemon.
#include <sys/socket.h>

#include <cerrno>

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/programs.h"
#include "workerd/worker/remote.h"
#include "workerd/worker/session.h"

namespace virtgate::workerd::worker {

using channel::Outcome;
using loop::Want;

void Session::on_gate(Want ready) noexcept {
    if (ready == Want::write)
        write_gate();
    else
        read_gate();
    settle();
}

void Session::read_gate() {
    active_ = home_.loop.clock().now();
    hear_names();
    if (is_local_) return read_local_gate();
    std::size_t size = 0;
    const MutableBytes area = home_.scratch.area();
    switch (channel::receive_packet(gate_.get(), area, size)) {
        case Outcome::blocked: return;
        case Outcome::closed: return enter(State::ended);
        case Outcome::broken: return lie("a packet that is too long or brings descriptors");
        case Outcome::done: return go_up(area.first(size));
    }
}

// Whether the next frame of the gate may be looked at.
bool Session::may_go_up() const noexcept {
    return (state_ == State::waiting || state_ == State::open) && !paced_->running() && !up_is_dead_ &&
           !up_.blocked() && up_fds_.empty() && own_up_.empty() && !scrutiny_.is_asking() && !open_.full() &&
           notices_.size() < k_notices_max;
}

// Looks at `in` frame by frame. What may pass is sent in as few system calls as possible; what cannot be sent
// or looked at yet is parked.
void Session::go_up(MutableBytes in) {
    Run run;
    while (may_go_up()) {
        const rpc::Cut cut = up_.cutter.next(in);
        if (cut.kind == rpc::Cut::Kind::more) {
            if (!run.empty()) static_cast<void>(send_up(run, in));
            return;
        }
        if (!on_up_cut(cut, run, in)) return;
    }
    if (state_ == State::ended || up_is_dead_) return;
    if (!run.empty() && !send_up(run, in)) return;
    if (!in.empty()) up_.park({}, false, in);
}

// False if nothing more can be done with `in`: it was parked, or the session is over.
bool Session::on_up_cut(const rpc::Cut& cut, Run& run, MutableBytes in) {
    switch (cut.kind) {
        case rpc::Cut::Kind::more:
        case rpc::Cut::Kind::skipped: return true;
        case rpc::Cut::Kind::flaw: lie("a frame of a wrong length"); return false;
        case rpc::Cut::Kind::header: take_up(cut); return state_ != State::ended;
        case rpc::Cut::Kind::piece: pace(cut.bytes.size()); return pass_up(cut.bytes, run, in);
        case rpc::Cut::Kind::frame: break;
    }
    if (cut.header.type == rpc::Type::stream_hole) {
        const std::string_view flaw = vet_hole(ByteView(cut.bytes).subspan(rpc::k_frame_min));
        if (flaw.empty()) return pass_up(cut.bytes, run, in);
        lie(flaw);
    } else if (on_call(cut.header, cut.bytes.subspan(rpc::k_frame_min), 0)) {
        return pass_up(cut.bytes, run, in);
    }
    return state_ != State::ended;
}

void Session::take_up(const rpc::Cut& header) {
    now_ = vet_from_gate(header.header, header.frame_size);
    switch (now_.kind) {
        case FromGate::Kind::call: return up_.cutter.take_whole();
        case FromGate::Kind::stream:
        case FromGate::Kind::hole:
            // The stream may have ended while this was under way: libvirt ignores that too.
            if (!open_.has_stream(header.header)) return up_.cutter.skip();
            return now_.kind == FromGate::Kind::hole ? up_.cutter.take_whole() : up_.cutter.take_pieces();
        case FromGate::Kind::lie: return lie(now_.flaw);
    }
}

// True if the call, which brings `fds` descriptors, goes to the daemon; otherwise it was answered or the
// session is over.
bool Session::on_call(const rpc::Header& call, MutableBytes payload, std::size_t fds) {
    if (const std::string_view flaw = vet_call(now_, payload); !flaw.empty()) {
        log_.info("procedure {} of program {:#x} does not validate", call.procedure, call.program);
        lie(flaw);
        return false;
    }
    const bool opens_stream = now_.procedure->stream != proto::Stream::none;
    const bool is_open_call = is(call, proto::remote::Procedure::connect_open);
    if (refuse_early(call, payload, fds)) {
        return false;
    } else if (state_ == State::waiting && is_open_call) {
        on_open_call(call, payload);
    } else if (state_ == State::waiting) {
        answer(call, rpc::k_code_internal, "connection not open", rpc::k_domain_rpc);
    } else if (is_open_call) {
        answer(call, rpc::k_code_internal, "connection already open", rpc::k_domain_rpc);
    } else if (!carries(call.program)) {
        answer(call, rpc::k_code_rpc,
               fmt::format("Cannot find program {} version {}", static_cast<std::int32_t>(call.program),
                           static_cast<std::int32_t>(call.version)),
               rpc::k_domain_rpc);
    } else if (!serves(call)) {
        answer(call, rpc::k_code_rpc,
               fmt::format("unknown procedure: {}", static_cast<std::int32_t>(call.procedure)),
               rpc::k_domain_rpc);
    } else if (opens_stream && open_.streams_full()) {
        answer(call, rpc::k_code_operation_failed, "too many open streams", rpc::k_domain_rpc);
    } else if (const std::string limit = home_.budget.take_call(payload.size(), opens_stream);
               !limit.empty()) {
        ++home_.counts.of(call.program).denied;
        home_.counts.note_limited();
        log_refusal(now_.procedure->name, limit);
        record_refusal(call, payload, proto::audit::AuditReason::reason_limit, limit);
        if (const Milliseconds rest = home_.budget.take_refusal(); rest > Milliseconds{0})
            paced_->start(rest);
        answer(call, rpc::k_code_resource_busy, fmt::format("virtgate: limit ({})", limit),
               rpc::k_domain_access);
    } else if (!answer_feature(call, payload)) {
        if (!scrutiny_.is_idle() || scrutiny_.records(*now_.procedure) || opens_stream)
            return scrutinise(call, payload, fds);
        ++home_.counts.of(call.program).forwarded;
        open_.add(call, opens_stream, {now_.procedure->fds_reply_min, now_.procedure->fds_reply_max});
        return true;
    }
    return false;
}

// True if a valid call was refused for what is known without looking at what it is about.
bool Session::refuse_early(const rpc::Header& call, ByteView payload, std::size_t fds) {
    if (!scrutiny_.reaches(*now_.program, *now_.procedure)) {
        Scrutiny::Ruling ruling = scrutiny_.refuse_call(*now_.program, *now_.procedure, payload);
        return !follow(std::move(ruling), call, *now_.procedure, {}, home_.loop.clock().now());
    }
    Verdict verdict{};
    if (state_ == State::open && read_only_) {
        verdict = judge_reading(*now_.program, *now_.procedure, payload);
        if (!verdict.allowed) record_refusal(call, payload, proto::audit::AuditReason::reason_read_only, "");
    }
    if (verdict.allowed) verdict = judge_fds(*now_.procedure, fds, is_local_);
    if (verdict.allowed) return false;
    ++home_.counts.of(call.program).denied;
    log_refusal(now_.procedure->name, verdict.reason);
    answer(call, verdict.code, verdict.reason, verdict.domain);
    return true;
}

void Session::log_refusal(std::string_view call, std::string_view why) {
    if (refused_.next()) log_.info("call {} refused ({} so far): {}", call, refused_.count(), why);
}

// Passing descriptors is a feature of the way to the client, of which the daemon knows nothing.
bool Session::answer_feature(const rpc::Header& call, ByteView payload) {
    if (is_local_ || !is(call, proto::remote::Procedure::connect_supports_feature)) return false;
    const auto args = proto::decode<proto::remote::ConnectSupportsFeatureArgs>(payload);
    require(args.has_value(), "a valid call does not decode");
    if (args->feature != k_feature_fd_passing) return false;
    const auto no = proto::encode(proto::remote::ConnectSupportsFeatureRet{.supported = 0});
    require(no.has_value(), "a number does not encode");
    notify(rpc::make_frame(rpc::reply_to(call), *no));
    return true;
}

// The URI is only a key. Everything that the daemon will see comes from the table.
void Session::on_open_call(const rpc::Header& header, ByteView payload) {
    const auto args = proto::decode<proto::remote::ConnectOpenArgs>(payload);
    require(args.has_value(), "a valid call does not decode");
    const std::string asked = args->name.value_or("");
    read_only_ = must_read_only_ || (args->flags & k_open_read_only) != 0;
    const auto uri = home_.uris.find(asked);
    if (!uri) {
        log_.info("no upstream for the URI \"{}\"", escape(asked));
        return answer(header, rpc::k_code_invalid_argument, "no connection driver available for this URI",
                      rpc::k_domain_rpc);
    }
    program_ = home_.uris.program_of(*uri);
    // Whoever may only read gets the daemon's connection for readers: so the daemon holds it as well.
    const bool reads = read_only_ || (program_ == 0 && scrutiny_.only_reads());
    Opening::Request request{.call = header,
                             .uri = std::string(*uri),
                             .sockets = home_.uris.sockets_for(*uri, reads),
                             .read_only = reads,
                             .session = number_,
                             .identity = identity_,
                             .backend = backend(),
                             .timeout = home_.upstream_timeout};
    log_.info("opens {}{}", *uri, reads ? " read-only" : "");
    scrutiny_.set_driver(driver_of(uri->substr(0, uri->find(':'))));
    open_call_ = header;
    opening_ = std::make_unique<Opening>(home_.loop, home_.scratch, home_.connector, log_, std::move(request),
                                         loop::to<&Session::on_opened>(*this));
    enter(State::opening);
}

// A daemon of libvirt's serves libvirt's programs, the process of another program that one and a part of libvirt's main
// program.
bool Session::carries(std::uint32_t program) const noexcept {
    return program_ == 0 ? !proto::is_added(program)
                         : program == program_ || program == proto::remote::k_program;
}

// The same of a call or an event, with that part.
bool Session::serves(const rpc::Header& header) const noexcept {
    return carries(header.program) &&
           (program_ == 0 || header.program == program_ || is_for_everybody(header.procedure));
}

std::string_view Session::backend() const noexcept {
    return program_ == 0 ? "the libvirt daemon" : "the program's process";
}

// Adds `bytes` to the run, or sends them at once if the cutter holds them: then they are gone at its next
// step.
bool Session::pass_up(MutableBytes bytes, Run& run, MutableBytes in) {
    const MutableBytes held = up_.cutter.held();
    if (held.empty() || bytes.data() != held.data()) {
        run.add(bytes);
        return true;
    }
    run.hold(bytes);
    return send_up(run, in);
}

// False if not everything could be sent; the rest and `in` are parked then.
bool Session::send_up(Run& run, MutableBytes in) {
    const MutableBytes bytes = run.bytes();
    const std::size_t sent = write_up(bytes);
    const bool all = sent == bytes.size();
    if (!all && !up_is_dead_) up_.park(bytes.subspan(sent), run.is_held(), in);
    run.clear();
    return all;
}

// How many of `bytes` the daemon took. If it is gone, only what it sent before is of interest from now on:
// the reading side finds the end and answers the open calls.
std::size_t Session::write_up(ByteView bytes) noexcept {
    for (;;) {
        const ssize_t n = send(upstream_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n >= 0) return static_cast<std::size_t>(n);
        if (errno == EINTR) continue;
        if (errno != EAGAIN) {
            up_is_dead_ = true;
            up_.clear();
        }
        return 0;
    }
}

// A gate that sends what it should have refused lies or has a bug. Either way nothing of it is believed any
// more.
void Session::lie(std::string_view why) {
    log_.error("closed: the gate sent {}", why);
    enter(State::ended);
}

}  // namespace virtgate::workerd::worker
