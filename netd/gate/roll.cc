// SPDX-License-Identifier: LGPL-2.1-or-later
// roll - the connections of a gate, as an administrator sees them.
#include "netd/gate/roll.h"

#include <ctime>

#include "libshared/base/bytes.h"

namespace virtgate::netd::gate {

namespace control = proto::control;

namespace {

constexpr std::size_t k_identity_max = 255;
// Of a row, without its names.
constexpr std::size_t k_row = 160;
constexpr auto k_relaxed = std::memory_order_relaxed;

// There is one writer: no need for the processor to lock anything.
void add_to(std::atomic<std::uint64_t>& count, std::uint64_t more) noexcept {
    count.store(count.load(k_relaxed) + more, k_relaxed);
}

}  // namespace

struct Roll::Record {
    Roll* roll = nullptr;
    std::uint64_t id = 0;
    std::int64_t since = 0;
    Facts facts;
    // With the mutex of the roll:
    control::Stage stage{};
    std::uint64_t session = 0;
    std::string identity, certificate, login, user, group;

    std::atomic<std::uint64_t> bytes_in{0}, bytes_out{0}, calls{0};
    std::atomic<std::uint32_t> open_calls{0}, open_streams{0};
};

Roll::Entry::Entry() noexcept = default;
Roll::Entry::Entry(std::unique_ptr<Record> record) noexcept : record_(std::move(record)) {}
Roll::Entry::Entry(Entry&& other) noexcept = default;
Roll::Entry::~Entry() { leave(); }

Roll::Entry& Roll::Entry::operator=(Entry&& other) noexcept {
    if (this != &other) {
        leave();
        record_ = std::move(other.record_);
    }
    return *this;
}

void Roll::Entry::leave() noexcept {
    if (!record_) return;
    record_->roll->remove(*record_);
    record_.reset();
}

std::uint64_t Roll::Entry::id() const noexcept { return record_ ? record_->id : 0; }

void Roll::Entry::enter_login() noexcept {
    if (!record_) return;
    const std::lock_guard lock(record_->roll->mutex_);
    record_->stage = control::Stage::stage_login;
}

void Roll::Entry::enter_session(const proto::who::SessionGrant& grant) {
    if (!record_) return;
    const std::lock_guard lock(record_->roll->mutex_);
    record_->stage = control::Stage::stage_session;
    record_->session = grant.session;
    record_->identity = grant.identity.substr(0, k_identity_max);
    record_->certificate = grant.certificate;
    record_->login = grant.login;
    record_->user = grant.user;
    record_->group = grant.group;
    ++record_->roll->ended_.sessions;
}

void Roll::Entry::add_in(std::size_t bytes) noexcept {
    if (record_) add_to(record_->bytes_in, bytes);
}

void Roll::Entry::add_out(std::size_t bytes) noexcept {
    if (record_) add_to(record_->bytes_out, bytes);
}

void Roll::Entry::add_call() noexcept {
    if (record_) add_to(record_->calls, 1);
}

void Roll::Entry::set_open(std::size_t calls, std::size_t streams) noexcept {
    if (!record_) return;
    record_->open_calls.store(static_cast<std::uint32_t>(calls), k_relaxed);
    record_->open_streams.store(static_cast<std::uint32_t>(streams), k_relaxed);
}

Roll::Entry Roll::add(Facts facts) {
    auto record = std::make_unique<Record>();
    record->roll = this;
    record->since = std::time(nullptr);
    record->facts = std::move(facts);
    const std::lock_guard lock(mutex_);
    do {
        last_ = last_ < k_id_max ? last_ + 1 : 1;
    } while (records_.contains(last_));
    record->id = last_;
    records_.emplace(record->id, record.get());
    ++ended_.accepted;
    return Entry(std::move(record));
}

void Roll::note_crowded() noexcept {
    const std::lock_guard lock(mutex_);
    ++ended_.accepted;
    ++ended_.crowded;
}

void Roll::remove(const Record& record) noexcept {
    const std::lock_guard lock(mutex_);
    records_.erase(record.id);
    ended_.bytes_in += record.bytes_in.load(k_relaxed);
    ended_.bytes_out += record.bytes_out.load(k_relaxed);
    ended_.calls += record.calls.load(k_relaxed);
}

control::ConnectionsRet Roll::list(std::uint64_t after) const {
    control::ConnectionsRet ret{.connections = {}, .next = 0};
    std::size_t size = 0;
    const std::lock_guard lock(mutex_);
    for (auto at = records_.upper_bound(after); at != records_.end(); ++at) {
        const Record& record = *at->second;
        if (ret.connections.size() >= control::k_connections_max || size > k_page) {
            ret.next = ret.connections.back().id;
            break;
        }
        size += k_row + record.facts.source.size() + record.identity.size() + record.certificate.size() +
                record.login.size() + record.user.size() + record.group.size();
        ret.connections.push_back({.id = record.id,
                                   .transport = record.facts.transport,
                                   .stage = record.stage,
                                   .since = record.since,
                                   .source = record.facts.source,
                                   .local = record.facts.local,
                                   .read_only = record.facts.read_only,
                                   .session = record.session,
                                   .identity = record.identity,
                                   .certificate = record.certificate,
                                   .login = record.login,
                                   .user = record.user,
                                   .group = record.group,
                                   .bytes_in = record.bytes_in.load(k_relaxed),
                                   .bytes_out = record.bytes_out.load(k_relaxed),
                                   .calls = record.calls.load(k_relaxed),
                                   .open_calls = record.open_calls.load(k_relaxed),
                                   .open_streams = record.open_streams.load(k_relaxed),
                                   .gate = 0});
    }
    return ret;
}

bool Roll::has(std::uint64_t id) const {
    const std::lock_guard lock(mutex_);
    return records_.contains(id);
}

control::Counters Roll::count() const {
    const std::lock_guard lock(mutex_);
    control::Counters sum = ended_;
    sum.connections = static_cast<std::uint32_t>(records_.size());
    for (const auto& [id, record] : records_) {
        if (record->stage != control::Stage::stage_session) ++sum.arrivals;
        sum.bytes_in += record->bytes_in.load(k_relaxed);
        sum.bytes_out += record->bytes_out.load(k_relaxed);
        sum.calls += record->calls.load(k_relaxed);
        sum.open_calls += record->open_calls.load(k_relaxed);
    }
    sum.busy = sum.open_calls != 0 ? 1 : 0;
    sum.gates = 1;
    return sum;
}

}  // namespace virtgate::netd::gate
