// SPDX-License-Identifier: LGPL-2.1-or-later
// server - HTTP on one listener: GET and HEAD, one request for each connection.
//
// evhttp does not tell when a connection has ended before it brought a request. So each is known by its socket: the number of the
// descriptor and of the inode, which no other socket has while this one lives.
#include "libshared/http/server.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "libshared/base/handle.h"
#include "libshared/base/result.h"
#include "libshared/loop/event_base.h"

namespace virtgate::http {

namespace {

// How often connections are looked at while there are any.
constexpr Milliseconds k_tick{250};

timeval to_timeval(Milliseconds time) noexcept {
    return {static_cast<time_t>(time.count() / 1000), static_cast<suseconds_t>(time.count() % 1000 * 1000)};
}

// 0: it is closed.
std::uint64_t inode_of(int fd) noexcept {
    struct stat status {};
    return fd >= 0 && fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) ? status.st_ino : 0;
}

}  // namespace

// What C calls, and what C owns.
class Server::Callbacks {
public:
    Callbacks(Server& server, loop::Loop& loop, int listener)
        : base_(loop::event_base_of(loop)), http_(evhttp_new(base_)) {
        require(http_ != nullptr, "no memory for a server of HTTP");
        evhttp_set_allowed_methods(http_.get(), EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
        evhttp_set_max_headers_size(http_.get(), static_cast<ssize_t>(server.limits_.header_bytes));
        evhttp_set_max_body_size(http_.get(), 0);
        const timeval idle = to_timeval(server.limits_.idle);
        evhttp_set_timeout_tv(http_.get(), &idle);
        evhttp_set_bevcb(http_.get(), make_stream, &server);
        evhttp_set_gencb(http_.get(), take_request, &server);
        // The listener's descriptor stays the server's. Its queue is as long as who made it wanted: 0 keeps that.
        listener_ = evconnlistener_new(base_, nullptr, nullptr, LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0,
                                       listener);
        require(listener_ != nullptr, "no memory for a listener");
        evconnlistener_set_error_cb(listener_, starve);
        require(evhttp_bind_listener(http_.get(), listener_) != nullptr, "no memory for a listener");
        starving_ = &server;
    }
    ~Callbacks() { starving_ = nullptr; }
    Callbacks(const Callbacks&) = delete;
    Callbacks& operator=(const Callbacks&) = delete;

    void open() noexcept { evconnlistener_enable(listener_); }
    void close() noexcept { evconnlistener_disable(listener_); }

private:
    static bufferevent* make_stream(event_base* base, void* self) noexcept {
        bufferevent* stream = bufferevent_socket_new(base, -1, 0);
        if (stream != nullptr) static_cast<Server*>(self)->on_connection(stream);
        return stream;
    }
    static void take_request(evhttp_request* request, void* self) noexcept {
        static_cast<Server*>(self)->on_request(request);
    }
    static void starve(evconnlistener*, void*) noexcept {
        if (starving_ != nullptr) starving_->on_starved();
    }

    // evhttp has the pointer that a listener's callbacks get: a process has one server.
    inline static Server* starving_ = nullptr;
    event_base* base_;
    std::unique_ptr<evhttp, FreeWith<evhttp_free>> http_;
    evconnlistener* listener_ = nullptr;  // evhttp's, once it is bound
};

Server::Server(loop::Loop& loop, UniqueFd listener, const Limits& limits, OnRequest on_request)
    : loop_(loop),
      limits_(limits),
      on_request_(on_request),
      listener_(std::move(listener)),
      callbacks_(std::make_unique<Callbacks>(*this, loop, listener_.get())),
      identify_(loop.timer(loop::to<&Server::identify>(*this))),
      tick_(loop.timer(loop::to<&Server::on_tick>(*this))) {}

Server::~Server() {
    for (bufferevent* stream : fresh_) bufferevent_decref(stream);
    callbacks_.reset();  // on_gone() follows for each connection
}

void Server::start() noexcept {
    is_open_ = true;
    make_room();
}

// Its socket is not there yet, and may be gone before the next turn.
void Server::on_connection(bufferevent* stream) {
    bufferevent_incref(stream);
    fresh_.push_back(stream);
    identify_->start(Milliseconds{0});
    make_room();
}

void Server::identify() noexcept {
    for (bufferevent* stream : std::exchange(fresh_, {})) {
        const int fd = bufferevent_getfd(stream);
        if (const std::uint64_t inode = inode_of(fd); inode != 0)
            connections_.push_back({.fd = fd, .inode = inode, .until = loop_.clock().now() + limits_.whole});
        bufferevent_decref(stream);
    }
    if (!connections_.empty() && !tick_->running()) tick_->start(k_tick);
    make_room();
}

void Server::on_tick() noexcept {
    std::erase_if(connections_, [](const Connection& one) { return inode_of(one.fd) != one.inode; });
    const Instant now = loop_.clock().now();
    // evhttp then reads the end of it, and frees it.
    for (const Connection& one : connections_)
        if (one.until <= now) shutdown(one.fd, SHUT_RDWR);
    if (!connections_.empty()) tick_->start(k_tick);
    make_room();
}

void Server::make_room() noexcept {
    if (!is_open_) return;
    if (connections() < limits_.connections) return callbacks_->open();
    callbacks_->close();
    std::erase_if(connections_, [](const Connection& one) { return inode_of(one.fd) != one.inode; });
    if (connections() < limits_.connections) return callbacks_->open();
    if (full_.next())
        log_.warning("{} connections: no more are accepted until one ends ({} times so far)", connections(),
                     full_.count());
    if (!tick_->running()) tick_->start(k_tick);
}

// No descriptor left: trying at once would not help.
void Server::on_starved() noexcept {
    callbacks_->close();
    tick_->start(k_tick);
}

void Server::on_request(evhttp_request* request) noexcept {
    evhttp_connection* connection = evhttp_request_get_connection(request);
    const Ticket ticket = ++last_;
    open_.emplace(ticket, request);
    evhttp_connection_set_closecb(
        connection,
        [](evhttp_connection* gone, void* self) noexcept { static_cast<Server*>(self)->on_gone(gone); },
        this);
    Request told{.ticket = ticket, .path = {}, .accept = {}};
    const evhttp_uri* uri = evhttp_request_get_evhttp_uri(request);
    const char* path = uri != nullptr ? evhttp_uri_get_path(uri) : nullptr;
    if (path != nullptr) told.path = path;
    const char* accept = evhttp_find_header(evhttp_request_get_input_headers(request), "Accept");
    if (accept != nullptr) told.accept = accept;
    on_request_(told);
}

void Server::on_gone(const evhttp_connection* connection) noexcept {
    std::erase_if(open_,
                  [&](const auto& one) { return evhttp_request_get_connection(one.second) == connection; });
}

void Server::answer(Ticket ticket, int status, std::string_view content_type,
                    std::string_view body) noexcept {
    const auto found = open_.find(ticket);
    if (found == open_.end()) return;
    evhttp_request* const request = found->second;
    open_.erase(found);
    ++answered_[status];
    evkeyvalq* headers = evhttp_request_get_output_headers(request);
    evhttp_add_header(headers, "Content-Type", std::string(content_type).c_str());
    evhttp_add_header(headers, "Content-Length", std::to_string(body.size()).c_str());
    evhttp_add_header(headers, "Connection", "close");
    evhttp_add_header(headers, "Cache-Control", "no-store");
    evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
    if (evhttp_request_get_command(request) == EVHTTP_REQ_GET)
        evbuffer_add(evhttp_request_get_output_buffer(request), body.data(), body.size());
    evhttp_send_reply(request, status, nullptr, nullptr);
}

}  // namespace virtgate::http
