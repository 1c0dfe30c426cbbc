// SPDX-License-Identifier: LGPL-2.1-or-later
// client - one libvirt client of the load generator, and the loop that drives many of them in one thread.
//
// A Client connects, shakes hands, asks AUTH_LIST and, if wanted, for keepalive, and opens the URI. Then its
// Task decides.
// Limits: at most k_calls_max calls in flight on one connection.
// Owns:   a Loop owns its Clients; a Task is borrowed and must outlive the Loop.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/meter.h"
#include "tests/bench/transport.h"
#include "tests/bench/wire.h"

namespace virtgate::bench {

constexpr std::size_t k_calls_max = 256;

class Client;
class Loop;

// What a load does with its clients. Callbacks may call the client, and Loop::stop().
class Task {
public:
    virtual ~Task() = default;
    virtual void on_ready(Client& client) = 0;
    // A reply without error. `since` is the time of the call in nanoseconds.
    virtual void on_reply(Client& client, const Header& header, ByteView payload, std::uint64_t since) = 0;
    // A frame of a stream, errors included; none unless the task opens one.
    virtual void on_stream(Client& client, const Header& header, ByteView payload);
    // The socket takes bytes again; only told while the client has nothing to send.
    virtual void on_writable(Client& client);
    // The connection is gone. `reason` is empty after finish(). The Client is destroyed afterwards.
    virtual void on_closed(Client& client, const std::string& reason) = 0;
};

struct Options {
    std::string uri;         // text of CONNECT_OPEN
    bool keepalive = false;  // ask the server to ping us, as a client with an event loop does
    bool coalesce = false;   // send what one read made ready in one write (default: one write for each call)
};

class Client {
public:
    Client(Loop& loop, Task& task) : loop_(loop), task_(task) {}

    Done start(const Target& target);

    // Sends one call. The reply comes through Task::on_reply.
    void ask(Call call, ByteView payload);
    // Sends a whole frame, such as one of a stream.
    void send(ByteView frame);
    // Asks CONNECT_CLOSE and ends when its reply is there.
    void finish();

    // Serial of the last call.
    [[nodiscard]] std::uint32_t last_serial() const noexcept { return serial_ - 1; }
    // When start() was called.
    [[nodiscard]] std::uint64_t started() const noexcept { return started_; }
    [[nodiscard]] bool is_clear() const noexcept { return transport_.pending() == 0; }
    // Wants Task::on_writable.
    void want_writable(bool on);

private:
    friend class Loop;
    enum class State { handshake, auth_list, keepalive, open, ready, closing };

    // True while the connection lives; the reason is in reason_ otherwise.
    bool advance(std::uint32_t events);
    bool step_handshake();
    void take_bytes(ByteView bytes);
    void take_frame(ByteView frame);
    void take_reply(const Header& header, ByteView payload);
    void enter_next();
    void fail(std::string reason);
    [[nodiscard]] std::uint32_t wanted_events() const;

    Loop& loop_;
    Task& task_;
    Transport transport_;
    State state_ = State::handshake;
    ByteVector partial_;
    std::vector<std::uint64_t> sent_at_;
    std::uint64_t started_ = 0;
    std::uint32_t serial_ = 0;
    std::uint32_t armed_ = 0;  // events that epoll watches now
    std::size_t place_ = 0;    // index in the loop
    bool batching_ = false;
    bool connected_ = false;
    bool want_writable_ = false;
    bool ended_ = false;
    std::string reason_;
};

class Loop {
public:
    explicit Loop(const Target& target, Options options);

    // A new connection that serves `task`. Error: it cannot even start.
    Done add(Task& task);
    // Runs until stop() or `deadline` (nanoseconds of now_ns()).
    void run(std::uint64_t deadline);
    void stop() noexcept { stopped_ = true; }
    // Also ends run() when the descriptor becomes readable (a closed pipe is).
    void watch_end(int fd);

    [[nodiscard]] const Options& options() const noexcept { return options_; }
    [[nodiscard]] std::size_t size() const noexcept { return clients_.size(); }

private:
    friend class Client;
    void arm(Client& client);

    const Target& target_;
    Options options_;
    UniqueFd epoll_;
    std::vector<std::unique_ptr<Client>> clients_;
    bool stopped_ = false;
};

}  // namespace virtgate::bench
