// SPDX-License-Identifier: LGPL-2.1-or-later
// cluster - asks etcd: whichever of its servers answers.
//
//     ask ─▶ the server that answered last ──not reached──▶ the next one ─▶ … each once, or until the time is over
//
// A question that may have been done (Outcome::unknown) is asked again only if it is Repeat::harmless.
//
// Trust:  see words.h and http.h. Servers are believed: who can change what is in etcd, can give locks to
//         anybody.
// Limits: `timeout` for each request; k_asked_max questions at a time.
// Owns:   requests that are under way, and what authentication gave.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "lockd/etcd/http.h"
#include "lockd/etcd/words.h"

namespace virtgate::lockd::etcd {

using Ticket = std::uint64_t;

enum class Outcome : unsigned char {
    answered,  // `reply` says what
    refused,   // for certain nothing was done; `refusal` says why
    not_sent,  // no server was reached, for certain
    unknown,   // it may have been done, or may be done yet
};

struct Answer {
    Outcome outcome = Outcome::not_sent;
    Reply reply{};
    Refusal refusal{};
    std::string reason{};  // in words, unless it is answered
};

class ClusterUser {
public:
    virtual ~ClusterUser() = default;
    virtual void on_answer(Ticket ticket, Answer answer) noexcept = 0;
};

class StreamUser {
public:
    virtual ~StreamUser() = default;
    // A line of it, without its end.
    virtual void on_line(std::string_view line) noexcept = 0;
    // It is over. The stream may be destroyed from within this.
    virtual void on_stream_end(std::string_view reason) noexcept = 0;
};

struct Endpoint {
    std::string url{};                     // without a slash at the end
    std::vector<std::string> addresses{};  // see HttpRequest
};

class Cluster {
public:
    static constexpr std::size_t k_asked_max = 4096;

    struct Setup {
        std::vector<Endpoint> endpoints{};  // not empty
        HttpTls tls{};
        Milliseconds timeout{};
        std::string user{}, password{};  // empty: no authentication
    };
    Cluster(loop::Loop& loop, Setup setup);
    ~Cluster();
    Cluster(const Cluster&) = delete;
    Cluster& operator=(const Cluster&) = delete;

    enum class Repeat : unsigned char { harmless, never };
    struct Question {
        const char* path = "";  // "/v3/kv/txn"
        std::string body{};
        Repeat repeat = Repeat::never;
        Milliseconds timeout{};  // for all of it; no single request takes longer than the setup's
    };
    // on_answer() follows, never from within this. `user` outlives it, or says forget().
    Ticket ask(Question question, ClusterUser& user);
    // `user` is about to end: answers to it are thrown away.
    void forget(const ClusterUser& user) noexcept;

    // A stream of lines from the server that answered last. Destroying it ends it.
    class Stream {
    public:
        virtual ~Stream() = default;
    };
    [[nodiscard]] std::unique_ptr<Stream> stream(const char* path, std::string body, Milliseconds timeout,
                                                 StreamUser& user);

    // Changes with each server that turned out not to answer.
    [[nodiscard]] std::uint64_t changes() const noexcept { return changes_; }
    [[nodiscard]] const std::string& server() const noexcept { return setup_.endpoints[current_].url; }

private:
    class Asked;
    class Listening;
    [[nodiscard]] HttpRequest make_request(std::size_t endpoint, const char* path,
                                           const std::string& body) const;
    void go_on_after(std::size_t failed) noexcept;
    void end(Asked& asked, Answer answer) noexcept;

    loop::Loop& loop_;
    const Setup setup_;
    Http http_;
    std::size_t current_ = 0;
    std::uint64_t changes_ = 0;
    std::string token_;
    Ticket next_ = 1;
    std::map<Ticket, std::unique_ptr<Asked>> asked_;
};

}  // namespace virtgate::lockd::etcd
