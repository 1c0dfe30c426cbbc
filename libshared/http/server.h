// SPDX-License-Identifier: LGPL-2.1-or-later
// server - HTTP on one listener: GET and HEAD, one request for each connection.
//
// Trust:  requests are hostile, whoever may connect. Other methods are answered with 501 before a byte of their body is read.
// Limits: Limits. While there are as many connections as there may be, others wait in the listener's queue. A connection that is
//         silent for `idle`, or not over after `whole`, is closed, whatever it does.
//         A process has one server.
// Owns:   the listener and the connections.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libshared/base/fd.h"
#include "libshared/base/log.h"
#include "libshared/loop/loop.h"

struct evhttp_request;
struct evhttp_connection;
struct bufferevent;

namespace virtgate::http {

struct Limits {
    std::size_t connections = 16;
    std::size_t header_bytes = 8192;  // the request's first line and headers
    Milliseconds idle{5'000};
    Milliseconds whole{10'000};
};

// Names a request that is not answered yet.
using Ticket = std::uint64_t;

struct Request {
    Ticket ticket = 0;
    std::string path{};    // without the query, as it came; no scheme and no host
    std::string accept{};  // the header; empty: none
};

class Server {
public:
    using OnRequest = loop::Target<const Request&>;

    // The process has to ignore SIGPIPE. Serves `listener`, a listening socket that does not block, after start(). `loop` has to be libevent's. Each request has to
    // be answered some time; what is not in time is closed.
    Server(loop::Loop& loop, UniqueFd listener, const Limits& limits, OnRequest on_request);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    void start() noexcept;
    // Answers; nothing happens if the client has gone.
    void answer(Ticket ticket, int status, std::string_view content_type, std::string_view body) noexcept;

    // Answers by status, those of evhttp's own (400, 501, ...) not among them.
    [[nodiscard]] const std::map<int, std::uint64_t>& answered() const noexcept { return answered_; }
    [[nodiscard]] std::size_t connections() const noexcept { return connections_.size() + fresh_.size(); }

private:
    class Callbacks;
    // Known by its socket (server.cc).
    struct Connection {
        int fd = -1;
        std::uint64_t inode = 0;
        Instant until{};
    };
    void on_connection(bufferevent* stream);
    void on_request(evhttp_request* request) noexcept;
    void on_gone(const evhttp_connection* connection) noexcept;
    void on_starved() noexcept;
    void on_tick() noexcept;
    void identify() noexcept;
    void make_room() noexcept;

    loop::Loop& loop_;
    const Limits limits_;
    const OnRequest on_request_;
    Log log_{"http"};
    UniqueFd listener_;
    std::unique_ptr<Callbacks> callbacks_;
    std::vector<bufferevent*> fresh_;  // accepted in this turn; a reference to each is ours
    std::vector<Connection> connections_;
    std::map<Ticket, evhttp_request*> open_;
    Ticket last_ = 0;
    std::map<int, std::uint64_t> answered_;
    std::unique_ptr<loop::Timer> identify_, tick_;
    Sparse full_;
    bool is_open_ = false;
};

}  // namespace virtgate::http
