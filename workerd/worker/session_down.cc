// SPDX-License-Identifier: LGPL-2.1-or-later
// session_down - the direction from the daemon to the gate.
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "libshared/rpc/error.h"
#include "workerd/worker/remote.h"
#include "workerd/worker/session.h"

namespace virtgate::workerd::worker {

using loop::Want;

namespace {

// A frame up to this size is sent in one packet, also when it comes in parts. Longer ones are cut through.
constexpr std::size_t k_small_frame = 16384;
// What is recorded for the code of an error that was not read.
constexpr int k_unknown_error = -1;

}  // namespace

void Session::on_opened() noexcept {
    Opening::Outcome outcome = opening_->take();
    std::shared_ptr<NamesLink> names;
    if (outcome.upstream)
        names = home_.names.use(
            {opening_->request().uri, opening_->socket(), opening_->request().read_only, identity_});
    opening_.reset();
    if (outcome.upstream) {
        upstream_ = std::move(outcome.upstream);
        names_ = std::move(names);
        scrutiny_.set_names(names_.get());
        upstream_watch_ =
            home_.loop.watch(upstream_.get(), Want::read, loop::to<&Session::on_upstream>(*this));
        enter(State::open);
    } else {
        enter(State::waiting);
    }
    notify(std::move(outcome.reply));
    settle();
}

void Session::on_upstream(Want ready) noexcept {
    if (ready == Want::write) {
        if (up_.blocked()) up_.sent(write_up(up_.unsent()));
        send_own_up();
        send_up_fds();
    } else {
        read_upstream();
    }
    settle();
}

// Before anything of the client is judged, all that was announced by now has to be known. Reads to the scratch.
void Session::hear_names() noexcept {
    if (names_ && !scrutiny_.is_idle()) names_->catch_up();
}

// Whether more of the daemon may be read.
bool Session::may_come_down() const noexcept {
    return !paced_->running() && !down_.blocked() && !down_.has_unread() && !notices_first_;
}

void Session::read_upstream() {
    active_ = home_.loop.clock().now();
    // Together with the frame that has begun it has to fit one packet.
    // But one that is scrutinised is kept until it is whole.
    const std::size_t held = scrutinising_ ? 0 : down_.cutter.held().size();
    const MutableBytes area = home_.scratch.area().first(channel::k_packet_max - held);
    const ssize_t n =
        is_local_ ? read_local_upstream(area) : recv(upstream_.get(), area.data(), area.size(), 0);
    if (n > 0)
        go_down(area.first(static_cast<std::size_t>(n)));
    else if (n == 0)
        lose_upstream("it closed the connection");
    else if (errno != EAGAIN && errno != EINTR)
        lose_upstream(strerror(errno));
}

// Looks at `in` frame by frame. Neighbouring small frames leave in one packet, pieces of a large one in
// packets of their own.
void Session::go_down(MutableBytes in) {
    Run run;
    std::string_view trouble;
    while (trouble.empty() && state_ == State::open) {
        if (bundle_) {
            trouble = take_fds(in);
            if (!trouble.empty()) break;
            if (bundle_) return;
            // The rest waits behind a reply that the gate cannot take now.
            if (notices_first_) return in.empty() ? void() : down_.park({}, false, in);
            continue;
        }
        const rpc::Cut cut = down_.cutter.next(in);
        bool alone = false;
        switch (cut.kind) {
            case rpc::Cut::Kind::more:
                if (!run.empty()) static_cast<void>(send_down(run, in));
                if (came_.empty()) return;
                trouble = "it sent a descriptor that it did not announce";
                break;
            case rpc::Cut::Kind::header:
                trouble = take_down(cut, in.size(), alone);
                if (trouble.empty() && alone && !run.empty() && !send_down(run, in)) return;
                break;
            case rpc::Cut::Kind::frame:
                if (scrutinising_) {
                    on_scrutinised(cut);
                    if (notices_first_) return in.empty() ? void() : down_.park({}, false, in);
                } else if (cut.header.type == rpc::Type::reply_with_fds) {
                    trouble = on_reply_with_fds(cut);
                } else {
                    if (cut.header.type == rpc::Type::stream) pace(cut.bytes.size());
                    record_end(rpc::read_error_code(ByteView(cut.bytes).subspan(rpc::k_frame_min)));
                    run.add(place(cut.bytes, in));
                }
                break;
            case rpc::Cut::Kind::piece:
                if (cut.header.type == rpc::Type::stream) pace(cut.bytes.size());
                run.add(place(cut.bytes, in));
                down_in_frame_ = !cut.last;
                if (!send_down(run, in)) return;
                if (cut.last && !notices_.empty()) write_gate();
                break;
            case rpc::Cut::Kind::skipped: break;
            case rpc::Cut::Kind::flaw: trouble = "it sent a frame of a wrong length"; break;
        }
    }
    if (!run.empty()) static_cast<void>(send_down(run, {}));
    if (!trouble.empty()) lose_upstream(trouble);
}

// Decides how to take a frame; one that is `alone` leaves in packets of its own. Returns what is wrong with
// it; empty if nothing is.
std::string_view Session::take_down(const rpc::Cut& header, std::size_t at_hand, bool& alone) {
    bool wanted = true;
    const std::string_view trouble = judge_down(header, wanted);
    scrutinising_ = wanted && trouble.empty() && !scrutiny_.is_idle() && scrutiny_.wants(header.header);
    if (!wanted) {
        down_.cutter.skip();
    } else if (scrutinising_) {
        down_.cutter.take_whole();
        alone = true;
    } else if (header.header.type == rpc::Type::reply_with_fds || header.frame_size <= at_hand ||
               header.frame_size <= k_small_frame) {
        down_.cutter.take_whole();
        alone = header.header.type == rpc::Type::reply_with_fds;
    } else {
        down_.cutter.take_pieces();
        alone = true;
    }
    // A failure is recorded when its code is there. One that is cut through has a code that nobody looks at.
    const bool has_failed = header.header.status == rpc::Status::error;
    if (!scrutinising_ && (!has_failed || alone)) record_end(has_failed ? k_unknown_error : 0);
    return trouble;
}

// The checks are rough: the gate validates before it believes. `wanted` becomes false for a frame that no
// client waits for.
std::string_view Session::judge_down(const rpc::Cut& cut, bool& wanted) {
    const rpc::Header& header = cut.header;
    if (header.status > rpc::Status::proceed) return "it sent a frame of an unknown status";
    switch (header.type) {
        case rpc::Type::reply: {
            if (header.status == rpc::Status::proceed) return "it sent a reply of a wrong status";
            const auto ended = open_.end_call(header);
            if (!ended && !scrutiny_.wants(header)) return "it sent a reply that nobody asked for";
            if (ended && header.status == rpc::Status::error) ++home_.counts.of(header.program).failed;
            answered_ = ended.value_or(OpenCalls::Record{});
            is_closing_ |= is(header, proto::remote::Procedure::connect_close);
            return {};
        }
        case rpc::Type::reply_with_fds:
            if (cut.frame_size < k_fds_head_size || cut.frame_size > channel::k_packet_max)
                return "it sent a reply with descriptors of a wrong length";
            return {};
        case rpc::Type::message:
            wanted = header.status == rpc::Status::ok && is_known_event(header) && serves(header);
            return {};
        case rpc::Type::stream:
        case rpc::Type::stream_hole:
            wanted = open_.has_stream(header);
            if (header.type == rpc::Type::stream && header.status != rpc::Status::proceed)
                open_.end_stream(header);
            return {};
        case rpc::Type::call:
        case rpc::Type::call_with_fds: break;
    }
    return "it sent a frame of a type that no server sends";
}

// Streams that are faster than their identity may be wait, and with them what comes behind them.
void Session::pace(std::size_t stream_bytes) noexcept {
    const Milliseconds wait = home_.budget.take_stream(stream_bytes);
    if (wait > Milliseconds{0}) paced_->start(wait);
}

// Where `bytes` lie as a neighbour of `in`: a frame or header that came in parts is copied in front of it.
MutableBytes Session::place(MutableBytes bytes, MutableBytes in) {
    const MutableBytes held = down_.cutter.held();
    if (held.empty() || bytes.data() != held.data()) return bytes;
    require(home_.scratch.has_room_before(in.data(), bytes.size()), "a held frame is larger than a packet");
    std::byte* const to = in.data() - bytes.size();
    std::memcpy(to, bytes.data(), bytes.size());
    return {to, bytes.size()};
}

// False if the gate cannot take the packet now: it and `in` are parked then.
bool Session::send_down(Run& run, MutableBytes in) {
    const bool sent = send_packet(run.bytes());
    if (!sent) down_.park(run.bytes(), false, in);
    run.clear();
    return sent;
}

void Session::lose_upstream(std::string_view why) {
    if (open_.empty() && (is_closing_ || down_in_frame_))
        log_.debug("the side of {} ended: {}", backend(), why);
    else
        log_.warning("the connection to {} was lost with {} calls open: {}", backend(), open_.calls(), why);
    const std::string text = fmt::format("the connection to {} was lost: {}", backend(), why);
    leave_upstream(rpc::k_code_internal, rpc::k_domain_rpc, text);
}

// The end of the daemon's side. Whoever waits for something gets an error, unless the client got only a part
// of a frame: then nothing that follows would be understood.
void Session::leave_upstream(int code, int domain, std::string_view text) {
    upstream_watch_.reset();
    upstream_.reset();
    up_.clear();
    up_fds_.clear();
    came_.clear();
    bundle_.reset();
    own_up_.clear();
    scrutiny_.set_names(nullptr);
    names_.reset();
    const bool was_asking = scrutiny_.is_asking();
    scrutiny_.forget_all();
    if (down_in_frame_) return enter(State::ended);
    enter(State::draining);
    if (was_asking) answer(held_, code, text, domain);
    open_.drain(
        [&](const rpc::Header& call) { answer(call, code, text, domain); },
        [&](const rpc::Header& stream) { notify(rpc::make_stream_error(stream, code, text, domain)); });
}

}  // namespace virtgate::workerd::worker
