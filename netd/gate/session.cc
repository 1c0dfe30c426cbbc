// SPDX-License-Identifier: LGPL-2.1-or-later
// session - one admitted client: turns, backpressure and the end. What travels is in session_input.cc (client to
// worker) and session_output.cc (worker to client).
#include "netd/gate/session.h"

#include "libshared/rpc/error.h"

namespace virtgate::netd::gate {

using loop::Want;

Session::Session(loop::Loop& loop, const Settings& settings, Admitted admitted, loop::Target<Session&> ended)
    : loop_(loop),
      settings_(settings),
      ended_(ended),
      log_(fmt::format("session {} {}", admitted.session, escape(admitted.identity, 64))),
      client_(std::move(admitted.connection)),
      worker_(std::move(admitted.worker)),
      keepalive_(settings.keepalive_interval, settings.keepalive_count),
      began_(loop.clock().now()),
      place_(std::move(admitted.place)),
      entry_(std::move(admitted.entry)) {
    log_.info("begins, from {}", escape(admitted.source, 64));
    client_watch_ = loop_.watch(client_->socket(), Want::read, loop::to<&Session::on_client>(*this));
    take_locks(admitted.locks);
    worker_watch_ = loop_.watch(worker_.get(), Want::read, loop::to<&Session::on_worker>(*this));
    update_wants();
}

void Session::on_client(Want ready) noexcept {
    if (ready == Want::write)
        drain_output();
    else if (state_ == State::serving && !paused_)
        read_client();
    end_turn();
}

void Session::on_worker(Want ready) noexcept {
    if (state_ == State::serving) {
        if (ready == Want::write)
            flush_to_worker();
        else
            read_worker();
        resume();
    }
    end_turn();
}

// Every callback ends here, and nothing of the session is touched afterwards: it may be gone.
void Session::end_turn() noexcept {
    if (state_ == State::farewell && !client_->has_output() && to_client_.empty()) {
        client_->bye();
        state_ = State::over;
    }
    if (state_ != State::over) {
        entry_.set_open(ledger_.calls(), ledger_.open_streams().size());
        update_wants();
        return;
    }
    client_watch_.reset();
    worker_watch_.reset();
    locks_watch_.reset();
    keepalive_timer_.reset();
    deadline_timer_.reset();
    ended_(*this);
}

void Session::update_wants() noexcept {
    const bool serving = state_ == State::serving;
    const bool output_waits = client_->has_output() || !to_client_.empty();
    const Want write = output_waits ? Want::write : Want::nothing;
    client_watch_->set((serving && !paused_ ? Want::read : Want::nothing) | write);
    if (serving && !paused_ && client_->has_input()) client_watch_->wake(Want::read);
    if (locks_watch_)
        locks_watch_->set((serving && !output_waits ? Want::read : Want::nothing) |
                          (serving && !to_locks_.empty() ? Want::write : Want::nothing));
    if (worker_watch_)
        worker_watch_->set((serving && !output_waits ? Want::read : Want::nothing) |
                           (serving && worker_waits() ? Want::write : Want::nothing));
}

bool Session::worker_waits() const noexcept {
    return !to_worker_.empty() || (with_descriptors_ && with_descriptors_->vetted);
}

bool Session::must_pause() const noexcept {
    return (with_descriptors_ && with_descriptors_->vetted) || to_worker_.size() >= k_parked_to_worker_max ||
           to_locks_.size() >= k_parked_to_worker_max || ledger_.calls() >= settings_.calls_in_flight ||
           to_client_.size() + inserted_.size() >= k_waiting_to_client_max;
}

void Session::pause(ByteView rest) {
    paused_ = true;
    parked_.assign(rest.begin(), rest.end());
}

void Session::resume() {
    if (state_ != State::serving || !paused_ || must_pause()) return;
    paused_ = false;
    // While we did not read, the client could neither be silent nor slow.
    if (keepalive_.started()) keepalive_.on_input(loop_.clock().now());
    partial_since_ = {};
    ByteVector parked = std::exchange(parked_, {});
    if (!parked.empty()) take_input(parked);
}

void Session::start_keepalive() {
    const Instant now = loop_.clock().now();
    if (keepalive_.started() || !keepalive_.start(now)) return;
    keepalive_timer_ = loop_.timer(loop::to<&Session::on_keepalive>(*this));
    keepalive_timer_->start(keepalive_.next(now));
}

void Session::on_keepalive() noexcept {
    const Instant now = loop_.clock().now();
    if (paused_) keepalive_.on_input(now);
    switch (state_ == State::serving ? keepalive_.on_time(now) : rpc::PingSchedule::Step::wait) {
        case rpc::PingSchedule::Step::wait: break;
        case rpc::PingSchedule::Step::ping: insert(rpc::make_keepalive(rpc::Keepalive::ping)); break;
        case rpc::PingSchedule::Step::dead:
            entry_.note_late(Roll::Late::keepalive);
            client_gone("it does not answer keepalive pings");
            break;
    }
    if (keepalive_timer_ && state_ != State::over) keepalive_timer_->start(keepalive_.next(now));
    end_turn();
}

// A frame that has begun must end. Stream data counts from its last piece, since nothing of it is kept here.
void Session::note_partial_frame() {
    if (!from_client_.in_frame()) {
        partial_since_ = {};
        return;
    }
    if (partial_since_ == Instant{} || from_client_.in_pieces()) partial_since_ = loop_.clock().now();
    if (!deadline_timer_) deadline_timer_ = loop_.timer(loop::to<&Session::on_deadline>(*this));
    if (!deadline_timer_->running()) deadline_timer_->start(settings_.partial_frame);
}

void Session::on_deadline() noexcept {
    const Instant now = loop_.clock().now();
    if (state_ == State::farewell) {
        client_gone("it did not read the last words");
    } else if (!dismissed_.empty()) {
        worker_gone(dismissed_);
    } else if (partial_since_ != Instant{}) {
        const auto left = std::chrono::ceil<Milliseconds>(partial_since_ + settings_.partial_frame - now);
        if (paused_)
            deadline_timer_->start(settings_.partial_frame);
        else if (left > Milliseconds{0})
            deadline_timer_->start(left);
        else {
            entry_.note_late(Roll::Late::frame);
            client_gone("a frame that it began did not end in time");
        }
    }
    end_turn();
}

void Session::worker_gone(std::string_view why) {
    if (state_ != State::serving) return;
    worker_watch_.reset();
    worker_.reset();
    locks_watch_.reset();
    locks_.reset();
    flush_client_run();
    // Inside a frame nothing can be said any more: the client would take it for the rest of that frame.
    if (!frame_open_) {
        for (const OpenCall& call : ledger_.open_calls())
            send_to_client(rpc::make_error_reply(header_of(call.key), rpc::k_code_operation_failed, why));
        for (const OpenStream& stream : ledger_.open_streams())
            if (!stream.opening)
                send_to_client(
                    rpc::make_stream_error(header_of(stream.key), rpc::k_code_operation_failed, why));
    }
    if (state_ != State::serving) return;
    if (ledger_.calls() != 0 || !ledger_.open_streams().empty())
        log_.warning("{}; {} open calls and {} open streams were ended with an error", why, ledger_.calls(),
                     ledger_.open_streams().size());
    ledger_.clear();
    state_ = State::farewell;
    log_end(dismissed_.empty() ? "its worker closed it" : dismissed_);
    if (!deadline_timer_) deadline_timer_ = loop_.timer(loop::to<&Session::on_deadline>(*this));
    deadline_timer_->start(k_farewell_time);
}

void Session::client_gone(std::string_view why) noexcept {
    if (state_ == State::over) return;
    if (state_ == State::serving) log_end(why);
    state_ = State::over;
}

void Session::close(std::string_view why) noexcept {
    client_gone(why);
    end_turn();
}

void Session::dismiss(std::string_view why) noexcept {
    if (state_ == State::serving && dismissed_.empty()) {
        dismissed_ = why;
        if (ledger_.calls() != 0 || !ledger_.open_streams().empty()) {
            worker_gone(dismissed_);
        } else {
            if (!deadline_timer_) deadline_timer_ = loop_.timer(loop::to<&Session::on_deadline>(*this));
            deadline_timer_->start(k_last_call_time);
        }
    }
    end_turn();
}

void Session::client_broke_rules(std::string_view what) noexcept {
    if (state_ == State::serving) {
        entry_.note_breach(true);
        log_.info("the client broke the protocol: {}", what);
    }
    client_gone("it broke the protocol");
}

void Session::worker_broke_rules(std::string_view what) {
    entry_.note_breach(false);
    log_.error("the worker broke the protocol: {}", what);
    worker_gone("the process that served this connection sent something invalid");
}

void Session::log_end(std::string_view why) const noexcept {
    const auto seconds = std::chrono::duration<double>(loop_.clock().now() - began_).count();
    log_.info("ends after {:.1f} s: {}", seconds, why);
}

}  // namespace virtgate::netd::gate
