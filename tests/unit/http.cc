// SPDX-License-Identifier: LGPL-2.1-or-later
// http - a real server on a socket of its own: what it answers, and what it does not wait for.
#include <criterion/criterion.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>
#include <thread>

#include "libshared/http/server.h"

using namespace virtgate;

namespace {

// An abstract name of this process's own.
sockaddr_un address(socklen_t& size) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    const std::string text = fmt::format("virtgate-test-http-{}", getpid());
    text.copy(name.sun_path + 1, text.size());
    size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
    return name;
}

UniqueFd make_listener() {
    socklen_t size = 0;
    const sockaddr_un name = address(size);
    UniqueFd fd{socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    cr_assert_eq(bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), size), 0);
    cr_assert_eq(listen(fd.get(), 64), 0);
    return fd;
}

UniqueFd connect_to_it() {
    socklen_t size = 0;
    const sockaddr_un name = address(size);
    UniqueFd fd{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    cr_assert_eq(connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), size), 0);
    return fd;
}

void put(const UniqueFd& fd, std::string_view text) {
    static_cast<void>(send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL));
}

// All until its end; what came within `patience`, and whether it ended.
std::string get(const UniqueFd& fd, int patience, bool* ended = nullptr) {
    std::string text;
    for (std::array<char, 4096> piece{};;) {
        pollfd one{fd.get(), POLLIN, 0};
        const bool silent = poll(&one, 1, patience) <= 0;
        const ssize_t size = silent ? -1 : read(fd.get(), piece.data(), piece.size());
        if (ended != nullptr) *ended = !silent && size <= 0;
        if (size <= 0) return text;
        text.append(piece.data(), static_cast<std::size_t>(size));
    }
}

constexpr http::Limits k_limits{
    .connections = 3, .header_bytes = 1024, .idle = Milliseconds{400}, .whole = Milliseconds{700}};
constexpr int k_soon = 3'000;

// Answers in a thread; "/later" a while after it was asked, "/stop" is the end.
class Host {
public:
    Host() : thread_([this] { loop_->run(); }) { std::signal(SIGPIPE, SIG_IGN); }
    ~Host() {
        for (int i = 0; i < 20; ++i) {
            const UniqueFd fd = connect_to_it();
            put(fd, "GET /stop HTTP/1.1\r\nHost: x\r\n\r\n");
            if (!get(fd, 500).empty()) break;
        }
        thread_.join();
    }
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;

private:
    void on_request(const http::Request& request) noexcept {
        if (request.path == "/later") {
            later_ = request.ticket;
            return timer_->start(Milliseconds{200});
        }
        server_->answer(request.ticket, 200, "text/plain",
                        fmt::format("{} {}\n", request.path, request.accept));
        if (request.path == "/stop") stop_->start(Milliseconds{50});
    }
    void on_later() noexcept { server_->answer(later_, 200, "text/plain", "at last\n"); }
    void on_stop() noexcept { loop_->stop(); }

    std::unique_ptr<loop::Loop> loop_ = loop::make_event_loop();
    http::Ticket later_ = 0;
    std::unique_ptr<loop::Timer> timer_ = loop_->timer(loop::to<&Host::on_later>(*this));
    std::unique_ptr<loop::Timer> stop_ = loop_->timer(loop::to<&Host::on_stop>(*this));
    std::unique_ptr<http::Server> server_ = [this] {
        auto server = std::make_unique<http::Server>(*loop_, make_listener(), k_limits,
                                                     loop::to<&Host::on_request>(*this));
        server->start();
        return server;
    }();
    std::thread thread_;
};

std::string ask(std::string_view request) {
    const UniqueFd fd = connect_to_it();
    put(fd, request);
    return get(fd, k_soon);
}

}  // namespace

Test(http, get_and_head_are_answered) {
    const Host host;
    const std::string got = ask("GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n");
    cr_assert(got.starts_with("HTTP/1.1 200 OK\r\n"), "%s", got.c_str());
    cr_assert(got.ends_with("\r\n\r\n/metrics text/plain\n"), "%s", got.c_str());
    cr_assert_neq(got.find("Content-Length: 20\r\n"), got.npos, "%s", got.c_str());
    const std::string head = ask("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_assert(head.starts_with("HTTP/1.1 200 OK\r\n"), "%s", head.c_str());
    cr_assert(head.ends_with("\r\n\r\n"), "%s", head.c_str());
    cr_assert_neq(head.find("Content-Length: 3\r\n"), head.npos, "%s", head.c_str());
}

Test(http, nothing_else_is_and_no_body_is_waited_for) {
    const Host host;
    for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"}) {
        const std::string got =
            ask(fmt::format("{} / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n", method));
        cr_assert(got.starts_with("HTTP/1.1 501 ") || got.starts_with("HTTP/1.1 4"), "%s: %s", method,
                  got.c_str());
    }
    const std::string nonsense = ask("\x16\x03\x01\x02hello there\r\n\r\n");
    cr_assert_eq(nonsense.find(" 200 "), nonsense.npos, "%s", nonsense.c_str());
    cr_assert(ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

Test(http, headers_without_an_end_are_refused) {
    const Host host;
    const std::string got = ask("GET / HTTP/1.1\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n");
    cr_assert_eq(got.find(" 200 "), got.npos, "%s", got.c_str());
    const std::string line = ask("GET /" + std::string(100'000, 'x') + " HTTP/1.1\r\n\r\n");
    cr_assert_eq(line.find(" 200 "), line.npos, "%s", line.c_str());
}

Test(http, an_answer_may_come_later) {
    const Host host;
    cr_assert(ask("GET /later HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("\r\n\r\nat last\n"));
}

Test(http, who_leaves_before_the_answer_harms_nobody) {
    const Host host;
    for (int i = 0; i < 5; ++i) put(connect_to_it(), "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_assert(ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

Test(http, one_request_for_each_connection) {
    const Host host;
    const std::string got =
        ask("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n"
            "GET /3 HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_assert_neq(got.find("/1 \n"), got.npos, "%s", got.c_str());
    cr_assert_eq(got.find("/2 \n"), got.npos, "%s", got.c_str());
}

Test(http, the_silent_and_the_slow_are_closed) {
    const Host host;
    bool ended = false;
    const UniqueFd silent = connect_to_it();
    get(silent, k_soon, &ended);
    cr_assert(ended);
    // A byte now and then keeps `idle` from being over, but not `whole`.
    const UniqueFd slow = connect_to_it();
    ended = false;
    for (int i = 0; i < 30 && !ended; ++i) {
        put(slow, "x");
        get(slow, 100, &ended);
    }
    cr_assert(ended);
}

Test(http, who_fills_all_places_has_them_for_a_while_only) {
    const Host host;
    std::vector<UniqueFd> crowd;
    for (int i = 0; i < 20; ++i) crowd.push_back(connect_to_it());
    // More than there are places wait unseen, each lot no longer than the one before it.
    cr_assert(ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").empty());
    crowd.clear();
    cr_assert(ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200 "));
}
