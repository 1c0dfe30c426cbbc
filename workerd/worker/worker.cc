// SPDX-License-Identifier: LGPL-2.1-or-later
// worker - the sessions of one identity, and the channel to the broker.
#include "workerd/worker/worker.h"

#include <algorithm>
#include <span>

#include "libshared/spawn/self.h"
#include "proto/codec.h"
#include "proto/supervise.h"
#include "proto/work.h"

namespace virtgate::workerd::worker {

namespace {

using proto::work::Procedure;

// The compiler makes no table larger than that, and this is a part of it.
constexpr std::size_t k_rights_max = std::size_t{64} << 20;

rpc::Header header_of(Procedure procedure, std::uint32_t serial) noexcept {
    return rpc::make_message(proto::work::k_program, proto::work::k_version, procedure, serial);
}

}  // namespace

Worker::Worker(loop::Loop& loop, Settings settings, UniqueFd control)
    : loop_(loop),
      settings_(std::move(settings)),
      budget_(loop.clock()),
      connector_(control_),
      names_(loop, scratch_, connector_, settings_.upstream_timeout),
      home_{loop,    settings_.uris, scratch_, connector_, settings_.upstream_timeout,
            budget_, witness_,       names_,   counts_},
      control_(loop, std::move(control), 1, loop::to<&Worker::on_message>(*this),
               loop::to<&Worker::on_closed>(*this)),
      tell_(loop.timer(loop::to<&Worker::say_ended>(*this))),
      idle_look_(loop.timer(loop::to<&Worker::on_idle_look>(*this))) {
    if (const auto sent = control_.send(header_of(Procedure::ready, control_.next_serial()), {}); !sent)
        log_.error("the broker cannot be told that the worker serves: {}", sent.error().text);
}

void Worker::on_message(rpc::Control::Message& message) noexcept {
    const std::uint32_t serial = message.header.serial;
    std::string_view flaw = "a message that is not known here";
    if (message.header == header_of(Procedure::serve, serial))
        flaw = serve(message);
    else if (message.header == header_of(Procedure::end, serial))
        flaw = end(message);
    else if (message.header == header_of(Procedure::rights, serial))
        flaw = take_rights(message);
    else if (message.header == header_of(Procedure::audit, serial))
        flaw = take_auditor(message);
    else if (message.header == rpc::make_message(proto::supervise::k_program, proto::supervise::k_version,
                                                 proto::supervise::Procedure::tune, serial))
        flaw = tune(message);
    else if (BrokerConnector::is_reply(message.header))
        flaw = connector_.take_reply(message);
    else if (const auto after = metrics::Pages::read_question(message)) {
        flaw = {};
        if (*after == 0) pages_.set(counts_.read(settings_.identity, witness_.dropped()));
        if (const auto sent = pages_.answer(control_, message.header, *after); !sent)
            log_.warning("{}", sent.error().text);
    }
    if (!flaw.empty()) {
        // Broker and worker are of one build: this is a bug, and sessions without a broker are not wanted.
        log_.error("the broker sent {}", flaw);
        loop_.stop();
    }
}

// Returns what is wrong with the message; empty if nothing is.
std::string_view Worker::serve(rpc::Control::Message& message) {
    if (message.fds.count() != 1) return "a session without its descriptor";
    auto args = proto::decode<proto::work::ServeArgs>(message.payload);
    if (!args) return "a session that does not decode";
    UniqueFd gate = message.fds.take(0);
    const std::uint64_t number = args->session;
    if (sessions_.size() >= settings_.sessions_max || sessions_.contains(number)) {
        log_.warning("session {} refused: the worker has {} sessions", number, sessions_.size());
        note_ended(number);
        return {};
    }
    if (!set_nonblocking(gate.get(), true)) return "a session with a closed descriptor";
    Session::Client client{.identity = settings_.identity,
                           .is_local = args->client.local.has_value(),
                           .read_only = args->client.read_only,
                           .listener = args->client.listener,
                           .upstream = describe_identity(args->client, settings_.ours),
                           .rights = rights_for(args->client.listener),
                           .is_shadowed = is_shadowed(args->client.local.has_value())};
    sessions_.emplace(number, std::make_unique<Session>(home_, number, std::move(client), std::move(gate),
                                                        loop::to<&Worker::on_session_ended>(*this)));
    return {};
}

// The same for rights. Each call is judged by what is in force when it comes.
std::string_view Worker::take_rights(rpc::Control::Message& message) {
    if (message.fds.count() != 1) return "rights without their file";
    auto bytes = spawn::read_file(message.fds.take(0).get(), k_rights_max);
    if (!bytes) return "rights that cannot be read";
    auto rights = proto::decode<proto::policy::IdentityRights>(*bytes);
    if (!rights) return "rights that do not decode";
    // No process ever serves two identities, whatever happens to the broker.
    if (rights->identity != settings_.identity) return "rights of another identity";
    rights_ = std::move(*rights);
    in_force_.clear();
    budget_.set_limits(rights_.limits);
    on_idle_look();
    log_.info("policy {} is in force, with {} grants", rights_.generation, rights_.grants.size());
    std::vector<std::uint64_t> numbers, streaming;
    for (const auto& [number, session] : sessions_) {
        if (!session->set_rights(rights_for(session->listener()), is_shadowed(session->is_local())))
            streaming.push_back(number);
        numbers.push_back(number);
    }
    for (const std::uint64_t number : streaming)
        if (const auto session = sessions_.find(number); session != sessions_.end())
            session->second->dismiss("the policy does not allow a stream any more that is open");
    if (!rights_.grants.empty() || rights_.shadowed != proto::policy::Probation::probation_nobody) return {};
    for (const std::uint64_t number : numbers)
        if (const auto session = sessions_.find(number); session != sessions_.end())
            session->second->dismiss("the policy does not allow this identity anything any more");
    return {};
}

// The same for the way to the auditor.
std::string_view Worker::take_auditor(rpc::Control::Message& message) {
    if (message.fds.count() != 1) return "an auditor without its channel";
    witness_.set_channel(message.fds.take(0));
    return {};
}

// Ends the sessions that have been silent for too long. It looks a few times in that span.
void Worker::on_idle_look() noexcept {
    const Milliseconds limit = budget_.idle_timeout();
    if (limit == Milliseconds{0}) return idle_look_->stop();
    constexpr int k_looks = 4;
    idle_look_->start(std::clamp(limit / k_looks, Milliseconds{100}, Milliseconds{60'000}));
    const Instant now = loop_.clock().now();
    std::vector<std::uint64_t> silent;
    for (const auto& [number, session] : sessions_)
        if (now - session->active() >= limit) silent.push_back(number);
    for (const std::uint64_t number : silent)
        if (const auto session = sessions_.find(number); session != sessions_.end())
            session->second->dismiss(
                fmt::format("it was idle for longer than its limit (idle_timeout={})", limit.count() / 1000));
}

bool Worker::is_shadowed(bool is_local) const noexcept {
    using proto::policy::Probation;
    return rights_.shadowed == Probation::probation_all ||
           (rights_.shadowed == Probation::probation_local && is_local);
}

std::shared_ptr<const policy::Rights> Worker::rights_for(const std::string& listener) {
    auto& [name, rights] = *in_force_.try_emplace(listener).first;
    if (!rights)
        rights = std::make_shared<const policy::Rights>(rights_, policy::Circumstances{.listener = name});
    return rights;
}

// The same for sessions that have to end.
std::string_view Worker::end(const rpc::Control::Message& message) {
    const auto args = proto::decode<proto::work::EndArgs>(message.payload);
    if (!args) return "an end that does not decode";
    for (const std::uint64_t number : args->sessions)
        if (const auto session = sessions_.find(number); session != sessions_.end())
            session->second->dismiss(args->reason);
    return {};
}

std::string_view Worker::tune(const rpc::Control::Message& message) {
    const auto change = proto::decode<proto::supervise::TuneArgs>(message.payload);
    if (!change) return "a change that does not decode";
    set_log_level(static_cast<Level>(change->log_level));
    return {};
}

void Worker::on_session_ended(std::uint64_t number) noexcept {
    sessions_.erase(number);
    note_ended(number);
}

void Worker::note_ended(std::uint64_t number) {
    ended_.push_back(number);
    if (!tell_->running()) tell_->start(Milliseconds{0});
}

// When a gate dies all its sessions end at once: a message for each would be more than a channel holds.
void Worker::say_ended() noexcept {
    std::span<const std::uint64_t> rest = ended_;
    while (!rest.empty()) {
        const auto some = rest.first(std::min<std::size_t>(rest.size(), proto::work::k_numbers_max));
        rest = rest.subspan(some.size());
        const auto payload = proto::encode(proto::work::EndedArgs{.sessions = {some.begin(), some.end()}});
        require(payload.has_value(), "the numbers of sessions do not encode");
        if (const auto sent = control_.send(header_of(Procedure::ended, control_.next_serial()), *payload);
            !sent) {
            log_.error("the broker does not listen: {}", sent.error().text);
            return loop_.stop();
        }
    }
    ended_.clear();
}

void Worker::on_closed(std::string_view reason) noexcept {
    log_.debug("the channel to the broker closed: {}", reason);
    loop_.stop();
}

}  // namespace virtgate::workerd::worker
