// SPDX-License-Identifier: LGPL-2.1-or-later
// client - one connection that makes calls: frames in, handlers called, answers out.
#include "libshared/server/client.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>

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

// As much of both as the socket takes now; negative: errno.
ssize_t send_parts(int socket, ByteView head, ByteView body) noexcept {
    iovec parts[] = {{const_cast<std::byte*>(head.data()), head.size()},
                     {const_cast<std::byte*>(body.data()), body.size()}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = std::size(parts);
    ssize_t n;
    do n = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n;
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

Client::~Client() {
    link_->client = nullptr;
    while (!streams_.empty()) {
        Stream* const stream = streams_.back();
        streams_.pop_back();
        stream->lose_client();
    }
}

void Client::close(std::string_view reason) noexcept {
    if (is_over_) return;
    is_over_ = true;
    reason_ = reason;
    // Whoever calls may be in the middle of this object's own work.
    if (watch_) watch_->wake(Want::read);
}

void Client::on_ready(Want ready) noexcept {
    if (!is_over_ && has(ready, Want::write)) {
        flush();
        tell_sent();
    }
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
    watch_->set(unsent() == 0 ? read : read | Want::write);
    // After set(): libevent does not watch an event that becomes wanted while it is active.
    const Want wake = may_take() && !rest_.empty() ? Want::read : Want::nothing;
    if (owes_news_)
        watch_->wake(wake | Want::write);
    else if (wake != Want::nothing)
        watch_->wake(wake);
}

void Client::read_some() {
    if (!rest_.empty()) {
        ByteVector rest = std::exchange(rest_, {});
        return cut(rest);
    }
    static thread_local std::array<std::byte, k_piece> buffer;
    const MutableBytes room = room_of_stream();
    const MutableBytes into = room.size() > buffer.size() ? room : MutableBytes(buffer);
    std::size_t size = 0;
    switch (channel::receive_some(socket_.get(), into, size)) {
        case Outcome::blocked: return;
        case Outcome::closed: return close("it hung up");
        case Outcome::broken: return close("its socket failed");
        case Outcome::done: break;
    }
    if (pings_.started()) pings_.on_input(loop_.clock().now());
    cut(into.first(size));
}

// Where the rest of a frame may go at once. No byte behind that frame does: when the stream's user has taken what came,
// nothing is left in its memory that somebody else would look at.
MutableBytes Client::room_of_stream() noexcept {
    if (frame_left_ == 0) return {};
    Stream* const stream = find_stream(cutter_.header());
    if (stream == nullptr) return {};
    const MutableBytes room = stream->room();
    return room.first(std::min(room.size(), frame_left_));
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
        case Cut::Kind::piece: take_piece(cut); return true;
        case Cut::Kind::flaw: close("it sent a wrong length of a message"); return false;
        case Cut::Kind::header: take_header(cut); return true;
        case Cut::Kind::skipped:
            skipping_ = false;
            if (is_call(cut.header))
                refuse(cut.header, fmt::format("the message is longer than {} bytes", limits_.frame_max));
            return true;
        case Cut::Kind::frame: take_frame(cut.header, cut.bytes.subspan(rpc::k_frame_min)); return true;
    }
    return false;
}

// The data of a stream goes on as it comes, so that its frames may have any size.
void Client::take_header(const Cut& cut) {
    if (cut.header.type == Type::stream && cut.header.status == rpc::Status::proceed &&
        find_stream(cut.header) != nullptr)
        return cutter_.take_pieces();
    skipping_ = cut.frame_size > limits_.frame_max;
    if (skipping_)
        cutter_.skip();
    else
        cutter_.take_whole();
}

void Client::take_piece(const Cut& cut) {
    const ByteView bytes = cut.first ? ByteView(cut.bytes).subspan(rpc::k_frame_min) : ByteView(cut.bytes);
    frame_left_ = (cut.first ? cut.frame_size : frame_left_) - cut.bytes.size();
    if (Stream* const stream = find_stream(cut.header); stream != nullptr) stream->take_data(bytes);
}

// A packet of no open stream is passed over.
void Client::take_stream_end(const Header& header, ByteView payload) {
    Stream* const stream = find_stream(header);
    if (stream == nullptr) return;
    if (header.type == Type::stream) return stream->take_end(header);
    if (header.status != rpc::Status::proceed || !stream->take_hole(payload))
        close("it sent a hole that the stream cannot have");
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
    if (header.type == Type::stream || header.type == Type::stream_hole)
        return take_stream_end(header, payload);
    if (!is_call(header)) return;
    if (header.status != rpc::Status::ok)
        return refuse(header, fmt::format("Unexpected message status {}",
                                          as_signed(static_cast<std::uint32_t>(header.status))));
    if (const auto failure = program.judge(*this, header.procedure))
        return send(
            rpc::make_frame(rpc::reply_to(header, rpc::Status::error), rpc::make_error_payload(*failure)));
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

// Nearly always all of it leaves at once, and nothing is copied.
void Client::send(ByteView frame) noexcept {
    if (is_over_) return;
    keep_lent();
    if (output_.empty()) {
        const ssize_t n = ::send(socket_.get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) frame = frame.subspan(static_cast<std::size_t>(n));
    }
    if (frame.empty()) return;
    const bool was_empty = output_.empty();
    output_.insert(output_.end(), frame.begin(), frame.end());
    if (was_empty) flush();  // what is wrong with the socket comes again
    if (!output_.empty() && !is_over_) want();
}

// What does not leave at once is kept; nothing is copied before that is known.
void Client::send(ByteView head, ByteView body, Stream* lender) noexcept {
    if (is_over_) return;
    keep_lent();
    std::size_t sent = 0;
    if (output_.empty()) {
        const ssize_t n = send_parts(socket_.get(), head, body);
        if (n < 0 && errno != EAGAIN) return close("it hung up");
        sent = n > 0 ? static_cast<std::size_t>(n) : 0;
    }
    const std::size_t of_head = std::min(sent, head.size());
    output_.insert(output_.end(), head.begin() + static_cast<std::ptrdiff_t>(of_head), head.end());
    lent_ = body.subspan(sent - of_head);
    lender_ = lender;
    if (lender == nullptr) keep_lent();
    // The user of a stream hears that it left, from the loop.
    owes_news_ = unsent() == 0;
    want();
}

// What follows comes behind it, or its memory goes away.
void Client::keep_lent() noexcept {
    const ByteView lent = std::exchange(lent_, {});
    lender_ = nullptr;
    output_.insert(output_.end(), lent.begin(), lent.end());
}

void Client::add_stream(Stream& stream) { streams_.push_back(&stream); }

void Client::remove_stream(Stream& stream) noexcept {
    if (lender_ == &stream) keep_lent();
    std::erase(streams_, &stream);
}

void Client::release() noexcept {
    if (--holds_ == 0 && !is_over_ && watch_) want();
}

Stream* Client::find_stream(const Header& header) const noexcept {
    for (Stream* const stream : streams_)
        if (stream->is_of(header)) return stream;
    return nullptr;
}

// Each may end its stream, or another one.
void Client::tell_sent() noexcept {
    if (is_over_ || unsent() != 0) return;
    owes_news_ = false;
    const std::vector<Stream*> streams = streams_;
    for (Stream* const stream : streams) {
        if (is_over_ || std::find(streams_.begin(), streams_.end(), stream) == streams_.end()) continue;
        if (std::exchange(stream->awaits_room_, false)) stream->user_.on_sent();
    }
}

void Client::flush() noexcept {
    std::size_t sent = 0;
    while (sent < output_.size() || !lent_.empty()) {
        const ssize_t n = send_parts(socket_.get(), ByteView(output_).subspan(sent), lent_);
        if (n < 0 && errno == EAGAIN) break;
        // It hung up; what it had sent before plays no part any more, since nobody could be told.
        if (n < 0) return close("it hung up");
        const std::size_t kept = std::min(static_cast<std::size_t>(n), output_.size() - sent);
        sent += kept;
        lent_ = lent_.subspan(static_cast<std::size_t>(n) - kept);
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
    keep_lent();
    watch_.reset();
    ping_timer_.reset();
    Handed handed{.socket = std::move(socket_), .input = input(), .output = std::move(output_)};
    is_over_ = true;
    return handed;
}

}  // namespace virtgate::server
