// SPDX-License-Identifier: LGPL-2.1-or-later
// crew - the workers: one process for each identity that has sessions.
#include "workerd/broker/crew.h"

#include <sys/socket.h>

#include <algorithm>
#include <ctime>
#include <set>
#include <tuple>

#include "libshared/channel/connect.h"
#include "libshared/channel/packet.h"
#include "libshared/channel/room.h"
#include "policy/rights.h"
#include "proto/codec.h"
#include "proto/config.h"
#include "proto/supervise.h"
#include "workerd/broker/program_posts.h"
#include "workerd/broker/store_post.h"

namespace virtgate::workerd::broker {

using proto::who::CertificateId;
using proto::work::Procedure;

namespace {

rpc::Header header_of(Procedure procedure, std::uint32_t serial) noexcept {
    return rpc::make_message(proto::work::k_program, proto::work::k_version, procedure, serial);
}

rpc::Header call_of(Procedure procedure, std::uint32_t serial) noexcept {
    return rpc::make_call(proto::work::k_program, proto::work::k_version, procedure, serial);
}

// Of a name that can be longer than people want to read.
constexpr std::size_t k_shown_max = 512;

struct Earlier {
    bool operator()(const CertificateId& a, const CertificateId& b) const noexcept {
        return std::tie(a.issuer, a.serial) < std::tie(b.issuer, b.serial);
    }
};
using Revoked = std::set<CertificateId, Earlier>;

// What administrators are told of a session.
proto::sessions::ListedSession describe(const proto::work::ServeArgs& session, const std::string& identity,
                                        pid_t worker) {
    const proto::who::Who& who = session.client;
    proto::sessions::ListedSession row;
    row.session = session.session;
    row.identity = identity;
    row.worker = static_cast<std::uint32_t>(worker);
    row.since = std::time(nullptr);
    row.listener = who.listener;
    row.source = who.source;
    row.source_port = who.source_port;
    if (who.certificate) row.certificate = who.certificate->subject_text.substr(0, k_shown_max);
    if (who.login) {
        row.login = who.login->name;
        row.mechanism = who.login->mechanism;
    }
    row.has_peer = who.local.has_value();
    if (who.local) {
        row.uid = who.local->uid;
        row.gid = who.local->gid;
        row.pid = who.local->pid;
    }
    row.read_only = who.read_only;
    return row;
}

constexpr std::string_view k_revoked_reason = "the certificate of this session has been revoked";

}  // namespace

// One worker: its process, its channel and what it serves.
class Crew::Hand final : public spawn::WardOwner {
public:
    Hand(Crew& crew, std::string identity)
        : crew_(crew),
          identity_(std::move(identity)),
          log_(fmt::format("worker {}", identity_)),
          idle_(crew.loop_.timer(loop::to<&Hand::on_idle>(*this))),
          end_(crew.loop_.timer(loop::to<&Hand::on_end_late>(*this))),
          asker_(crew.loop_, metrics::source::worker),
          ward_(crew.loop_, *this, fmt::format("worker-{}", identity_), spawn::Ward::Restart::never) {}

    Result<UniqueFd> serve(const proto::policy::IdentityRights& rights, const proto::work::ServeArgs& session,
                           const UniqueFd& locks) {
        if (auto running = make_running(); !running) return tl::unexpected(std::move(running.error()));
        if (auto told = tell_rights(rights); !told) return tl::unexpected(std::move(told.error()));
        auto payload = proto::encode(session, rpc::Control::k_payload_max);
        if (!payload) return system_fault(0, "the client's names do not fit a message");
        auto pair = make_channel_pair();
        if (!pair) return tl::unexpected(std::move(pair.error()));
        const int end = pair->second.get();
        for (const int socket : {pair->first.get(), end}) channel::make_room(socket);
        // Before the worker has this end: what comes first is ours for certain.
        constexpr std::byte k_here_it_is{0};
        if (const int way = locks.get(); locks && channel::send_packet(end, ByteView(&k_here_it_is, 1),
                                                                       {&way, 1}) != channel::Outcome::done)
            return system_fault(0, "a session does not take its way to the lock daemon");
        crew_.book_.on_serving(number_, rights, session, static_cast<bool>(locks));
        if (auto sent =
                control_->send(header_of(Procedure::serve, control_->next_serial()), *payload, {&end, 1});
            !sent) {
            crew_.book_.on_departed({session.session});
            return tl::unexpected(std::move(sent.error()));
        }
        SessionNote note;
        note.listed = describe(session, identity_, ward_.pid());
        if (session.client.certificate) note.chain = session.client.certificate->chain;
        note.read_only = session.client.read_only;
        sessions_.emplace(session.session, std::move(note));
        idle_->stop();
        return std::move(pair->first);
    }

    void renew_rights(const proto::policy::IdentityRights& rights) {
        if (control_ == nullptr) return;
        if (const auto told = tell_rights(rights); !told) fail(told.error().text);
    }

    void tune(Level level) noexcept {
        if (control_ == nullptr) return;
        const auto payload =
            proto::encode(proto::supervise::TuneArgs{.log_level = static_cast<std::uint32_t>(level)});
        require(payload.has_value(), "a level that does not encode");
        const auto header = rpc::make_message(proto::supervise::k_program, proto::supervise::k_version,
                                              proto::supervise::Procedure::tune, control_->next_serial());
        if (const auto sent = control_->send(header, *payload); !sent)
            log_.warning("it does not hear what it is to log: {}", sent.error().text);
    }

    // Without a channel the worker counts what it could not tell.
    void renew_auditor() noexcept {
        if (control_ == nullptr) return;
        const UniqueFd channel = crew_.book_.open_channel(number_, identity_);
        if (!channel) return;
        const int end = channel.get();
        if (const auto sent =
                control_->send(header_of(Procedure::audit, control_->next_serial()), {}, {&end, 1});
            !sent)
            fail(sent.error().text);
    }

    std::size_t end_revoked(const Revoked& revoked) {
        std::vector<std::uint64_t> numbers;
        for (auto& [number, note] : sessions_) {
            const auto found = std::find_if(note.chain.begin(), note.chain.end(),
                                            [&](const CertificateId& id) { return revoked.contains(id); });
            if (note.told || found == note.chain.end()) continue;
            log_.info("session {} ends: the certificate {} {} is revoked", number, escape(found->serial),
                      found == note.chain.begin() ? "of its client" : "that its client's comes from");
            note.told = crew_.loop_.clock().now();
            numbers.push_back(number);
        }
        if (!numbers.empty()) tell_end(numbers, k_revoked_reason);
        return numbers.size();
    }

    // Those of `numbers`, or all if there is none, that are here.
    void finish(std::span<const std::uint64_t> numbers, std::string_view reason,
                std::vector<std::uint64_t>& finished) {
        std::vector<std::uint64_t> mine;
        for (auto& [number, note] : sessions_) {
            if (note.told || finished.size() >= proto::sessions::k_ended_max) continue;
            if (!numbers.empty() && std::find(numbers.begin(), numbers.end(), number) == numbers.end())
                continue;
            note.told = crew_.loop_.clock().now();
            note.listed.ending = true;
            mine.push_back(number);
            finished.push_back(number);
        }
        if (!mine.empty()) tell_end(mine, reason);
    }

    void list(std::uint64_t after, std::vector<const proto::sessions::ListedSession*>& rows) const {
        for (auto at = sessions_.upper_bound(after); at != sessions_.end(); ++at)
            rows.push_back(&at->second.listed);
    }

    [[nodiscard]] proto::sessions::ListedWorker list() const {
        const bool runs = ward_.is_running();
        const auto left = std::chrono::ceil<std::chrono::seconds>(crew_.refused_for(identity_));
        return {.identity = identity_,
                .pid = runs ? static_cast<std::uint32_t>(ward_.pid()) : 0,
                .since = runs ? since_ : 0,
                .sessions = static_cast<std::uint32_t>(sessions_.size()),
                .refused = static_cast<std::uint32_t>(left.count())};
    }

    void stop() noexcept { ward_.stop(k_stop_patience); }
    [[nodiscard]] bool is_gone() const noexcept { return ward_.is_idle(); }
    [[nodiscard]] const std::string& identity() const noexcept { return identity_; }
    [[nodiscard]] std::size_t sessions() const noexcept { return sessions_.size(); }
    // A worker that died keeps its place while it has to pause.
    [[nodiscard]] bool may_be_forgotten() const noexcept {
        return is_gone() && crew_.loop_.clock().now() >= not_before_;
    }

    Result<spawn::Launch> plan(spawn::Ward&) override {
        proto::config::WorkerConfig config = crew_.plan_.config;
        config.identity = identity_;
        auto bytes = proto::encode(config);
        if (!bytes) return system_fault(0, "the worker's configuration does not encode");
        spawn::Launch launch;
        launch.path = crew_.plan_.program;
        launch.config = std::move(*bytes);
        launch.control = true;
        launch.user = crew_.plan_.user;
        return launch;
    }

    void on_started(spawn::Ward&, UniqueFd control) noexcept override {
        started_ = crew_.loop_.clock().now();
        since_ = std::time(nullptr);
        control_ = std::make_unique<rpc::Control>(crew_.loop_, std::move(control), 0,
                                                  loop::to<&Hand::on_message>(*this),
                                                  loop::to<&Hand::on_closed>(*this));
        number_ = ++crew_.last_worker_;
        broke_rules_ = false;
        renew_auditor();
        idle_->start(k_idle);
    }

    // What the worker has counted; if it does not answer, what it said last.
    void read(const std::function<void(const metrics::Samples&)>& then) {
        if (control_ == nullptr) return then(counted_);
        asker_.ask(*control_, [this, then](const metrics::Asker::Answer& answer) {
            // Its identity, the programs that there are, and three results.
            constexpr std::size_t k_series_max = 64;
            const bool is_good = answer && answer->size() <= k_series_max &&
                                 std::all_of(answer->begin(), answer->end(), [&](const auto& sample) {
                                     return sample.labels.empty() || sample.labels.front() == identity_;
                                 });
            if (is_good) counted_ = *answer;
            then(counted_);
        });
    }

    void on_ended(spawn::Ward&, const spawn::Exit& exit) noexcept override {
        asker_.give_up();
        crew_.ended_.add_all(metrics::counters_of(std::exchange(counted_, {})));
        idle_->stop();
        end_->stop();
        control_.reset();
        generation_.reset();
        std::vector<std::uint64_t> lost;
        for (const auto& [number, note] : sessions_) lost.push_back(number);
        sessions_.clear();
        const std::size_t count = lost.size();
        if (count != 0) crew_.book_.on_departed(std::move(lost));
        if (!leaving_) {
            log_.error("{}; {} sessions are lost", describe(exit), count);
            note_death();
            if (count != 0 && (exit.is_crash() || broke_rules_)) note_crash();
        }
        if (!starting_) crew_.on_gone(*this);
    }

    void leave() noexcept {
        leaving_ = true;
        stop();
    }

private:
    Done make_running() {
        if (ward_.is_running() && control_ != nullptr && control_->is_open()) return {};
        if (!ward_.is_idle() || crew_.loop_.clock().now() < not_before_)
            return system_fault(
                0, "the worker of this identity has failed and is about to be started again; try later");
        // A start that fails ends in on_ended() before it returns.
        starting_ = true;
        ward_.start();
        starting_ = false;
        if (!ward_.is_running()) return system_fault(0, "the worker of this identity cannot be started");
        return {};
    }

    Done tell_rights(const proto::policy::IdentityRights& rights) {
        if (generation_ == rights.generation) return {};
        const auto bytes = proto::encode(rights);
        if (!bytes) return system_fault(0, "the rights of the identity do not encode");
        auto file = make_sealed_memfd("rights", bytes->data(), bytes->size());
        if (!file) return tl::unexpected(std::move(file.error()));
        const int end = file->get();
        if (auto sent = control_->send(header_of(Procedure::rights, control_->next_serial()), {}, {&end, 1});
            !sent)
            return sent;
        generation_ = rights.generation;
        only_reads_ = policy::only_reads(rights);
        return {};
    }

    void note_death() noexcept {
        const Instant now = crew_.loop_.clock().now();
        if (now - started_ >= spawn::Ward::k_good_run) pause_ = Milliseconds{0};
        not_before_ = now + pause_;
        pause_ = std::clamp(2 * pause_, k_pause_min, k_pause_max);
    }

    void note_crash() {
        ++crew_.crashed_;
        const Milliseconds refusal = crew_.crashes_.add(identity_);
        if (refusal != Milliseconds{0})
            log_.error("it crashed too often: {} gets no session for {} s", identity_,
                       refusal.count() / 1000);
    }

    void on_message(rpc::Control::Message& message) noexcept {
        const rpc::Header& header = message.header;
        if (asker_.take(message)) return;
        if (header == header_of(Procedure::ready, header.serial) && message.payload.empty())
            return log_.debug("serves");
        if (header == call_of(Procedure::connect, header.serial)) return serve_connect(message);
        const auto ended = proto::decode<proto::work::EndedArgs>(message.payload);
        if (header != header_of(Procedure::ended, header.serial) || !ended)
            return fail("it sent a message that is not known here");
        for (const std::uint64_t number : ended->sessions) {
            if (sessions_.erase(number) == 0) return fail("it ended a session that it does not have");
            log_.info("session {} ended", number);
        }
        crew_.book_.on_departed(ended->sessions);
        if (sessions_.empty() && !leaving_) idle_->start(k_idle);
    }

    // A worker reaches what the configuration names, and may ask again while it has sessions. Whoever only reads gets
    // what libvirt has for readers, where there is such a socket.
    void serve_connect(const rpc::Control::Message& message) {
        const auto args = proto::decode<proto::work::ConnectArgs>(message.payload);
        if (!args || message.fds.count() != 0) return fail("it sent a question that does not decode");
        if (args->session != 0 && !sessions_.contains(args->session))
            return fail("it asked for a connection for a session that is not its own");
        const auto any_row = [&](auto&& fits) {
            const auto& upstreams = crew_.plan_.config.upstreams;
            return std::any_of(upstreams.begin(), upstreams.end(), fits);
        };
        const std::string& path = args->socket;
        const auto session = sessions_.find(args->session);
        const bool is_for_readers = any_row(
            [&](const auto& row) { return !row.read_only_socket.empty() && row.read_only_socket == path; });
        const bool is_for_all = any_row([&](const auto& row) { return row.socket == path; });
        if (!is_for_readers && !is_for_all)
            return fail("it asked for a connection to a socket that is not configured");
        const bool may = is_for_readers || !only_reads_ || any_row([&](const auto& row) {
                             return row.socket == path && row.read_only_socket.empty();
                         });
        // It may have asked before it learnt that it only reads: no reason to end it.
        // The store knows itself what changes something.
        auto made = path == k_store_socket ? crew_.book_.connect_store(identity_, args->session, only_reads_)
                    : path.starts_with(k_program_socket)
                        ? session == sessions_.end()
                              ? Result<UniqueFd>(system_fault(EACCES, "it is for a session only"))
                              : crew_.book_.connect_program(path.substr(k_program_socket.size()), identity_,
                                                            args->session, session->second.read_only)
                    : may ? channel::connect_to(path, SOCK_STREAM)
                          : Result<UniqueFd>(system_fault(EACCES, "this identity only reads"));
        if (!may && path != k_store_socket)
            log_.warning("it only reads, and does not get a connection to {}", path);
        const auto payload =
            proto::encode(proto::work::ConnectRet{.error = made ? 0 : std::max(made.error().number, 1)});
        require(payload.has_value(), "the number of an error does not encode");
        const int end = made ? made->get() : -1;
        const auto sent = control_->send(rpc::reply_to(message.header), *payload,
                                         made ? std::span<const int>(&end, 1) : std::span<const int>{});
        if (!sent) fail(sent.error().text);
    }

    void tell_end(std::span<const std::uint64_t> numbers, std::string_view reason) {
        while (!numbers.empty() && control_ != nullptr) {
            const auto some =
                numbers.first(std::min<std::size_t>(numbers.size(), proto::work::k_numbers_max));
            numbers = numbers.subspan(some.size());
            const auto payload = proto::encode(
                proto::work::EndArgs{.sessions = {some.begin(), some.end()}, .reason = std::string(reason)});
            require(payload.has_value(), "the numbers of sessions do not encode");
            const auto sent = control_->send(header_of(Procedure::end, control_->next_serial()), *payload);
            // Rather all sessions of the identity than one that has to be over.
            if (!sent) return fail("it cannot be told to end sessions: " + sent.error().text);
        }
        if (!end_->running()) end_->start(k_end_patience);
    }

    void on_end_late() noexcept {
        const Instant now = crew_.loop_.clock().now();
        std::optional<Instant> first;  // of those that still have time
        for (const auto& [number, note] : sessions_) {
            if (!note.told) continue;
            if (*note.told + k_end_patience <= now)
                return fail("it does not end the sessions that it has to");
            if (!first || *note.told < *first) first = note.told;
        }
        if (first) end_->start(std::chrono::ceil<Milliseconds>(*first + k_end_patience - now));
    }

    void fail(std::string_view why) noexcept {
        log_.error("{}; it is stopped", why);
        broke_rules_ = true;
        on_closed(why);
    }

    // A worker that cannot be spoken to serves nobody new; its process is not left over.
    void on_closed(std::string_view) noexcept {
        control_.reset();
        asker_.give_up();
        stop();
    }

    void on_idle() noexcept {
        if (sessions_.empty()) crew_.on_idle(*this);
    }

    Crew& crew_;
    const std::string identity_;
    std::uint64_t number_ = 0;  // of the process that runs
    const Log log_;
    std::unique_ptr<rpc::Control> control_;
    struct SessionNote {
        proto::sessions::ListedSession listed{};
        std::vector<CertificateId> chain{};
        std::optional<Instant> told{};  // when the worker was told to end it
        bool read_only = false;         // its listener lets nobody change anything
    };
    std::map<std::uint64_t, SessionNote> sessions_;
    std::optional<std::uint64_t> generation_{};  // of the rights that the worker was told
    bool only_reads_ = true;                     // by these
    bool leaving_ = false;
    bool starting_ = false;
    bool broke_rules_ = false;  // the process that runs, or the last one
    std::int64_t since_ = 0;    // of the process, in seconds since 1970
    Instant started_{};
    Instant not_before_{};
    Milliseconds pause_{0};
    std::unique_ptr<loop::Timer> idle_;
    std::unique_ptr<loop::Timer> end_;
    metrics::Asker asker_;
    metrics::Samples counted_{};
    spawn::Ward ward_;
};

Crew::Crew(loop::Loop& loop, Plan plan, Book& book, loop::Target<> on_stopped)
    : loop_(loop),
      plan_(std::move(plan)),
      book_(book),
      on_stopped_(on_stopped),
      crashes_(loop.clock()),
      sweeper_(loop.timer(loop::to<&Crew::sweep>(*this))) {}

Crew::~Crew() = default;

std::size_t Crew::sessions() const noexcept {
    std::size_t sum = 0;
    for (const auto& [identity, hand] : hands_) sum += hand->sessions();
    return sum;
}

std::size_t Crew::sessions_of(const std::string& identity) const noexcept {
    const auto hand = hands_.find(identity);
    return hand == hands_.end() ? 0 : hand->second->sessions();
}

std::size_t Crew::end_revoked(std::span<const CertificateId> certificates) {
    const Revoked revoked(certificates.begin(), certificates.end());
    std::size_t sum = 0;
    for (auto& [identity, hand] : hands_) sum += hand->end_revoked(revoked);
    return sum;
}

std::vector<std::uint64_t> Crew::finish(const proto::sessions::FinishArgs& which) {
    const std::string reason =
        "an administrator ended this session" + (which.reason.empty() ? "" : ": " + which.reason);
    std::vector<std::uint64_t> finished;
    for (auto& [identity, hand] : hands_)
        if (which.identity.empty() || which.identity == identity)
            hand->finish(which.sessions, reason, finished);
    return finished;
}

std::vector<const proto::sessions::ListedSession*> Crew::list(std::uint64_t after) const {
    std::vector<const proto::sessions::ListedSession*> rows;
    for (const auto& [identity, hand] : hands_) hand->list(after, rows);
    std::sort(rows.begin(), rows.end(), [](const auto* a, const auto* b) { return a->session < b->session; });
    return rows;
}

std::vector<proto::sessions::ListedWorker> Crew::list_workers(const std::string& after) const {
    std::vector<proto::sessions::ListedWorker> rows;
    for (auto at = hands_.upper_bound(after); at != hands_.end(); ++at) rows.push_back(at->second->list());
    return rows;
}

std::size_t Crew::read(const std::function<void(const metrics::Samples&)>& then) {
    const std::size_t count = hands_.size() + leaving_.size() + 1;
    for (auto& [identity, hand] : hands_) hand->read(then);
    for (auto& hand : leaving_) hand->read(then);
    then(ended_.samples());
    return count;
}

void Crew::renew_rights(const RightsOf& rights_of) {
    for (auto& [identity, hand] : hands_) hand->renew_rights(rights_of(identity));
    for (auto& hand : leaving_) hand->renew_rights(rights_of(hand->identity()));
}

void Crew::set_log_level(Level level) noexcept {
    plan_.config.log_level = static_cast<std::uint32_t>(level);
    for (auto& [identity, hand] : hands_) hand->tune(level);
    for (auto& hand : leaving_) hand->tune(level);
}

void Crew::renew_auditor() noexcept {
    for (auto& [identity, hand] : hands_) hand->renew_auditor();
    for (auto& hand : leaving_) hand->renew_auditor();
}

Result<UniqueFd> Crew::serve(const proto::policy::IdentityRights& rights,
                             const proto::work::ServeArgs& session, UniqueFd locks) {
    if (stopping_) return system_fault(0, "the broker is stopping");
    const std::string& identity = rights.identity;
    auto hand = hands_.find(identity);
    if (hand == hands_.end()) {
        std::erase_if(hands_, [](const auto& each) { return each.second->may_be_forgotten(); });
        if (hands_.size() >= k_workers_max) return system_fault(0, "too many identities have sessions");
        hand = hands_.emplace(identity, std::make_unique<Hand>(*this, identity)).first;
    }
    return hand->second->serve(rights, session, locks);
}

// The process of `hand` has ended. A hand that left is freed from the loop, because this is called from
// within it.
void Crew::on_gone(Hand& hand) noexcept {
    const auto leaving =
        std::find_if(leaving_.begin(), leaving_.end(), [&](const auto& each) { return each.get() == &hand; });
    if (leaving != leaving_.end()) {
        gone_.push_back(std::move(*leaving));
        leaving_.erase(leaving);
    }
    sweeper_->start(Milliseconds{0});
}

// `hand` has had nothing to do for a while. A client that comes while it ends gets a new one.
void Crew::on_idle(Hand& hand) noexcept {
    const auto found = hands_.find(hand.identity());
    require(found != hands_.end() && found->second.get() == &hand, "an idle worker that is not in the crew");
    leaving_.push_back(std::move(found->second));
    hands_.erase(found);
    hand.leave();
}

void Crew::sweep() noexcept {
    gone_.clear();
    if (stopping_ && leaving_.empty()) on_stopped_();
}

void Crew::stop() noexcept {
    stopping_ = true;
    for (auto& [identity, hand] : hands_)
        if (!hand->is_gone()) leaving_.push_back(std::move(hand));
    hands_.clear();
    for (const auto& hand : leaving_) hand->leave();
    sweeper_->start(Milliseconds{0});
}

}  // namespace virtgate::workerd::broker
