// SPDX-License-Identifier: LGPL-2.1-or-later
// core_io - moving bytes: the roles of the reader and of the writer.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "libshared/client/core.h"

namespace virtgate::client {

namespace {

// Small frames that wait together leave together.
constexpr std::size_t k_gather_max = 65536;
constexpr std::size_t k_frame_fds_max = 32;

}  // namespace

// Tells the thread that waits in poll() to look again.
void Core::wake_reader() {
    if (!polling_ || woken_) return;
    woken_ = true;
    const std::uint64_t one = 1;
    static_cast<void>(!write(wakeup_.get(), &one, sizeof one));
}

// One turn of the reader: waits until `until` at most, reads once, hands over what came. The role must be
// free.
void Core::serve_once(Lock& lock, Instant until) {
    reading_ = polling_ = true;
    until = std::min(until, next_timer());
    const bool reads = !is_paused();
    const bool buffered = reads && channel_->has_buffered();
    const auto events = static_cast<short>((reads ? POLLIN : 0) | (blocked_ ? POLLOUT : 0));
    lock.unlock();

    // Without any event a hang-up would still be reported, again and again.
    const int socket = events == 0 ? -1 : channel_->fd();
    std::array<pollfd, 2> waited{{{socket, events, 0}, {wakeup_.get(), POLLIN, 0}}};
    if (!buffered) poll(waited.data(), waited.size(), poll_timeout(system_clock().now(), until));
    Batch batch;
    constexpr short k_readable = POLLIN | POLLHUP | POLLERR;
    if (reads && (buffered || (waited[0].revents & k_readable) != 0)) batch = take_input();

    lock.lock();
    polling_ = false;
    if (woken_) {
        woken_ = false;
        std::uint64_t count = 0;
        static_cast<void>(!::read(wakeup_.get(), &count, sizeof count));
    }
    if (!reads && blocked_ && (waited[0].revents & (POLLHUP | POLLERR)) != 0) mute_ = true;
    if ((waited[0].revents & (POLLOUT | POLLERR)) != 0) blocked_ = false;
    absorb(lock, std::move(batch));
    run_timers(system_clock().now());
    flush(lock);
    reading_ = false;
    leave_role();
}

// Reads once and cuts what came into frames. Without the lock.
Core::Batch Core::take_input() {
    Batch batch;
    auto progress = channel_->read(buffer_, in_fds_);
    if (!progress) {
        batch.failure = std::move(progress.error());
        return batch;
    }
    switch (progress->kind) {
        case Progress::Kind::blocked: return batch;
        case Progress::Kind::ended: {
            const std::string more = channel_->epitaph();
            const bool within = cutter_.in_frame() || owing_;
            batch.reason = CloseReason::end;
            batch.failure = Failure{
                .cause = Cause::closed,
                .text = fmt::format("the server closed the connection{}{}{}",
                                    within ? " within a message" : "", more.empty() ? "" : ": ", more)};
            return batch;
        }
        case Progress::Kind::moved: break;
    }
    if (!cut_input(MutableBytes(buffer_).first(progress->size), batch)) return batch;
    if (!owing_ && !in_fds_.empty())
        batch.failure =
            Failure{.cause = Cause::protocol, .text = "the server sent descriptors that nobody asked for"};
    return batch;
}

// False, with batch.failure, if the bytes cannot be followed.
bool Core::cut_input(MutableBytes in, Batch& batch) {
    while (true) {
        if (owing_) {
            if (!take_descriptors(in, batch)) return false;
            if (owing_) return true;
        }
        const rpc::Cut cut = cutter_.next(in);
        switch (cut.kind) {
            case rpc::Cut::Kind::more: return true;
            case rpc::Cut::Kind::header: cutter_.take_whole(); break;
            case rpc::Cut::Kind::frame:
                if (!take_frame(cut, batch)) return false;
                break;
            case rpc::Cut::Kind::piece:
            case rpc::Cut::Kind::skipped: break;
            case rpc::Cut::Kind::flaw:
                batch.failure = Failure{.cause = Cause::protocol,
                                        .text = "the server sent something that is not libvirt's protocol"};
                return false;
        }
    }
}

bool Core::take_frame(const rpc::Cut& cut, Batch& batch) {
    ByteView payload = ByteView(cut.bytes).subspan(rpc::k_frame_min);
    std::size_t count = 0;
    if (cut.header.type == rpc::Type::reply_with_fds) {
        if (payload.size() < 4 || load_be32(payload.data()) > k_frame_fds_max) {
            batch.failure =
                Failure{.cause = Cause::protocol, .text = "the server announced too many descriptors"};
            return false;
        }
        count = load_be32(payload.data());
        payload = payload.subspan(4);
    }
    Incoming frame{.header = cut.header, .payload = ByteVector(payload.begin(), payload.end()), .fds = {}};
    if (count == 0) {
        batch.frames.push_back(std::move(frame));
    } else {
        owing_ = std::move(frame);
        owed_ = count;
    }
    return true;
}

// One byte follows for each descriptor of the frame before.
bool Core::take_descriptors(MutableBytes& in, Batch& batch) {
    const std::size_t here = std::min(owed_, in.size());
    in = in.subspan(here);
    owed_ -= here;
    owing_->fds.insert(owing_->fds.end(), std::make_move_iterator(in_fds_.begin()),
                       std::make_move_iterator(in_fds_.end()));
    in_fds_.clear();
    if (owed_ > 0) return true;
    // As many bytes as were announced have come.
    batch.frames.push_back(std::move(*owing_));
    owing_.reset();
    return true;
}

// Puts what is to be sent next into out_. False if there is nothing.
bool Core::gather() {
    if (out_at_ < out_.size() || out_fds_at_ < out_fds_.size()) return true;
    out_.clear();
    out_at_ = 0;
    out_fds_.clear();
    out_fds_at_ = 0;
    if (out_.capacity() > 2 * k_gather_max) out_ = ByteVector{};
    while (!control_.empty() || !data_.empty()) {
        const bool is_control = !control_.empty();
        std::deque<Outgoing>& queue = is_control ? control_ : data_;
        Outgoing& next = queue.front();
        if (!out_.empty() && out_.size() + next.bytes.size() > k_gather_max) break;
        const std::size_t size = next.bytes.size();
        if (out_.empty())
            out_ = std::move(next.bytes);
        else
            out_.insert(out_.end(), next.bytes.begin(), next.bytes.end());
        out_fds_ = std::move(next.fds);
        if (is_control) {
            control_bytes_ -= size;
        } else if (next.stream) {
            next.stream->queued -= size;
            if (next.stream->writer != nullptr) next.stream->writer->ready.notify_one();
            notify_stream(*next.stream);
        }
        queue.pop_front();
        if (!out_fds_.empty()) break;  // they follow their frame at once
    }
    // Only pongs have no owner that waits.
    if (control_.empty()) pong_queued_ = false;
    return !out_.empty();
}

Result<Progress> Core::write_some() {
    if (out_at_ < out_.size()) {
        auto progress = channel_->write(ByteView(out_).subspan(out_at_));
        if (progress && progress->kind == Progress::Kind::moved) out_at_ += progress->size;
        return progress;
    }
    auto progress = channel_->send_descriptor(out_fds_[out_fds_at_].get());
    if (progress && progress->kind == Progress::Kind::moved) out_fds_[out_fds_at_++].reset();
    return progress;
}

void Core::drop_output() {
    control_.clear();
    control_bytes_ = 0;
    for (const Outgoing& one : data_)
        if (one.stream) one.stream->queued = 0;
    data_.clear();
}

// Writes what is queued, unless somebody else does it already: then that thread goes on with it.
void Core::flush(Lock& lock) {
    if (writing_) return;
    while (!closed_ && !blocked_ && !mute_ && gather()) {
        writing_ = true;
        lock.unlock();
        auto progress = write_some();
        lock.lock();
        writing_ = false;
        leave_role();
        if (!progress) {
            shut(CloseReason::error, std::move(progress.error()));
        } else if (progress->kind == Progress::Kind::blocked) {
            blocked_ = true;
            wake_reader();
            rearm();
        } else if (progress->kind == Progress::Kind::ended) {
            // What the server said before it went may still be there to read.
            mute_ = true;
            drop_output();
            wake_reader();
        }
    }
    if (control_bytes_ <= limits_.send_queue)
        for (Waiting* waiting : waiters_)
            if (control_bytes_ + k_gather_max > limits_.send_queue) waiting->ready.notify_all();
    if (!reading_) release_channel(lock);
}

}  // namespace virtgate::client
