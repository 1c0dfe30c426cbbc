// SPDX-License-Identifier: LGPL-2.1-or-later
// http - POST requests in the loop, many at a time.
//
// Trust:  of a server with https, the certificate and its name are verified. What it answers is for the
//         caller to judge. Redirections are not followed, no proxy is used, no file is read: certificates are
//         given as text.
// Limits: an answer has at most `body_max` bytes, and comes within the time of its request.
// Owns:   the connections, which it keeps for the next request.
// Source: libcurl's multi interface; the only users of libcurl are http.cc and this header's implementation.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libshared/loop/loop.h"

namespace virtgate::lockd::etcd {

struct HttpTls {
    std::string authorities{};         // PEM
    std::string certificate{}, key{};  // PEM; empty: none
};

struct HttpRequest {
    std::string url{};
    std::string body{};
    std::string authorization{};           // the header's value; empty: none
    std::vector<std::string> addresses{};  // "host:port:address" of the url; empty: the url has an address
    Milliseconds timeout{};
    std::size_t body_max = 0;
};

// How a request ended.
struct HttpEnd {
    // It cannot have reached the server. Otherwise, and without a status, nobody knows.
    bool not_sent = false;
    long status = 0;      // of HTTP; 0: there was no whole answer
    std::string body{};   // what on_body() did not take
    std::string error{};  // in words, if there is no status
};

class HttpUser {
public:
    virtual ~HttpUser() = default;
    // More of the body of a successful answer is there: `body` is all that was not taken yet, and may be
    // changed.
    virtual void on_body(std::string& body) noexcept { static_cast<void>(body); }
    // It is over. The exchange may be destroyed from within this.
    virtual void on_end(HttpEnd end) noexcept = 0;
};

class Http {
public:
    Http(loop::Loop& loop, HttpTls tls);
    ~Http();
    Http(const Http&) = delete;
    Http& operator=(const Http&) = delete;

    // A request that is under way. Destroying it gives it up, in silence; what was sent stays sent.
    class Exchange {
    public:
        virtual ~Exchange() = default;
    };
    // Nothing is called back before the next turn of the loop. `user` outlives the exchange.
    [[nodiscard]] std::unique_ptr<Exchange> post(HttpRequest request, HttpUser& user);

private:
    class Engine;
    std::unique_ptr<Engine> engine_;
};

}  // namespace virtgate::lockd::etcd
