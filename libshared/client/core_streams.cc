// SPDX-License-Identifier: LGPL-2.1-or-later
// core_streams - streams beside calls: pieces in and out, their bounds, and both ways of their end.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "libshared/client/core.h"
#include "libshared/xdr/reader.h"

namespace virtgate::client {

namespace {

using State = StreamState::State;

bool is_over(const StreamState& stream) noexcept {
    return stream.state == State::finished || stream.state == State::failed;
}

void wake(Waiting* waiting) {
    if (waiting != nullptr) waiting->ready.notify_one();
}

// The memory that a piece takes while it waits.
std::size_t cost(const SpoolEntry& entry) noexcept { return sizeof entry + entry.bytes.size(); }

// Adds what came to the end, as a part of what is there where that can be: a server's holes and small pieces
// in the file must not add up.
void append(StreamState& stream, SpoolEntry entry) {
    if (!stream.in.empty() && stream.in.back().kind == entry.kind) {
        SpoolEntry& last = stream.in.back();
        const bool joins = entry.kind == SpoolEntry::Kind::hole ? entry.size <= INT64_MAX - last.size
                                                                : entry.kind == SpoolEntry::Kind::file &&
                                                                      last.offset + last.size == entry.offset;
        if (joins) {
            last.size += entry.size;
            return;
        }
    }
    stream.in_memory += cost(entry);
    stream.in.push_back(std::move(entry));
}

// A file without a name; it goes with its descriptor.
Result<UniqueFd> make_file() {
    const char* directory = secure_getenv("TMPDIR");
    UniqueFd file{open(directory != nullptr ? directory : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
    if (!file) return fail_system(errno, "cannot make a file for what a stream has received");
    return file;
}

Done write_at(int file, ByteView bytes, std::uint64_t offset) {
    while (!bytes.empty()) {
        const ssize_t n = pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_system(errno, "cannot store what a stream has received");
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
    return {};
}

}  // namespace

// True if something else than the program's reading of a full stream needs the connection to be read.
bool Core::calls_wait() const {
    if (live_calls_ > 0) return true;
    return std::any_of(streams_.begin(), streams_.end(), [](const auto& row) {
        const StreamState& stream = *row.second;
        return stream.reader != nullptr || stream.ender != nullptr ||
               (has(stream.interest, Want::read) && stream.in.empty() && !stream.partly);
    });
}

// True if the stream can hold no more, whoever waits for what is behind it. Many small pieces and holes cost
// memory wherever their bytes are.
bool Core::is_full(const StreamState& stream) const {
    return stream.state == State::open &&
           (stream.in_file >= limits_.stream_file || stream.in_memory >= 2 * limits_.stream_memory);
}

// True if the server has to wait, as its own flow control is the socket's.
bool Core::is_paused() const {
    return std::any_of(streams_.begin(), streams_.end(), [this](const auto& row) {
        const StreamState& stream = *row.second;
        return is_full(stream) ||
               (stream.state == State::open && stream.in_memory >= limits_.stream_memory && !calls_wait());
    });
}

// Keeps what came until the program reads it; in a file, if memory is full and somebody waits for what comes
// behind it.
void Core::store(Lock& lock, StreamState& stream, ByteVector bytes) {
    const std::uint64_t size = bytes.size();
    // What came in one piece with the last answer that was waited for may be a little too much, but not each
    // time.
    if (stream.in_memory < limits_.stream_memory || (!calls_wait() && !stream.file)) {
        return append(stream, {.kind = SpoolEntry::Kind::memory, .size = size, .bytes = std::move(bytes)});
    }
    if (!stream.file) {
        auto file = make_file();
        if (file) stream.file = std::move(*file);
        if (!file) {
            fail_stream(stream, file.error());
            return abort_stream(stream.shared_from_this());
        }
    }
    if (stream.in_file == 0) stream.file_end = 0;
    const std::uint64_t offset = stream.file_end;
    stream.file_end += size;
    stream.in_file += size;
    // Only the reader of the connection gets here, so the order is kept without the lock.
    lock.unlock();
    const auto done = write_at(stream.file.get(), bytes, offset);
    lock.lock();
    if (stream.state != State::open) return;
    if (!done) {
        fail_stream(stream, done.error());
        return abort_stream(stream.shared_from_this());
    }
    append(stream, {.kind = SpoolEntry::Kind::file, .size = size, .bytes = {}, .offset = offset});
}

void Core::take_stream(Lock& lock, Incoming& frame) {
    const auto found = streams_.find(frame.header.serial);
    // What is under way when a stream ends comes to nothing.
    if (found == streams_.end() || frame.header.procedure != found->second->header.procedure ||
        frame.header.program != found->second->header.program)
        return;
    const std::shared_ptr<StreamState> stream = found->second;
    const bool takes = stream->state == State::open && !stream->at_end;
    if (frame.header.type == rpc::Type::stream_hole) {
        xdr::Reader reader(frame.payload);
        const std::int64_t length = reader.i64();
        const std::uint32_t flags = reader.u32();
        if (!stream->sparse || reader.close() != xdr::Flaw::none || length <= 0 || flags != 0)
            return broken("a hole where none can be");
        if (takes)
            append(*stream, {.kind = SpoolEntry::Kind::hole, .size = static_cast<std::uint64_t>(length)});
    } else if (frame.header.status == rpc::Status::proceed) {
        if (frame.payload.empty())
            stream->at_end = true;
        else if (takes)
            store(lock, *stream, std::move(frame.payload));
    } else if (frame.header.status == rpc::Status::error) {
        end_of_stream(frame.header.serial);
        return fail_stream(*stream, read_remote_error(frame.payload));
    } else if (frame.header.status == rpc::Status::ok) {
        if (stream->state != State::finishing && stream->state != State::aborting)
            return broken("it ended a stream that nobody had ended");
        end_of_stream(frame.header.serial);
        stream->state = stream->failure ? State::failed : State::finished;
        wake(stream->ender);
    } else {
        return broken("a piece of a stream with a strange status");
    }
    wake(stream->reader);
    notify_stream(*stream);
}

void Core::end_of_stream(std::uint32_t serial) { streams_.erase(serial); }

// The first failure is the one that counts.
void Core::fail_stream(StreamState& stream, Failure failure) {
    if (!stream.failure) stream.failure = std::move(failure);
    stream.state = State::failed;
    drop_queued(stream);
    wake(stream.reader);
    wake(stream.writer);
    wake(stream.ender);
    notify_stream(stream);
}

// Tells the server that no more is wanted. It would not hear that before it has opened the stream: then it is
// told when its reply is there.
void Core::abort_stream(const std::shared_ptr<StreamState>& stream) {
    stream->state = State::aborting;
    if (!stream->opening) queue_stream(stream, rpc::Type::stream, rpc::Status::error, {});
}

void Core::drop_queued(const StreamState& stream) {
    std::erase_if(data_, [&stream](const Outgoing& one) { return one.stream.get() == &stream; });
    const_cast<StreamState&>(stream).queued = 0;
}

void Core::queue_stream(const std::shared_ptr<StreamState>& stream, rpc::Type type, rpc::Status status,
                        ByteView payload) {
    if (mute_ || closed_) return;
    rpc::Header header = stream->header;
    header.type = type;
    header.status = status;
    Outgoing frame{.bytes = rpc::make_frame(header, payload), .fds = {}, .stream = stream};
    stream->queued += frame.bytes.size();
    data_.push_back(std::move(frame));
}

Want Core::readiness(const StreamState& stream) const {
    const bool over = stream.state != State::open;
    const bool read = over || stream.partly || !stream.in.empty() || stream.at_end;
    const bool write = over || stream.queued < limits_.stream_queue;
    return (read ? Want::read : Want::nothing) | (write ? Want::write : Want::nothing);
}

// Has the stream's handler called once, if there is something for it; and again afterwards, while there is.
void Core::notify_stream(StreamState& stream) {
    const auto hit = [this](const StreamState& of) {
        return static_cast<Want>(static_cast<unsigned char>(readiness(of)) &
                                 static_cast<unsigned char>(of.interest));
    };
    if (!stream.handler || stream.notified || hit(stream) == Want::nothing) return;
    stream.notified = true;
    push_delivery({.run = [this, hit, shared = stream.shared_from_this()] {
        Lock lock(mutex_);
        const std::function<void(Want)> handler = shared->handler;
        const Want ready = hit(*shared);
        lock.unlock();
        if (handler && ready != Want::nothing) handler(ready);
        lock.lock();
        shared->notified = false;
        notify_stream(*shared);
    }});
}

void Core::watch_stream(const std::shared_ptr<StreamState>& stream, Want interest,
                        std::function<void(Want)> handler) {
    Lock lock(mutex_);
    // What the old handler owns may be a Stream, whose end takes the lock.
    const std::function<void(Want)> before = std::exchange(stream->handler, std::move(handler));
    stream->interest = stream->handler ? interest : Want::nothing;
    notify_stream(*stream);
    wake_reader();
    rearm();
    lock.unlock();
}

Result<Core::Piece> Core::read_stream(StreamState& stream, MutableBytes buffer, const Deadline* deadline) {
    static const Deadline k_never;
    if (buffer.empty()) return fail(Cause::invalid, "there is no room for what is to be read");
    Waiting me(*this, deadline != nullptr ? *deadline : k_never);
    Lock lock(mutex_);
    if (stream.current_at == stream.current.size) {
        const auto ready = [&stream] {
            return !stream.in.empty() || stream.at_end || stream.state != State::open;
        };
        if (!ready() && deadline == nullptr && service_ == Service::none && !reading_ && !closed_)
            serve_once(lock, Instant::min());
        if (!ready() && deadline == nullptr) return Piece{Piece::Kind::blocked, 0};
        if (!ready()) {
            stream.reader = &me;
            wake_reader();  // it may have paused for another stream
            const auto done = await(lock, me, *deadline, ready);
            stream.reader = nullptr;
            if (!done && !ready()) return tl::unexpected(done.error());
        }
        if (stream.in.empty()) {
            if (stream.failure) return fail(*stream.failure);
            if (stream.at_end) return Piece{Piece::Kind::end, 0};
            return fail(Cause::invalid, "the stream has been ended");
        }
        const bool was_paused = is_paused();
        stream.current = std::move(stream.in.front());
        stream.current_at = 0;
        stream.in.pop_front();
        stream.in_memory -= cost(stream.current);
        stream.taken = system_clock().now();
        if (was_paused && !is_paused()) {
            wake_reader();
            pass_on();
            service_ready_.notify_one();
        }
    }
    SpoolEntry& current = stream.current;
    lock.unlock();
    Piece piece{Piece::Kind::hole, current.size - stream.current_at};
    if (current.kind != SpoolEntry::Kind::hole) {
        piece = {Piece::Kind::data, std::min<std::uint64_t>(buffer.size(), piece.size)};
        if (current.kind == SpoolEntry::Kind::memory) {
            std::copy_n(current.bytes.begin() + static_cast<std::ptrdiff_t>(stream.current_at), piece.size,
                        buffer.begin());
        } else {
            const ssize_t n = pread(stream.file.get(), buffer.data(), piece.size,
                                    static_cast<off_t>(current.offset + stream.current_at));
            if (n <= 0) return fail_system(n < 0 ? errno : EIO, "cannot read what a stream has received");
            piece.size = static_cast<std::uint64_t>(n);
        }
    }
    stream.current_at += piece.size;
    lock.lock();
    stream.partly = stream.current_at < current.size;
    if (!stream.partly) {
        const bool was_paused = is_paused();
        if (current.kind == SpoolEntry::Kind::file) stream.in_file -= current.size;
        current = {};
        stream.current_at = 0;
        if (was_paused && !is_paused()) wake_reader();
    }
    notify_stream(stream);
    if (!reading_) rearm();
    return piece;
}

Done Core::check_writable(const StreamState& stream) {
    if (stream.failure) return fail(*stream.failure);
    if (stream.state != State::open) return fail(Cause::invalid, "the stream has been ended");
    return {};
}

// Waits until the stream may queue more; `room` says whether it may. Without a deadline it does not wait.
Done Core::await_room(Lock& lock, const std::shared_ptr<StreamState>& stream, const Deadline* deadline,
                      bool& room) {
    const auto ready = [&] { return stream->queued < limits_.stream_queue || stream->state != State::open; };
    if (!ready() && deadline == nullptr && service_ == Service::none && !reading_ && !closed_)
        serve_once(lock, Instant::min());
    room = ready();
    if (room || deadline == nullptr) return check_writable(*stream);
    // The stop callback of this Waiting takes the lock, and so does its end.
    lock.unlock();
    Done done;
    {
        Waiting me(*this, *deadline);
        lock.lock();
        stream->writer = &me;
        done = await(lock, me, *deadline, ready);
        stream->writer = nullptr;
        room = ready();
        lock.unlock();
    }
    lock.lock();
    if (!done && !room) return done;
    return check_writable(*stream);
}

Result<std::size_t> Core::write_stream(const std::shared_ptr<StreamState>& stream, ByteView bytes,
                                       const Deadline* deadline) {
    Lock lock(mutex_);
    std::size_t taken = 0;
    while (taken < bytes.size()) {
        if (auto done = check_writable(*stream); !done) return tl::unexpected(done.error());
        bool room = false;
        if (auto done = await_room(lock, stream, deadline, room); !done) return tl::unexpected(done.error());
        if (!room) break;
        const ByteView piece = bytes.subspan(taken, std::min(rpc::k_stream_piece_max, bytes.size() - taken));
        queue_stream(stream, rpc::Type::stream, rpc::Status::proceed, piece);
        taken += piece.size();
        flush(lock);
    }
    rearm();
    return taken;
}

Result<bool> Core::write_hole(const std::shared_ptr<StreamState>& stream, std::uint64_t length,
                              const Deadline* deadline) {
    if (!stream->sparse) return fail(Cause::invalid, "the stream was not opened for holes");
    if (length == 0 || length > static_cast<std::uint64_t>(INT64_MAX))
        return fail(Cause::invalid, "no length of a hole");
    Lock lock(mutex_);
    if (auto done = check_writable(*stream); !done) return tl::unexpected(done.error());
    bool room = false;
    if (auto done = await_room(lock, stream, deadline, room); !done) return tl::unexpected(done.error());
    if (!room) return false;
    std::array<std::byte, 12> payload{};  // the flags behind the length are 0
    store_be32(payload.data(), static_cast<std::uint32_t>(length >> 32));
    store_be32(payload.data() + 4, static_cast<std::uint32_t>(length));
    queue_stream(stream, rpc::Type::stream_hole, rpc::Status::proceed, payload);
    flush(lock);
    rearm();
    return true;
}

Done Core::end_stream(const std::shared_ptr<StreamState>& stream, bool abort, const Deadline& deadline) {
    Waiting me(*this, deadline);
    Lock lock(mutex_);
    if (stream->state == State::open) {
        const bool was_paused = is_paused();
        if (abort) drop_queued(*stream);
        stream->state = abort ? State::aborting : State::finishing;
        // What comes from now on is of no interest.
        stream->in.clear();
        stream->in_memory = 0;
        queue_stream(stream, rpc::Type::stream, abort ? rpc::Status::error : rpc::Status::ok, {});
        flush(lock);
        wake(stream->reader);
        if (was_paused) wake_reader();
    }
    stream->ender = &me;
    const auto done = await(lock, me, deadline, [&stream] { return is_over(*stream); });
    stream->ender = nullptr;
    if (!is_over(*stream)) return done;
    if (stream->failure) return fail(*stream->failure);
    return {};
}

// Its handle is gone.
void Core::forget_stream(const std::shared_ptr<StreamState>& stream) noexcept {
    Lock lock(mutex_);
    const std::function<void(Want)> handler = std::exchange(stream->handler, nullptr);
    stream->interest = Want::nothing;
    stream->in.clear();
    if (stream->state == State::open) {
        drop_queued(*stream);
        abort_stream(stream);
        flush(lock);
        wake_reader();
        rearm();
    }
    lock.unlock();
}

}  // namespace virtgate::client
