// SPDX-License-Identifier: LGPL-2.1-or-later
// client_server - the other end of a connection of libshared/client, which does what a test says.
#include "tests/unit/client_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "libshared/rpc/cutter.h"

namespace virtgate::test {

ByteVector bytes(std::string_view text) {
    const ByteView view = as_bytes(text);
    return {view.begin(), view.end()};
}

std::string text(ByteView bytes) { return std::string(as_text(bytes)); }

ByteVector word(std::uint32_t value) {
    ByteVector out(4);
    store_be32(out.data(), value);
    return out;
}

ScriptedServer::ScriptedServer(Script script, Memory memory) : script_(std::move(script)), memory_(memory) {
    int ends[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "no socket pair");
    ours_ = UniqueFd{ends[0]};
    theirs_ = UniqueFd{ends[1]};
    require(set_nonblocking(ends[1], true).has_value(), "no such descriptor");
    thread_ = std::thread([this] { run(); });
}

ScriptedServer::~ScriptedServer() {
    pause(false);
    hang_up();
    thread_.join();
}

std::unique_ptr<client::Channel> ScriptedServer::channel() {
    return client::make_socket_channel(std::move(theirs_), true, true);
}

void ScriptedServer::send(ByteView bytes) {
    const std::lock_guard lock(sending_);
    while (!bytes.empty()) {
        const ssize_t n = ::send(ours_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return;  // the client has gone, which some tests want
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
}

void ScriptedServer::reply(const rpc::Header& call, ByteView payload) {
    send(rpc::make_frame(rpc::reply_to(call), payload));
}

void ScriptedServer::refuse(const rpc::Header& call, int code, std::string_view message) {
    send(rpc::make_error_reply(call, code, message));
}

void ScriptedServer::stream(const rpc::Header& call, rpc::Status status, ByteView payload) {
    rpc::Header header = call;
    header.type = rpc::Type::stream;
    header.status = status;
    send(rpc::make_frame(header, payload));
}

void ScriptedServer::hole(const rpc::Header& call, std::uint64_t length) {
    rpc::Header header = call;
    header.type = rpc::Type::stream_hole;
    header.status = rpc::Status::proceed;
    ByteVector payload(12);
    store_be32(payload.data(), static_cast<std::uint32_t>(length >> 32));
    store_be32(payload.data() + 4, static_cast<std::uint32_t>(length));
    send(rpc::make_frame(header, payload));
}

void ScriptedServer::event(std::uint32_t number, ByteView payload) {
    send(rpc::make_frame(rpc::make_message(k_program, k_version, number, 1), payload));
}

void ScriptedServer::hang_up() { shutdown(ours_.get(), SHUT_RDWR); }

void ScriptedServer::pause(bool on) {
    const std::lock_guard lock(mutex_);
    paused_ = on;
    came_.notify_all();
}

std::vector<Frame> ScriptedServer::frames() {
    const std::lock_guard lock(mutex_);
    return frames_;
}

void ScriptedServer::await(std::size_t count) {
    std::unique_lock lock(mutex_);
    require(came_.wait_for(lock, k_patience, [&] { return frames_.size() >= count; }),
            "a frame did not come");
}

void ScriptedServer::run() {
    // The same kind of channel as the client's, for the descriptors; it does not close ours_ twice.
    const auto input = client::make_socket_channel(UniqueFd{dup(ours_.get())}, true, true);
    ByteVector buffer(65536);
    rpc::Cutter cutter(rpc::k_frame_max);
    while (true) {
        {
            std::unique_lock lock(mutex_);
            came_.wait(lock, [this] { return !paused_; });
        }
        const auto progress = input->read(buffer, fds_);
        if (!progress || progress->kind == client::Progress::Kind::ended) return;
        MutableBytes in = MutableBytes(buffer).first(progress->size);
        for (bool more = true; more;) {
            for (; owed_ > 0 && !in.empty(); in = in.subspan(1))
                if (--owed_ == 0) take(std::move(owing_));
            const rpc::Cut cut = cutter.next(in);
            if (cut.kind == rpc::Cut::Kind::header) cutter.take_whole();
            if (cut.kind == rpc::Cut::Kind::flaw) return;
            if (cut.kind == rpc::Cut::Kind::more) more = false;
            if (cut.kind != rpc::Cut::Kind::frame) continue;
            const ByteView payload = ByteView(cut.bytes).subspan(rpc::k_frame_min);
            Frame frame{cut.header, {payload.begin(), payload.end()}};
            if (frame.header.type != rpc::Type::call_with_fds) {
                take(std::move(frame));
                continue;
            }
            owed_ = load_be32(frame.payload.data());
            owing_ = std::move(frame);
        }
    }
}

void ScriptedServer::take(Frame frame) {
    if (memory_ == Memory::all) {
        const std::lock_guard lock(mutex_);
        frames_.push_back(frame);
        came_.notify_all();
    }
    if (script_) script_(*this, frame);
}

client::CallOptions within(Milliseconds limit) {
    return {.deadline = client::Deadline::in(limit), .fds = {}, .received = nullptr};
}

client::Connection attach(ScriptedServer& server, const client::Options& options) {
    auto connection = client::Connection::attach(server.channel(), options);
    require(connection.has_value(), "a connection to a socket pair fails");
    return std::move(*connection);
}

std::string echo_of(client::Connection& connection, std::string_view words) {
    const auto reply = connection.call(procedure(k_echo), as_bytes(words), within(k_patience));
    return reply ? text(*reply) : "!" + reply.error().text;
}

}  // namespace virtgate::test
