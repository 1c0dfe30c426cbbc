// SPDX-License-Identifier: LGPL-2.1-or-later
// client - one connection that makes calls: frames in, handlers called, answers out.
#include "libshared/server/client.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "libshared/channel/packet.h"

namespace virtgate::server {

using channel::Outcome;
using loop::Want;
using rpc::Cut;
using rpc::Header;
using rpc::Type;

namespace {

bool is_call(const Header& header) noexcept {
    return header.type == Type::call || header.type == Type::call_with_fds;
}

// Header words are signed in the texts of libvirt's daemons.
int as_signed(std::uint32_t word) noexcept { return static_cast<int>(word); }

}  // namespace

Client::Client(loop::Loop& loop, Handed handed, const Peer& peer, ClientId id, unsigned listener,
               const std::vector<const Program*>& programs, const ClientLimits& limits, ClientOwner& owner)
    : loop_(loop),
      socket_(std::move(handed.socket)),
      peer_(peer),
      id_(id),
      listener_(listener),
      programs_(programs),
      limits_(limits),
      owner_(owner),
      link_(std::make_shared<ClientLink>(ClientLink{this})),
      cutter_(rpc::k_frame_max),
      rest_(std::move(handed.input)),
      output_(std::move(handed.output)),
      pings_(limits.ping_interval, limits.ping_count) {
    require(limits.frame_max <= k_piece && limits.calls != 0, "a client with impossible limits");
    require(set_nonblocking(socket_.get(), true).has_value(), "a client without a socket");
    watch_ = loop.watch(socket_.get(), Want::read, loop::to<&Client::on_ready>(*this));
    want();
}

Client::~Client() { link_->client = nullptr; }

void Client::close(std::string_view reason) noexcept {
    if (is_over_) return;
    is_over_ = true;
    reason_ = reason;
    // Whoever calls may be in the middle of this object's own work.
    if (watch_) watch_->wake(Want::read);
}

void Client::on_ready(Want ready) noexcept {
    if (!is_over_ && has(ready, Want::write)) flush();
    if (!is_over_ && has(ready, Want::read)) {
        // A client that waits for its answer is silent: asking the kernel to be quiet about it for each call would cost
        // two system calls, so that is done when it turns out not to be silent.
        if (may_take())
            read_some();
        else
            reads_ = false;
    }
    if (is_over_) return owner_.on_over(*this, reason_);  // the end of this object
    want();
}

void Client::want() noexcept {
    if (may_take()) reads_ = true;
    const Want read = reads_ && !is_paused_ ? Want::read : Want::nothing;
    watch_->set(output_.empty() ? read : read | Want::write);
    // After set(): libevent does not watch an event that becomes wanted while it is active.
    if (may_take() && !rest_.empty()) watch_->wake(Want::read);
}

void Client::read_some() {
    if (!rest_.empty()) {
        ByteVector rest = std::exchange(rest_, {});
        return cut(rest);
    }
    static thread_local std::array<std::byte, k_piece> buffer;
    std::size_t size = 0;
    switch (channel::receive_some(socket_.get(), buffer, size)) {
        case Outcome::blocked: return;
        case Outcome::closed: return close("it hung up");
        case Outcome::broken: return close("its socket failed");
        case Outcome::done: break;
    }
    if (pings_.started()) pings_.on_input(loop_.clock().now());
    cut(MutableBytes(buffer).first(size));
}

void Client::cut(MutableBytes in) {
    while (may_take())
        if (!take_cut(cutter_.next(in))) return;
    rest_.assign(in.begin(), in.end());
}

// False if there is nothing more to cut.
bool Client::take_cut(const Cut& cut) {
    switch (cut.kind) {
        case Cut::Kind::more: return false;
        case Cut::Kind::piece: return true;  // nobody takes pieces
        case Cut::Kind::flaw: close("it sent a wrong length of a message"); return false;
        case Cut::Kind::header:
            skipping_ = cut.frame_size > limits_.frame_max;
            if (skipping_)
                cutter_.skip();
            else
                cutter_.take_whole();
            return true;
        case Cut::Kind::skipped:
            skipping_ = false;
            if (is_call(cut.header))
                refuse(cut.header, fmt::format("the message is longer than {} bytes", limits_.frame_max));
            return true;
        case Cut::Kind::frame: take_frame(cut.header, cut.bytes.subspan(rpc::k_frame_min)); return true;
    }
    return false;
}

void Client::take_frame(const Header& header, ByteView payload) {
    if (header.program == rpc::k_keepalive_program && header.version == rpc::k_keepalive_version &&
        header.type == Type::message) {
        if (header.procedure == static_cast<std::uint32_t>(rpc::Keepalive::ping))
            send(rpc::make_keepalive(rpc::Keepalive::pong));
        return;
    }
    if (header.type == Type::call_with_fds) {
        // The descriptors would come outside of any frame, and nobody here wants one.
        if (payload.size() < 4 || load_be32(payload.data()) != 0) return close("it sent descriptors");
        payload = payload.subspan(4);
    }
    for (const Program* program : programs_)
        if (program->number() == header.program && program->version() == header.version)
            return dispatch(*program, header, payload);
    if (is_call(header))
        refuse(header, fmt::format("Cannot find program {} version {}", as_signed(header.program),
                                   as_signed(header.version)));
}

void Client::dispatch(const Program& program, const Header& header, ByteView payload) {
    if (!is_call(header)) return;
    if (header.status != rpc::Status::ok)
        return refuse(header, fmt::format("Unexpected message status {}",
                                          as_signed(static_cast<std::uint32_t>(header.status))));
    if (!program.has(header.procedure))
        return refuse(header, fmt::format("unknown procedure: {}", as_signed(header.procedure)));
    Call call(header, link_);
    ++open_calls_;
    if (!program.invoke(header.procedure, *this, payload, call))
        call.fail({.code = rpc::k_code_rpc, .message = "Unable to decode message payload"});
}

void Client::refuse(const Header& header, std::string_view text) noexcept {
    send(rpc::make_error_reply(header, rpc::k_code_rpc, text));
}

void Client::answer(ByteView frame) noexcept {
    --open_calls_;
    send(frame);
    // What it sent meanwhile is served in a turn of its own: the handler that answers is still at work.
    if (!is_over_ && watch_) want();
    owner_.on_answered(*this);
}

void Client::send(ByteView frame) noexcept {
    if (is_over_) return;
    const bool was_empty = output_.empty();
    output_.insert(output_.end(), frame.begin(), frame.end());
    if (was_empty) flush();
    if (!output_.empty() && !is_over_) want();
}

void Client::flush() noexcept {
    std::size_t sent = 0;
    while (sent < output_.size()) {
        const ssize_t n =
            ::send(socket_.get(), output_.data() + sent, output_.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        // It hung up; what it had sent before plays no part any more, since nobody could be told.
        if (n < 0) return close("it hung up");
        sent += static_cast<std::size_t>(n);
    }
    if (sent == output_.size())
        output_ = {};  // an idle client holds no memory
    else
        output_.erase(output_.begin(), output_.begin() + static_cast<std::ptrdiff_t>(sent));
}

void Client::start_pings() noexcept {
    const Instant now = loop_.clock().now();
    if (pings_.started() || !pings_.start(now)) return;
    ping_timer_ = loop_.timer(loop::to<&Client::on_time>(*this));
    ping_timer_->start(pings_.next(now));
}

void Client::on_time() noexcept {
    const Instant now = loop_.clock().now();
    // Its answer may be behind something that we do not read at present.
    if (!may_take()) pings_.on_input(now);
    switch (pings_.on_time(now)) {
        case rpc::PingSchedule::Step::wait: break;
        case rpc::PingSchedule::Step::ping: send(rpc::make_keepalive(rpc::Keepalive::ping)); break;
        case rpc::PingSchedule::Step::dead: close("it does not answer keepalive pings"); break;
    }
    if (!is_over_) ping_timer_->start(pings_.next(now));
}

void Client::pause() noexcept {
    is_paused_ = true;
    if (!is_over_) want();
}

ByteVector Client::input() {
    ByteVector input;
    if (cutter_.in_frame()) {
        const MutableBytes held = cutter_.held();
        input.assign(held.begin(), held.end());
    }
    input.insert(input.end(), rest_.begin(), rest_.end());
    return input;
}

Client::Handed Client::give_up() {
    require(is_paused_ && is_settled() && !is_skipping(), "a client is given up in the middle of something");
    watch_.reset();
    ping_timer_.reset();
    Handed handed{.socket = std::move(socket_), .input = input(), .output = std::move(output_)};
    is_over_ = true;
    return handed;
}

}  // namespace virtgate::server
