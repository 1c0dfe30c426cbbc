// SPDX-License-Identifier: LGPL-2.1-or-later
// job - one thing that is to be done about one resource, until it is certain what became of it.
#include "lockd/etcd/job.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "libshared/base/bytes.h"
#include "libshared/base/log.h"

namespace virtgate::lockd::etcd {

namespace {

constexpr const char* k_transaction = "/v3/kv/txn";
constexpr Milliseconds k_job_retry{1'000};
constexpr std::size_t k_attempt_bytes = 16;

std::string make_attempt() {
    std::array<std::byte, k_attempt_bytes> bytes{};
    require(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
            "no random numbers");
    return to_hex(bytes);
}

Operation read_all(Range range) { return {.kind = Operation::Kind::range, .range = std::move(range)}; }

Operation put(std::string key, std::string value, LeaseId lease) {
    return {.kind = Operation::Kind::put,
            .range = {.key = std::move(key)},
            .value = std::move(value),
            .lease = lease};
}

Operation erase(std::string key) {
    return {.kind = Operation::Kind::remove, .range = {.key = std::move(key)}};
}

Compare is_absent(Range range) { return {.range = std::move(range)}; }

}  // namespace

Transaction make_settlement(const Keys& keys, LeaseId lease) {
    return {.compares = {}, .success = {put(keys.settle(lease), "", lease)}, .failure = {}};
}

Job::Job(Place& place, Task task, std::uint32_t serial, JobUser& user)
    : place_(place),
      task_(std::move(task)),
      serial_(serial),
      user_(user),
      lease_(task_.kind == Task::Kind::let_go ? task_.lease : place.lease.id()),
      attempt_(make_attempt()),
      deadline_(place.loop.timer(loop::to<&Job::on_deadline>(*this))),
      retry_(place.loop.timer(loop::to<&Job::again>(*this))) {
    deadline_->start(place.patience);
}

Job::~Job() { place_.cluster.forget(*this); }

void Job::start() noexcept {
    step_ = Step::asking;
    ask();
}

// What was held by another lease ended with it, and so did all that was asked with it.
void Job::again() noexcept {
    const bool is_of_lease = task_.kind == Task::Kind::take || task_.kind == Task::Kind::let_go;
    if (is_of_lease && lease_ != place_.lease.id()) {
        reason_ = "the lease in etcd has ended";
        return end();
    }
    switch (step_) {
        case Step::waiting: return;
        case Step::asking: return ask();
        case Step::settling: return ask_settle();
        case Step::undoing: return ask_remove_key(found_);
    }
}

void Job::ask() noexcept {
    switch (task_.kind) {
        case Task::Kind::take: return ask_take();
        case Task::Kind::let_go:
            if (lease_ != place_.lease.id()) return retry_->start(Milliseconds{0});
            return ask_remove_key(task_.token);
        case Task::Kind::create:
        case Task::Kind::remove: return ask_made();
    }
}

void Job::ask_take() noexcept {
    const Range holders = place_.keys.holders(task_.name);
    const Range settle{.key = place_.keys.settle(lease_)};
    const Range made{.key = place_.keys.made(task_.name)};
    demanded_ = place_.settled;
    // Who shares it may be there beside others who do.
    const Range others = task_.shared ? Range{.key = place_.keys.held(task_.name, false, lease_)} : holders;
    Transaction transaction{
        .compares = {{.range = settle, .of = Compare::Of::mod_revision, .number = demanded_},
                     is_absent(others)},
        .success = {put(place_.keys.held(task_.name, task_.shared, lease_),
                        write_holder({.host = place_.host, .attempt = attempt_, .since = std::time(nullptr)}),
                        lease_)},
        .failure = {read_all(holders), read_all(settle), read_all(made)}};
    if (task_.shared)
        transaction.compares.push_back(is_absent({.key = place_.keys.held(task_.name, true, lease_)}));
    if (!task_.create) transaction.compares.push_back({.range = made, .is = Compare::Is::greater});
    send(transaction, Cluster::Repeat::never);
}

void Job::ask_settle() noexcept {
    Transaction transaction = make_settlement(place_.keys, lease_);
    transaction.success.push_back(read_all(place_.keys.holders(task_.name)));
    send(transaction, Cluster::Repeat::harmless);
}

void Job::ask_remove_key(Revision token) noexcept {
    const std::string key = place_.keys.held(task_.name, task_.shared, lease_);
    send({.compares = {{.range = {.key = key}, .number = token}}, .success = {erase(key)}, .failure = {}},
         Cluster::Repeat::harmless);
}

// An answer that was lost is asked for again. If it comes to be done much later, a resource is there that was
// removed, or the other way round; nobody's lock is touched.
void Job::ask_made() noexcept {
    const std::string key = place_.keys.made(task_.name);
    if (task_.kind == Task::Kind::create)
        return send({.compares = {is_absent({.key = key})}, .success = {put(key, "", 0)}, .failure = {}},
                    Cluster::Repeat::harmless);
    const Range holders = place_.keys.holders(task_.name);
    send({.compares = {is_absent(holders)}, .success = {erase(key)}, .failure = {read_all(holders)}},
         Cluster::Repeat::harmless);
}

void Job::send(const Transaction& transaction, Cluster::Repeat repeat) noexcept {
    ticket_ = place_.cluster.ask({.path = k_transaction,
                                  .body = write_transaction(transaction),
                                  .repeat = repeat,
                                  .timeout = place_.patience},
                                 *this);
}

void Job::on_answer(Ticket ticket, Answer answer) noexcept {
    if (ticket_ != ticket) return;
    ticket_.reset();
    if (answer.outcome != Outcome::answered) return on_unanswered(answer);
    if (step_ == Step::undoing) return end();
    if (step_ == Step::settling) return on_settle_answered(answer.reply);
    switch (task_.kind) {
        case Task::Kind::take: return on_take_answered(answer.reply);
        case Task::Kind::let_go: return end();
        case Task::Kind::create:
        case Task::Kind::remove: return on_made_answered(answer.reply);
    }
}

const KeyValue* Job::find_mine(const std::vector<KeyValue>& keys) const noexcept {
    const auto mine = std::find_if(keys.begin(), keys.end(), [&](const KeyValue& key) {
        return read_holder(key.value).attempt == attempt_;
    });
    return mine == keys.end() ? nullptr : &*mine;
}

void Job::on_take_answered(const Reply& reply) noexcept {
    if (reply.succeeded) return on_taken(reply.revision);
    constexpr std::size_t k_holders = 0, k_settle = 1, k_made = 2, k_count = 3;
    if (reply.results.size() != k_count) {
        reason_ = "etcd's answer is not understood";
        return end();
    }
    // A request that was sent twice, by who carries it, fails the second time.
    const auto& holders = reply.results[k_holders];
    if (const KeyValue* const mine = find_mine(holders)) return on_taken(mine->create_revision);
    const std::string exclusive = place_.keys.held(task_.name, false, lease_);
    for (const KeyValue& holder : holders)
        if (!task_.shared || holder.key == exclusive || holder.lease == lease_) {
            say(Verdict::busy, 0, describe(read_holder(holder.value)));
            return end();
        }
    const auto& settle = reply.results[k_settle];
    const Revision settled = settle.empty() ? 0 : settle.front().mod_revision;
    if (settled != demanded_ && settled != 0) {
        // Somebody's transaction was settled meanwhile. Ours has failed for certain, and is asked again.
        if (lease_ == place_.lease.id()) place_.settled = std::max(place_.settled, settled);
        return is_said_ ? end() : retry_->start(Milliseconds{0});
    }
    reason_ = reply.results[k_made].empty() ? "there is no such resource" : "the lease in etcd has ended";
    end();
}

void Job::on_settle_answered(const Reply& reply) noexcept {
    if (lease_ == place_.lease.id()) place_.settled = std::max(place_.settled, reply.revision);
    if (reply.results.size() == 2)
        if (const KeyValue* const mine = find_mine(reply.results[1])) return on_taken(mine->create_revision);
    // It was not done, and never will be.
    if (is_said_) return end();
    step_ = Step::asking;
    retry_->start(Milliseconds{0});
}

void Job::on_taken(Revision token) noexcept {
    if (is_said_ || lease_ != place_.lease.id() || !place_.lease.is_good()) {
        // Too late: nobody was, or may be, told that it is held.
        reason_ = "the lease in etcd may end soon";
        found_ = token;
        step_ = Step::undoing;
        say(Verdict::failed, 0, reason_);
        return ask_remove_key(token);
    }
    say(Verdict::done, token, {});
    end();
}

void Job::on_made_answered(const Reply& reply) noexcept {
    if (task_.kind == Task::Kind::remove && !reply.succeeded && !reply.results.empty() &&
        !reply.results[0].empty())
        say(Verdict::busy, 0, describe(read_holder(reply.results[0].front().value)));
    else
        say(Verdict::done, 0, {});
    end();
}

void Job::on_unanswered(const Answer& answer) noexcept {
    reason_ = answer.reason;
    const bool is_take = task_.kind == Task::Kind::take;
    if (answer.outcome == Outcome::refused && answer.refusal.code == k_not_found && is_take) {
        if (lease_ == place_.lease.id()) place_.lease.on_missing();
        return end();
    }
    if (task_.kind == Task::Kind::let_go) say(Verdict::done, 0, reason_);
    if (step_ == Step::asking && is_take) {
        if (answer.outcome != Outcome::unknown) return end();
        Log{}.info("it is not known whether {} is held: {}", escape(task_.name), reason_);
        step_ = Step::settling;
        return ask_settle();
    }
    const bool is_made = task_.kind == Task::Kind::create || task_.kind == Task::Kind::remove;
    if (is_made && (is_said_ || answer.outcome == Outcome::refused)) return end();
    retry_->start(k_job_retry);
}

// Who waits is told; what is under way goes on until it is certain.
void Job::on_deadline() noexcept {
    const std::string why = reason_.empty() ? "etcd does not answer" : reason_;
    say(task_.kind == Task::Kind::let_go ? Verdict::done : Verdict::failed, 0, why);
    if (step_ == Step::waiting) end();
}

void Job::say(Verdict verdict, Revision token, std::string reason) noexcept {
    if (std::exchange(is_said_, true)) return;
    deadline_->stop();
    user_.on_verdict(*this, verdict, token, reason);
}

void Job::end() noexcept {
    say(task_.kind == Task::Kind::let_go ? Verdict::done : Verdict::failed, 0, reason_);
    user_.on_over(*this);
}

}  // namespace virtgate::lockd::etcd
