// SPDX-License-Identifier: LGPL-2.1-or-later
// session - life of a session, and what it says to the gate itself. The two directions are in session_up.cc
// and session_down.cc, what is special about descriptors in session_fds.cc.
#include "workerd/worker/session.h"

#include <poll.h>

#include <array>
#include <span>

#include "libshared/rpc/error.h"

namespace virtgate::workerd::worker {

using channel::Outcome;
using loop::Want;

Session::Session(Home& home, std::uint64_t number, Client client, UniqueFd gate,
                 loop::Target<std::uint64_t> on_ended)
    : home_(home),
      number_(number),
      log_(fmt::format("session {} {}", number, client.identity)),
      listener_(std::move(client.listener)),
      is_local_(client.is_local),
      must_read_only_(client.read_only),
      identity_(std::move(client.upstream)),
      on_ended_(on_ended),
      gate_(std::move(gate)),
      up_(rpc::k_request_max),
      down_(rpc::k_frame_max),
      open_(&home.budget.usage()),
      active_(home.loop.clock().now()),
      paced_(home.loop.timer(loop::to<&Session::on_paced>(*this))),
      scrutiny_(std::move(client.rights), client.is_shadowed) {
    gate_watch_ = home_.loop.watch(gate_.get(), Want::read, loop::to<&Session::on_gate>(*this));
    timer_ = home_.loop.timer(loop::to<&Session::on_timer>(*this));
}

// The only place that writes state_. Legal: waiting → opening → waiting or open → draining → ended, any →
// ended.
void Session::enter(State state) {
    if (state_ == State::ended) return;
    state_ = state;
    if (state == State::draining) timer_->start(k_leave);
    if (state != State::ended) return;
    timer_->stop();
    paced_->stop();
    gate_watch_.reset();
    upstream_watch_.reset();
    opening_.reset();
    gate_.reset();
    upstream_.reset();
    notices_.clear();
}

// The end of every callback: goes on with what had to wait, says what to wait for next, or ends.
// The session may be gone when it returns.
void Session::settle() noexcept {
    send_own_up();
    if (up_.has_unread() && may_go_up()) hear_names();
    while (up_.has_unread() && may_go_up()) {
        go_up(up_.take_unread());
        send_own_up();
    }
    if (state_ == State::draining && notices_.empty() && !down_.blocked()) enter(State::ended);
    if (state_ == State::ended) return on_ended_(number_);
    up_.tidy();
    down_.tidy();

    const bool read_gate = may_go_up();
    const bool write_gate = down_.blocked() || (!notices_.empty() && !down_in_frame_);
    gate_watch_->set((read_gate ? Want::read : Want::nothing) | (write_gate ? Want::write : Want::nothing));
    if (!read_gate && !timer_->running())
        timer_->start(k_leave);
    else if (read_gate && timer_->running() && state_ != State::draining)
        timer_->stop();  // an idle session wakes nobody
    if (upstream_watch_)
        upstream_watch_->set(
            (may_come_down() ? Want::read : Want::nothing) |
            (up_.blocked() || !up_fds_.empty() || !own_up_.empty() ? Want::write : Want::nothing));
}

void Session::dismiss(std::string_view reason) noexcept {
    if (state_ == State::ended || state_ == State::draining) return;
    log_.info("ends: {}", escape(reason));
    const std::string text = fmt::format("the session was ended: {}", reason);
    const bool was_opening = state_ == State::opening;
    opening_.reset();
    leave_upstream(rpc::k_code_access_denied, rpc::k_domain_access, text);
    if (was_opening) answer(open_call_, rpc::k_code_access_denied, text, rpc::k_domain_access);
    settle();
}

void Session::on_timer() noexcept {
    if (state_ == State::draining) {
        log_.info("closed before the client had read everything");
        enter(State::ended);
    } else if (!may_go_up()) {
        // Nobody waits for the gate, so nobody would notice that it hung up.
        pollfd gate{.fd = gate_.get(), .events = POLLRDHUP, .revents = 0};
        if (poll(&gate, 1, 0) > 0 && (gate.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0)
            enter(State::ended);
    }
    settle();
}

void Session::answer(const rpc::Header& call, int code, std::string_view text, int domain) {
    notify(rpc::make_error_reply(call, code, text, domain));
}

// Sends a frame of our own, now or when the frame that is under way has ended.
void Session::notify(ByteVector frame, Fds fds) {
    if (state_ == State::ended) return;
    if (frame.size() > channel::k_packet_max) return notify_long(frame);
    if (!down_in_frame_ && !down_.blocked() && notices_.empty() && send_packet(frame, fds)) return;
    notices_first_ |= !fds.empty();
    notices_.push_back({std::move(frame), std::move(fds)});
}

// In pieces; until they have gone nothing of the daemon may come between them.
void Session::notify_long(ByteView frame) {
    while (!frame.empty()) {
        const ByteView piece = frame.first(std::min(frame.size(), channel::k_packet_max));
        frame = frame.subspan(piece.size());
        notices_.push_back({.frame = {piece.begin(), piece.end()}, .fds = {}});
    }
    notices_first_ = true;
    if (!down_.blocked()) write_notices();
}

// True if the gate took the packet. If it is gone the session ends.
bool Session::send_packet(ByteView packet, const Fds& fds) {
    std::array<int, channel::k_packet_fds_max> numbers;
    std::size_t count = 0;
    for (const UniqueFd& fd : fds) numbers[count++] = fd.get();
    switch (channel::send_packet(gate_.get(), packet, std::span(numbers).first(count))) {
        case Outcome::done: return true;
        case Outcome::blocked: return false;
        case Outcome::closed:
        case Outcome::broken: break;
    }
    enter(State::ended);
    return true;
}

// What waits for the gate, in order: the rest of a packet, own frames where a frame ends, then what was not
// read.
void Session::write_gate() {
    if (down_.blocked()) {
        if (!send_packet(down_.unsent())) return;
        down_.sent(down_.unsent().size());
    }
    if (!write_notices()) return;
    if (state_ == State::open && down_.has_unread()) go_down(down_.take_unread());
}

// True if nothing of the daemon has to wait for them any more.
bool Session::write_notices() {
    while (state_ != State::ended && !notices_.empty() && !down_in_frame_) {
        if (!send_packet(notices_.front().frame, notices_.front().fds)) return false;
        if (state_ == State::ended) return false;
        notices_.pop_front();
    }
    if (notices_.empty()) notices_first_ = false;
    return state_ != State::ended && !notices_first_;
}

}  // namespace virtgate::workerd::worker
