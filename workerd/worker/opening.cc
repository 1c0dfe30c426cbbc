// SPDX-License-Identifier: LGPL-2.1-or-later
// opening - from a client's CONNECT_OPEN to an open connection with a libvirt daemon, or to an error reply.
#include "workerd/worker/opening.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "libshared/rpc/error.h"

namespace virtgate::workerd::worker {

using loop::Want;

namespace {

constexpr std::size_t k_frame_limit = channel::k_packet_max;
// A UNIX socket whose queue is full says EAGAIN and never becomes ready: ask again.
constexpr Milliseconds k_retry{20};

}  // namespace

Opening::Opening(loop::Loop& loop, Scratch& scratch, Connector& connector, const Log& log, Request request,
                 loop::Target<> on_done)
    : loop_(loop),
      scratch_(scratch),
      connector_(connector),
      log_(log),
      request_(std::move(request)),
      prologue_(request_.call, request_.uri, request_.read_only, request_.identity),
      on_done_(on_done),
      deadline_(loop.clock().now() + request_.timeout),
      timer_(loop.timer(loop::to<&Opening::on_timer>(*this))),
      cutter_(k_frame_limit) {
    // From the loop, so that `on_done` is never called from here.
    timer_->start(Milliseconds{0});
}

Opening::~Opening() {
    if (ticket_) connector_.forget(*ticket_);
}

void Opening::on_timer() noexcept {
    if (loop_.clock().now() >= deadline_)
        fail("it did not answer in time", "{} did not answer in time");
    else if (!socket_ && !ticket_)
        connect_next();
    else
        await_deadline();
    if (finished_) on_done_();
}

void Opening::connect_next() {
    if (next_socket_ == request_.sockets.size()) return fail(misses_, "cannot connect to {}");
    ticket_ = connector_.ask_connect(request_.sockets[next_socket_], request_.session,
                                     loop::to<&Opening::on_connected>(*this));
    await_deadline();
}

// The loop's timers may come some milliseconds early.
void Opening::await_deadline() noexcept {
    timer_->start(std::chrono::ceil<Milliseconds>(deadline_ - loop_.clock().now()));
}

void Opening::on_connected(Connector::Connected& connected) noexcept {
    ticket_.reset();
    if (connected.socket) {
        start_talking(std::move(connected.socket));
    } else if (connected.number == EAGAIN) {
        return timer_->start(k_retry);
    } else {
        misses_ += fmt::format("{}{}: {}", misses_.empty() ? "" : "; ",
                               escape(request_.sockets[next_socket_]), strerror(connected.number));
        ++next_socket_;
        connect_next();
    }
    if (finished_) on_done_();
}

void Opening::start_talking(UniqueFd socket) {
    socket_ = std::move(socket);
    watch_ = loop_.watch(socket_.get(), Want::read, loop::to<&Opening::on_ready>(*this));
    send(prologue_.start());
}

void Opening::on_ready(Want) noexcept {
    const ssize_t n = recv(socket_.get(), scratch_.area().data(), scratch_.area().size(), 0);
    if (n > 0)
        on_bytes(scratch_.area().first(static_cast<std::size_t>(n)));
    else if (n == 0)
        fail("it closed the connection", "{} closed the connection");
    else if (errno != EAGAIN && errno != EINTR)
        fail(strerror(errno), "the connection to {} failed");
    if (finished_) on_done_();
}

void Opening::on_bytes(MutableBytes in) {
    while (!finished_) {
        const rpc::Cut cut = cutter_.next(in);
        switch (cut.kind) {
            case rpc::Cut::Kind::more: return;
            case rpc::Cut::Kind::header:
                if (cut.header.type == rpc::Type::reply)
                    cutter_.take_whole();
                else
                    cutter_.skip();  // nothing else was asked for
                break;
            case rpc::Cut::Kind::frame: on_frame(cut); break;
            case rpc::Cut::Kind::piece:
            case rpc::Cut::Kind::skipped: break;
            case rpc::Cut::Kind::flaw:
                return fail("it sent a frame of a wrong length", "{} sent what is not libvirt's protocol");
        }
        if (finished_ && !in.empty() && outcome_.upstream) {
            // A daemon that talks before it is asked anything cannot be followed.
            outcome_.upstream.reset();
            fail("it sent more than it was asked for", "{} sent what was not asked for");
        }
    }
}

void Opening::on_frame(const rpc::Cut& cut) {
    Prologue::Step step = prologue_.on_reply(cut.header, ByteView(cut.bytes).subspan(rpc::k_frame_min));
    switch (step.kind) {
        case Prologue::Step::Kind::send: return send(step.frame);
        case Prologue::Step::Kind::opened: {
            watch_.reset();
            return finish({.upstream = std::move(socket_), .reply = std::move(step.frame)});
        }
        case Prologue::Step::Kind::refused:
            log_.info("{} was not opened: {}", request_.uri,
                      escape(rpc::read_error_text(ByteView(cut.bytes).subspan(rpc::k_frame_min))));
            return finish({.reply = std::move(step.frame)});
        case Prologue::Step::Kind::failed: return fail(step.text, "{} refused virtgate's connection");
    }
}

void Opening::send(ByteView frame) {
    // The socket is new and its buffer empty: what does not fit now never will.
    ssize_t n;
    do {
        n = ::send(socket_.get(), frame.data(), frame.size(), MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        fail(strerror(errno), "the connection to {} failed");
    else if (static_cast<std::size_t>(n) != frame.size())
        fail("its socket buffer is too small", "the connection to {} failed");
}

void Opening::fail(std::string_view for_log, std::string_view for_client) {
    const bool connected = static_cast<bool>(socket_);
    log_.error("no connection for {}{}{}: {}", request_.uri, connected ? " on " : "",
               connected ? request_.sockets[next_socket_] : "", for_log);
    finish({.reply = rpc::make_error_reply(request_.call, rpc::k_code_internal,
                                           fmt::format(fmt::runtime(for_client), request_.backend))});
}

void Opening::finish(Outcome outcome) {
    watch_.reset();
    socket_.reset();
    timer_->stop();
    outcome_ = std::move(outcome);
    finished_ = true;
}

}  // namespace virtgate::workerd::worker
