// SPDX-License-Identifier: LGPL-2.1-or-later
// cluster - asks etcd: whichever of its servers answers.
#include "lockd/etcd/cluster.h"

#include <algorithm>

#include "libshared/base/bytes.h"
#include "libshared/base/log.h"

namespace virtgate::lockd::etcd {

namespace {

constexpr const char* k_authenticate = "/v3/auth/authenticate";
constexpr std::size_t k_line_max = k_reply_max;

std::string describe(const HttpEnd& end, const std::string& url) {
    return fmt::format("{}: {}", url, escape(end.error.empty() ? "no answer" : end.error));
}

}  // namespace

// One question, over as many requests as it takes.
class Cluster::Asked final : public HttpUser {
public:
    Asked(Cluster& cluster, Ticket ticket, Question question, ClusterUser& user)
        : cluster_(cluster),
          ticket_(ticket),
          question_(std::move(question)),
          user_(&user),
          until_(cluster.loop_.clock().now() + question_.timeout),
          soon_(cluster.loop_.timer(loop::to<&Asked::ask>(*this))) {
        // From the loop, so that nobody is answered from within ask().
        if (cluster_.asked_.size() < k_asked_max)
            ask();
        else
            overflow_ = cluster_.loop_.timer(loop::to<&Asked::on_overflow>(*this)),
            overflow_->start(Milliseconds{0});
    }

    [[nodiscard]] Ticket ticket() const noexcept { return ticket_; }
    [[nodiscard]] ClusterUser* user() const noexcept { return user_; }
    void forget() noexcept { user_ = nullptr; }

private:
    [[nodiscard]] Milliseconds left() const noexcept {
        return std::chrono::duration_cast<Milliseconds>(until_ - cluster_.loop_.clock().now());
    }

    void on_overflow() noexcept { give_up(Outcome::not_sent, "too many questions at a time"); }

    void ask() noexcept {
        endpoint_ = cluster_.current_;
        ++tries_;
        authenticating_ = !cluster_.setup_.user.empty() && cluster_.token_.empty();
        HttpRequest request =
            authenticating_
                ? cluster_.make_request(endpoint_, k_authenticate,
                                        write_authenticate(cluster_.setup_.user, cluster_.setup_.password))
                : cluster_.make_request(endpoint_, question_.path, question_.body);
        request.timeout = std::max(std::min(cluster_.setup_.timeout, left()), Milliseconds{1});
        exchange_ = cluster_.http_.post(std::move(request), *this);
    }

    void on_end(HttpEnd end) noexcept override {
        if (end.status == 200) return on_reply(end);
        if (end.status != 0) return on_refusal(read_refusal(end.body, end.status));
        reason_ = describe(end, cluster_.setup_.endpoints[endpoint_].url);
        cluster_.go_on_after(endpoint_);
        try_again(authenticating_ || end.not_sent ? Outcome::not_sent : Outcome::unknown);
    }

    void on_reply(const HttpEnd& end) noexcept {
        auto reply = read_reply(end.body);
        if (!reply) {
            reason_ = fmt::format("{}: {}", cluster_.setup_.endpoints[endpoint_].url, reply.error().text);
            cluster_.go_on_after(endpoint_);
            return try_again(authenticating_ ? Outcome::not_sent : Outcome::unknown);
        }
        if (authenticating_) {
            cluster_.token_ = reply->token;
            --tries_;
            if (!cluster_.token_.empty()) return ask();
            return give_up(Outcome::not_sent, "etcd's authentication gives no token");
        }
        cluster_.end(*this, {.outcome = Outcome::answered, .reply = std::move(*reply)});
    }

    void on_refusal(Refusal refusal) noexcept {
        reason_ = fmt::format("{}: {}", cluster_.setup_.endpoints[endpoint_].url, escape(refusal.text));
        // A token lives for some minutes; etcd asks for a new one in this way.
        if (refusal.code == k_unauthenticated && !cluster_.token_.empty() && !is_second_login_) {
            is_second_login_ = true;
            cluster_.token_.clear();
            return ask();
        }
        if (authenticating_) return give_up(Outcome::not_sent, reason_);
        if (is_definite(refusal))
            return cluster_.end(
                *this,
                {.outcome = Outcome::refused, .refusal = std::move(refusal), .reason = std::move(reason_)});
        // One that is cut off from the others, or in the middle of an election.
        cluster_.go_on_after(endpoint_);
        try_again(Outcome::unknown);
    }

    void try_again(Outcome outcome) noexcept {
        was_sent_ = was_sent_ || outcome == Outcome::unknown;
        const bool may = outcome == Outcome::not_sent || question_.repeat == Repeat::harmless;
        if (may && left() > Milliseconds{0} && tries_ < cluster_.setup_.endpoints.size())
            return soon_->start(Milliseconds{0});
        give_up(was_sent_ ? Outcome::unknown : Outcome::not_sent, std::move(reason_));
    }

    void give_up(Outcome outcome, std::string reason) noexcept {
        cluster_.end(*this, {.outcome = outcome, .reason = std::move(reason)});
    }

    Cluster& cluster_;
    const Ticket ticket_;
    const Question question_;
    ClusterUser* user_;
    const Instant until_;
    std::unique_ptr<loop::Timer> soon_, overflow_;
    std::unique_ptr<Http::Exchange> exchange_;
    std::size_t endpoint_ = 0, tries_ = 0;
    bool authenticating_ = false, is_second_login_ = false, was_sent_ = false;
    std::string reason_;
};

class Cluster::Listening final : public Cluster::Stream, private HttpUser {
public:
    Listening(Cluster& cluster, StreamUser& user)
        : cluster_(cluster), user_(user), endpoint_(cluster.current_) {}

    void start(HttpRequest request) { exchange_ = cluster_.http_.post(std::move(request), *this); }

private:
    void on_body(std::string& body) noexcept override {
        rest_ += body;
        body.clear();
        // The user may end this from within on_line().
        const std::weak_ptr<int> alive = life_;
        for (std::size_t end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n')) {
            const std::string line = rest_.substr(0, end);
            rest_.erase(0, end + 1);
            user_.on_line(line);
            if (alive.expired()) return;
        }
    }

    void on_end(HttpEnd end) noexcept override {
        if (end.status == 200) return user_.on_stream_end("the server has ended it");
        const std::string reason = end.status != 0 ? read_refusal(end.body, end.status).text
                                                   : describe(end, cluster_.setup_.endpoints[endpoint_].url);
        user_.on_stream_end(reason);
    }

    Cluster& cluster_;
    StreamUser& user_;
    const std::size_t endpoint_;
    std::string rest_;
    std::shared_ptr<int> life_ = std::make_shared<int>(0);
    std::unique_ptr<Http::Exchange> exchange_;
};

Cluster::Cluster(loop::Loop& loop, Setup setup)
    : loop_(loop), setup_(std::move(setup)), http_(loop, setup_.tls) {
    require(!setup_.endpoints.empty(), "a cluster without a server");
}

Cluster::~Cluster() = default;

HttpRequest Cluster::make_request(std::size_t endpoint, const char* path, const std::string& body) const {
    return {.url = setup_.endpoints[endpoint].url + path,
            .body = body,
            .authorization = token_,
            .addresses = setup_.endpoints[endpoint].addresses,
            .timeout = setup_.timeout,
            .body_max = k_reply_max};
}

Ticket Cluster::ask(Question question, ClusterUser& user) {
    const Ticket ticket = next_++;
    asked_[ticket] = std::make_unique<Asked>(*this, ticket, std::move(question), user);
    return ticket;
}

void Cluster::forget(const ClusterUser& user) noexcept {
    for (auto& [ticket, asked] : asked_)
        if (asked->user() == &user) asked->forget();
}

std::unique_ptr<Cluster::Stream> Cluster::stream(const char* path, std::string body, Milliseconds timeout,
                                                 StreamUser& user) {
    auto listening = std::make_unique<Listening>(*this, user);
    HttpRequest request = make_request(current_, path, body);
    request.timeout = timeout;
    request.body_max = k_line_max;
    listening->start(std::move(request));
    return listening;
}

// Many requests may fail at the same server at a time: one of them changes to the next.
void Cluster::go_on_after(std::size_t failed) noexcept {
    if (current_ != failed || setup_.endpoints.size() == 1) return;
    current_ = (current_ + 1) % setup_.endpoints.size();
    ++changes_;
    Log{}.info("{} does not answer: going on with {}", setup_.endpoints[failed].url, server());
}

void Cluster::end(Asked& asked, Answer answer) noexcept {
    const auto over = asked_.extract(asked.ticket());
    if (ClusterUser* const user = asked.user()) user->on_answer(asked.ticket(), std::move(answer));
}

}  // namespace virtgate::lockd::etcd
