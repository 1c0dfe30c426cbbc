// SPDX-License-Identifier: LGPL-2.1-or-later
// names_link - names that a second connection to the daemon keeps true.
#include "workerd/worker/names_link.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "workerd/worker/remote.h"

namespace virtgate::workerd::worker {

using loop::Want;

namespace {

// What is announced at a time is far less than one read. A daemon that never stops must not stop the worker.
constexpr int k_reads_max = 2;

}  // namespace

NamesLink::NamesLink(loop::Loop& loop, Scratch& scratch, Connector& connector, Milliseconds timeout, Way way)
    : loop_(loop),
      scratch_(scratch),
      connector_(connector),
      timeout_(timeout),
      way_(std::move(way)),
      log_(fmt::format("names of {}", way_.uri)),
      cache_(loop.clock()),
      feed_(cache_),
      timer_(loop.timer(loop::to<&NamesLink::on_rested>(*this))),
      cutter_(rpc::k_frame_max) {}

Names::Epoch NamesLink::epoch() noexcept {
    if (state_ == State::idle && ++questions_ >= k_worth) open();
    return cache_.epoch();
}

void NamesLink::open() {
    state_ = State::opening;
    Opening::Request request{.call = rpc::make_call(proto::remote::k_program, proto::remote::k_version,
                                                    proto::remote::Procedure::connect_open, 0),
                             .uri = way_.uri,
                             .sockets = {way_.socket},
                             .read_only = way_.read_only,
                             .identity = way_.identity,
                             .timeout = timeout_};
    opening_ = std::make_unique<Opening>(loop_, scratch_, connector_, log_, std::move(request),
                                         loop::to<&NamesLink::on_opened>(*this));
}

void NamesLink::on_opened() noexcept {
    Opening::Outcome outcome = opening_->take();
    opening_.reset();
    if (!outcome.upstream) return rest();
    state_ = State::serving;
    served_ = loop_.clock().now();
    upstream_ = std::move(outcome.upstream);
    watch_ = loop_.watch(upstream_.get(), Want::read, loop::to<&NamesLink::on_ready>(*this));
    cutter_ = rpc::Cutter(rpc::k_frame_max);
    const ByteVector calls = feed_.start();
    // A few hundred bytes, of which the socket has taken none yet.
    const ssize_t n = send(upstream_.get(), calls.data(), calls.size(), MSG_NOSIGNAL);
    if (n < 0)
        lose(strerror(errno));
    else if (static_cast<std::size_t>(n) != calls.size())
        lose("its socket buffer is too small");
}

void NamesLink::on_ready(Want) noexcept { static_cast<void>(read_once()); }

void NamesLink::catch_up() noexcept {
    if (state_ != State::serving) return;
    for (int i = 0; i < k_reads_max; ++i)
        if (!read_once()) return;
    // What is still on its way may be about any name.
    cache_.drop_all();
}

// True if there may be more to read.
bool NamesLink::read_once() noexcept {
    const MutableBytes area = scratch_.area();
    const ssize_t n = recv(upstream_.get(), area.data(), area.size(), 0);
    if (n < 0 && errno == EINTR) return true;
    if (n < 0 && errno == EAGAIN) return false;
    const auto size = static_cast<std::size_t>(std::max<ssize_t>(n, 0));
    const std::string_view trouble = n > 0    ? take(area.first(size))
                                     : n == 0 ? "it closed the connection"
                                              : strerror(errno);
    if (!trouble.empty()) lose(trouble);
    return trouble.empty() && size == area.size();
}

// Returns what is wrong with the bytes; empty if nothing is.
std::string_view NamesLink::take(MutableBytes in) {
    for (;;) {
        const rpc::Cut cut = cutter_.next(in);
        switch (cut.kind) {
            case rpc::Cut::Kind::more: return {};
            case rpc::Cut::Kind::header:
                if (!NamesFeed::wants(cut.header)) {
                    cutter_.skip();
                    break;
                }
                if (cut.frame_size > NamesFeed::k_frame_max) return "it sent an event that is too long";
                cutter_.take_whole();
                break;
            case rpc::Cut::Kind::frame:
                if (const auto flaw = feed_.take(cut.header, ByteView(cut.bytes).subspan(rpc::k_frame_min));
                    !flaw.empty())
                    return flaw;
                break;
            case rpc::Cut::Kind::piece:
            case rpc::Cut::Kind::skipped: break;
            case rpc::Cut::Kind::flaw: return "it sent a frame of a wrong length";
        }
    }
}

void NamesLink::lose(std::string_view why) noexcept {
    log_.info("asked for with each call again: the connection that keeps them true was lost: {}", why);
    cache_.close();
    watch_.reset();
    upstream_.reset();
    // A daemon that serves for a moment only is not worth more attempts than one that is not there.
    if (loop_.clock().now() - served_ >= k_rest_max) rest_ = k_rest_min;
    rest();
}

void NamesLink::rest() noexcept {
    state_ = State::resting;
    timer_->start(rest_);
    rest_ = std::min(2 * rest_, k_rest_max);
}

// The next question opens it again.
void NamesLink::on_rested() noexcept {
    state_ = State::idle;
    questions_ = k_worth - 1;
}

}  // namespace virtgate::workerd::worker
