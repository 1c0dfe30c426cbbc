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

    std::atomic<std::uint64_t> bytes_in{0}, bytes_out{0}, calls{0}, events{0};
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
    ++record_->roll->counts_of(record_->facts.transport).sessions;
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

void Roll::Entry::add_event() noexcept {
    if (record_) add_to(record_->events, 1);
}

void Roll::Entry::note_refused(Refusal why) noexcept {
    if (!record_) return;
    const std::lock_guard lock(record_->roll->mutex_);
    ++record_->roll->counts_of(record_->facts.transport).refused.at(static_cast<std::size_t>(why));
}

void Roll::Entry::note_handshake(bool good) noexcept {
    if (!record_) return;
    const std::lock_guard lock(record_->roll->mutex_);
    ++record_->roll->handshakes_.at(good ? 1 : 0);
}

void Roll::Entry::note_late(Late what) noexcept {
    if (!record_) return;
    const std::lock_guard lock(record_->roll->mutex_);
    ++record_->roll->late_.at(static_cast<std::size_t>(what));
}

void Roll::Entry::note_breach(bool of_client) noexcept {
    if (!record_) return;
    const std::lock_guard lock(record_->roll->mutex_);
    ++record_->roll->breaches_.at(of_client ? 1 : 0);
}

void Roll::Entry::note_refused_call() noexcept {
    if (!record_) return;
    const std::lock_guard lock(record_->roll->mutex_);
    ++record_->roll->refused_calls_;
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
    ++counts_of(record->facts.transport).accepted;
    return Entry(std::move(record));
}

void Roll::note_crowded(control::Transport transport) noexcept {
    const std::lock_guard lock(mutex_);
    Counts& counts = counts_of(transport);
    ++counts.accepted;
    ++counts.refused[static_cast<std::size_t>(Refusal::source_limit)];
}

void Roll::remove(const Record& record) noexcept {
    const std::lock_guard lock(mutex_);
    records_.erase(record.id);
    Counts& counts = counts_of(record.facts.transport);
    counts.bytes_in += record.bytes_in.load(k_relaxed);
    counts.bytes_out += record.bytes_out.load(k_relaxed);
    counts.calls += record.calls.load(k_relaxed);
    counts.events += record.events.load(k_relaxed);
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
    control::Counters sum;
    for (const Counts& counts : ended_) {
        sum.accepted += counts.accepted;
        sum.crowded += counts.refused[static_cast<std::size_t>(Refusal::source_limit)];
        sum.sessions += counts.sessions;
        sum.bytes_in += counts.bytes_in;
        sum.bytes_out += counts.bytes_out;
        sum.calls += counts.calls;
    }
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

metrics::Samples Roll::read() const {
    using metrics::Family;
    constexpr std::string_view k_listeners[] = {"unix", "tcp", "tls"};
    constexpr std::string_view k_stages[] = {"arriving", "login", "session"};
    constexpr std::string_view k_reasons[] = {"source-limit", "handshake", "denied", "deadline",
                                              "left",         "closed",    "system"};
    constexpr std::string_view k_deadlines[] = {"handshake", "authentication", "login", "frame", "keepalive"};
    static_assert(std::size(k_reasons) == k_refusals && std::size(k_deadlines) == k_late);
    metrics::Tally tally;
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < k_transports; ++i) {
        const Counts& counts = ended_[i];
        const std::string_view listener = k_listeners[i];
        tally.add(Family::connections_accepted, {listener}, counts.accepted);
        for (std::size_t why = 0; why < k_refusals; ++why)
            tally.add(Family::connections_refused, {listener, k_reasons[why]}, counts.refused[why]);
        for (const std::string_view stage : k_stages) tally.add(Family::connections, {listener, stage}, 0);
        tally.add(Family::sessions_begun, {listener}, counts.sessions);
        tally.add(Family::received_bytes, {listener}, counts.bytes_in);
        tally.add(Family::sent_bytes, {listener}, counts.bytes_out);
        tally.add(Family::client_calls, {listener}, counts.calls);
        tally.add(Family::client_events, {}, counts.events);
    }
    for (std::size_t i = 0; i < k_late; ++i) tally.add(Family::deadlines_missed, {k_deadlines[i]}, late_[i]);
    tally.add(Family::tls_handshakes, {"failed"}, handshakes_[0]);
    tally.add(Family::tls_handshakes, {"ok"}, handshakes_[1]);
    tally.add(Family::protocol_errors, {"worker"}, breaches_[0]);
    tally.add(Family::protocol_errors, {"client"}, breaches_[1]);
    tally.add(Family::client_calls_refused, {}, refused_calls_);
    std::uint64_t calls = 0, streams = 0;
    for (const auto& [id, record] : records_) {
        const std::string_view listener = k_listeners[static_cast<std::size_t>(record->facts.transport)];
        tally.add(Family::connections, {listener, k_stages[static_cast<std::size_t>(record->stage)]}, 1);
        tally.add(Family::received_bytes, {listener}, record->bytes_in.load(k_relaxed));
        tally.add(Family::sent_bytes, {listener}, record->bytes_out.load(k_relaxed));
        tally.add(Family::client_calls, {listener}, record->calls.load(k_relaxed));
        tally.add(Family::client_events, {}, record->events.load(k_relaxed));
        calls += record->open_calls.load(k_relaxed);
        streams += record->open_streams.load(k_relaxed);
    }
    tally.add(Family::open_calls, {}, calls);
    tally.add(Family::open_streams, {}, streams);
    return tally.samples();
}

}  // namespace virtgate::netd::gate
