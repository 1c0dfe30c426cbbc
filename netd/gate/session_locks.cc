// SPDX-License-Identifier: LGPL-2.1-or-later
// session_locks - one session's way to the lock daemon and back: calls of the program lock.
//
// Nobody can take a lock, or hold one, without knowing it: when the lock daemon ends the connection of a session that may hold
// locks, the client's connection ends, too.
//
// Trust:  the client is hostile, and what goes to the lock daemon has been vetted and is canonical. The lock daemon may have
//         been taken over: only answers to open calls of its program pass.
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "libshared/rpc/error.h"
#include "netd/gate/session.h"

namespace virtgate::netd::gate {

using channel::Outcome;
using loop::Want;
using proto::who::LockWay;
using rpc::Cut;
using rpc::Status;

namespace {

constexpr std::string_view k_refused = "access denied: the policy does not allow any call about locks";
constexpr std::string_view k_absent =
    "there was no lock daemon when this connection began; a new connection may have one";
constexpr std::string_view k_ended = "the lock daemon has ended; a new connection may reach it";
constexpr std::size_t k_piece = 16'384;

}  // namespace

// The broker has put it into the session before anybody else could put anything there.
void Session::take_locks(LockWay way) {
    no_locks_ = way == LockWay::locks_refused ? k_refused : k_absent;
    if (way != LockWay::locks_ready) return;
    std::array<std::byte, 16> packet;
    std::size_t size = 0;
    channel::ReceivedFds fds;
    if (channel::receive_packet(worker_.get(), packet, size, &fds, 1) != Outcome::done || fds.count() != 1)
        return log_.error("the broker has put no way to the lock daemon into the session");
    locks_ = fds.take(0);
    locks_watch_ = loop_.watch(locks_.get(), Want::read, loop::to<&Session::on_locks>(*this));
}

void Session::on_locks(Want ready) noexcept {
    if (state_ == State::serving) {
        if (ready == Want::write)
            flush_to_locks();
        else
            read_locks();
        resume();
    }
    end_turn();
}

void Session::pass_to_locks(const Cut& cut, const proto::ProcedureInfo& procedure) {
    if (!locks_)
        return refuse(
            cut.header,
            {.action = Action::refuse,
             .code = no_locks_ == k_refused ? rpc::k_code_access_denied : rpc::k_code_operation_failed,
             .domain = no_locks_ == k_refused ? rpc::k_domain_access : rpc::k_domain_rpc,
             .text = std::string(no_locks_)});
    ledger_.add({.key = key_of(cut.header), .procedure = &procedure});
    to_locks_.insert(to_locks_.end(), cut.bytes.begin(), cut.bytes.end());
    flush_to_locks();
}

void Session::flush_to_locks() {
    std::size_t sent = 0;
    while (sent < to_locks_.size()) {
        const ssize_t n =
            send(locks_.get(), to_locks_.data() + sent, to_locks_.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) return locks_gone("the lock daemon has ended");
        sent += static_cast<std::size_t>(n);
    }
    if (sent == to_locks_.size())
        to_locks_ = ByteVector{};
    else
        to_locks_.erase(to_locks_.begin(), to_locks_.begin() + static_cast<std::ptrdiff_t>(sent));
}

void Session::read_locks() {
    // Nothing is read for a client that does not take what it has been sent.
    if (client_->has_output() || !to_client_.empty()) return;
    std::array<std::byte, k_piece> buffer;
    std::size_t size = 0;
    switch (channel::receive_some(locks_.get(), buffer, size)) {
        case Outcome::blocked: return;
        case Outcome::closed:
        case Outcome::broken: return locks_gone("the lock daemon has ended");
        case Outcome::done: break;
    }
    MutableBytes in = MutableBytes(buffer).first(size);
    while (state_ == State::serving && locks_) {
        const Cut cut = from_locks_.next(in);
        if (cut.kind == Cut::Kind::more) return;
        take_lock_cut(cut);
    }
}

void Session::take_lock_cut(const Cut& cut) {
    switch (cut.kind) {
        case Cut::Kind::header: {
            from_locks_.take_whole();
            if (vet_lock_answer(cut.header, cut.frame_size, ledger_).action != Action::whole)
                locks_gone("the lock daemon broke the protocol");
            return;
        }
        case Cut::Kind::frame:
            if (cut.header.status == Status::error &&
                vet_lock_error(cut.bytes.subspan(rpc::k_frame_min)).action != Action::forward)
                return locks_gone("the lock daemon broke the protocol");
            holds_locks_ = holds_locks_ || cut.header.status == Status::ok;
            settle(cut.header);
            return insert(cut.bytes);
        case Cut::Kind::more: return;
        case Cut::Kind::piece:
        case Cut::Kind::skipped:
        case Cut::Kind::flaw: return locks_gone("the lock daemon broke the protocol");
    }
}

void Session::locks_gone(std::string_view why) {
    if (!locks_) return;
    log_.warning("no way to the lock daemon any more: {}", why);
    if (holds_locks_)
        return worker_gone(
            "the lock daemon has ended this session: locks that it held are not held any more");
    locks_watch_.reset();
    locks_.reset();
    to_locks_ = ByteVector{};
    no_locks_ = k_ended;
    for (const OpenCall& call : std::vector(ledger_.open_calls())) {
        if (call.key.program != proto::lock_program().number) continue;
        ledger_.answer(call.key, false);
        insert(rpc::make_error_reply(header_of(call.key), rpc::k_code_operation_failed, no_locks_));
    }
}

}  // namespace virtgate::netd::gate
