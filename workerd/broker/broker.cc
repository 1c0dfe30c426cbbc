// SPDX-License-Identifier: LGPL-2.1-or-later
// broker - admits clients: policy, session numbers, workers.
#include "workerd/broker/broker.h"

#include <sys/socket.h>

#include <algorithm>

#include "libshared/rpc/error.h"
#include "libshared/spawn/census.h"
#include "libshared/spawn/notify.h"
#include "libshared/spawn/user.h"
#include "policy/lock_rights.h"

namespace virtgate::workerd::broker {

namespace {

const Log k_log{"broker"};

Crew::Plan make_plan(const Settings& settings, const std::string& programs) {
    proto::config::WorkerConfig config;
    config.log_level = static_cast<std::uint32_t>(settings.log.of("worker"));
    config.sandbox = settings.sandbox;
    config.default_uri = settings.default_uri;
    config.upstream_timeout = static_cast<std::uint32_t>(settings.upstream_timeout.count());
    for (const UpstreamRow& row : settings.upstreams)
        config.upstreams.push_back(
            {.uri = row.uri, .socket = row.socket, .read_only_socket = row.read_only_socket});
    if (!settings.store.directories.empty())
        config.upstreams.push_back(
            {.uri = std::string(k_store_uri), .socket = std::string(k_store_socket), .read_only_socket = {}});
    for (const programs::Announced& one : settings.programs)
        config.upstreams.push_back({.uri = one.uri,
                                    .socket = std::string(k_program_socket) + one.name,
                                    .read_only_socket = {},
                                    .program = one.number});
    config.schemas = programs::schemas_of(settings.programs);
    return {
        .program = programs + "/virtgate-worker", .user = settings.worker_user, .config = std::move(config)};
}

AuditPost::Plan make_audit_plan(const Settings& settings, const std::string& programs) {
    return {.program = programs + "/virtgate-auditor",
            .user = settings.audit_user,
            .config = {.log_level = static_cast<std::uint32_t>(settings.log.of("auditor")),
                       .journal = settings.audit_journal,
                       .file = settings.audit_file,
                       .journal_socket = settings.journal_socket,
                       .sandbox = settings.sandbox,
                       .schemas = programs::schemas_of(settings.programs)}};
}

StorePost::Plan make_store_plan(const Settings& settings, const std::string& programs) {
    return {.program = programs + "/virtgate-store", .user = settings.store_user, .config = settings.store};
}

ProgramPosts::Plan make_programs_plan(const Settings& settings) {
    ProgramPosts::Plan plan{.programs = settings.programs, .users = settings.program_users, .config = {}};
    plan.config.log_level = static_cast<std::uint32_t>(settings.log.of("program"));
    plan.config.sandbox = settings.sandbox;
    return plan;
}

proto::audit::RulePlace place_of(const policy::Table::Rule* rule) {
    if (rule == nullptr) return {};
    return {.role = rule->role, .file = rule->file, .line = rule->line};
}

// What a client presented, in one line.
std::string describe(const proto::who::Who& who) {
    std::string text;
    const auto add = [&](std::string part) { text += (text.empty() ? "" : ", ") + std::move(part); };
    if (who.certificate) add(fmt::format("\"{}\"", escape(who.certificate->subject_text, 512)));
    if (who.login)
        add(fmt::format("\"{}\" by {}", escape(who.login->name, 512), escape(who.login->mechanism, 64)));
    if (who.local) add(fmt::format("uid {} pid {}", who.local->uid, who.local->pid));
    if (text.empty()) text = "a client that proved nothing";
    if (!who.source.empty()) text += fmt::format(" from {} port {}", escape(who.source, 64), who.source_port);
    return text + fmt::format(" ({})", escape(who.listener, 32));
}

// Cut where a character ends. What is no plain text nobody is shown: names are escaped where people read them.
std::string cut(std::string_view name) {
    constexpr std::size_t k_shown_max = 255;
    if (name.size() > k_shown_max) {
        std::size_t size = k_shown_max;
        while (size != 0 && (static_cast<unsigned char>(name[size]) & 0xc0) == 0x80) --size;
        name = name.substr(0, size);
    }
    return std::string(name);
}

// For administrators: the names of the client that they know from libvirt.
void show_client(const proto::who::Who& who, proto::who::SessionGrant& grant) {
    if (who.certificate) grant.certificate = cut(who.certificate->subject_text);
    if (who.login) grant.login = cut(who.login->name);
    if (!who.local) return;
    grant.user = cut(spawn::name_of_user(who.local->uid));
    grant.group = cut(spawn::name_of_group(who.local->gid));
}

void tell(std::string_view state) {
    if (const auto told = spawn::notify(state); !told)
        k_log.warning("the service manager cannot be told: {}", told.error().text);
}

}  // namespace

Broker::Broker(loop::Loop& loop, Settings settings, const std::string& programs, bool check_only)
    : loop_(loop),
      settings_(std::move(settings)),
      check_only_(check_only),
      policy_(loop, programs,
              {.directories = settings_.policy_directories,
               .sandbox = settings_.sandbox,
               .schemas = programs::schemas_of(settings_.programs)},
              loop::to<&Broker::on_compiled>(*this)),
      lock_door_(loop, settings_.lockd_socket),
      audit_(loop, make_audit_plan(settings_, programs), loop::to<&Broker::on_new_auditor>(*this),
             loop::to<&Broker::on_locker_gone>(*this), loop::to<&Broker::on_auditor_stopped>(*this)),
      locker_timer_(loop.timer(loop::to<&Broker::give_locker>(*this))),
      store_(loop, make_store_plan(settings_, programs), lock_door_,
             loop::to<&Broker::on_store_stopped>(*this)),
      programs_(loop, make_programs_plan(settings_), loop::to<&Broker::on_programs_stopped>(*this)),
      crew_(loop, make_plan(settings_, programs), *this, loop::to<&Broker::on_crew_stopped>(*this)),
      log_desk_(settings_, crew_, audit_, store_, programs_),
      administration_(crew_, policy_, log_desk_, settings_),
      inventory_(crew_, policy_, settings_) {
    spawn::Census::of_this_process().add_self("workerd");
    inventory_.add([this](const Inventory::Then& then) { audit_.read(then); });
    inventory_.add([this](const Inventory::Then& then) { then(read_locker()); });
}

void Broker::start() noexcept { policy_.compile(); }

void Broker::reload() noexcept {
    if (state_ == State::stopping) return;
    k_log.info("reads the policy again");
    if (const auto done = log_desk_.reread(); !done)
        k_log.error("what is logged stays as it was: {}", done.error().text);
    audit_.reopen();
    policy_.compile();
}

void Broker::on_compiled(bool good) noexcept {
    if (check_only_) {
        status_ = good ? 0 : spawn::k_exit_config;
        return stop();
    }
    administration_.note_policy(good);
    inventory_.note_policy(good);
    if (state_ == State::compiling) serve();
    if (state_ != State::serving) return;
    if (!good && policy_.generation() == 0)
        k_log.error(
            "there is no policy that could be used: everybody is refused until one is put right and read");
    audit_.tell(
        proto::audit::PolicyArgs{.generation = policy_.generation(),
                                 .identities = static_cast<std::uint32_t>(policy_.table().identities()),
                                 .accepted = good});
    if (!good) return;
    // Those who are here are judged by it from their next call on; who is not in it any more may do nothing.
    const auto rights_of = [this](const std::string& identity) { return policy_.rights_of(identity); };
    crew_.renew_rights(rights_of);
    lock_door_.renew(rights_of);
}

Done Broker::listen(std::vector<spawn::NamedFd> passed) {
    auto socket = spawn::take_listener(passed, "broker", SOCK_SEQPACKET, {AF_UNIX});
    if (!socket) return tl::unexpected(std::move(socket.error()));
    if (auto done = spawn::expect_nothing_left(passed); !done) return done;
    if (*socket) {
        listener_ = channel::LocalListener::adopt(std::move(*socket), {});
        return {};
    }
    auto listener = Entrance::listen(settings_.socket, settings_.socket_group);
    if (!listener) return tl::unexpected(std::move(listener.error()));
    listener_ = std::move(*listener);
    return {};
}

void Broker::serve() {
    entrance_ = std::make_unique<Entrance>(loop_, std::move(listener_), settings_.allowed_uids, *this);
    entrance_->open_to_administrators(administration_);
    entrance_->open_to_readers(inventory_);
    audit_.start();
    store_.start();
    state_ = State::serving;
    k_log.info("serves {}", settings_.socket);
    tell("READY=1");
}

void Broker::stop() noexcept {
    if (state_ == State::stopping) return;
    if (state_ == State::serving) tell("STOPPING=1");
    state_ = State::stopping;
    entrance_.reset();
    crew_.stop();
}

// The auditor goes last: it has to hear how the others ended.
void Broker::on_crew_stopped() noexcept { store_.stop(); }
void Broker::on_store_stopped() noexcept { programs_.stop(); }
void Broker::on_programs_stopped() noexcept { audit_.stop(); }
void Broker::on_auditor_stopped() noexcept { loop_.stop(); }
void Broker::on_new_auditor() noexcept {
    crew_.renew_auditor();
    has_locker_ = false;
    give_locker();
}

// There will be another one in a moment.
void Broker::on_locker_gone() noexcept {
    has_locker_ = false;
    locker_timer_->start(k_locker_pause_min);
}

void Broker::give_locker() noexcept {
    if (has_locker_ || state_ == State::stopping || settings_.lockd_socket.empty() || !audit_.has_places())
        return;
    LockDoor::Way way = lock_door_.open_for_auditor();
    if (!way.connection) {
        k_log.debug("the auditor does not hear the lock daemon: {}", way.why);
        locker_timer_->start(locker_pause_);
        locker_pause_ = std::min(2 * locker_pause_, k_locker_pause_max);
        return;
    }
    locker_timer_->stop();
    locker_pause_ = k_locker_pause_min;
    has_locker_ = true;
    audit_.add_locker(std::move(way.connection));
}

UniqueFd Broker::open_channel(std::uint64_t worker, const std::string& identity) noexcept {
    return audit_.add_worker(worker, identity);
}

void Broker::on_serving(std::uint64_t worker, const proto::policy::IdentityRights& rights,
                        const proto::work::ServeArgs& session, bool locks) noexcept {
    audit_.tell(proto::audit::ArrivalArgs{.session = session.session,
                                          .worker = worker,
                                          .client = session.client,
                                          .identity = rights.identity,
                                          .place = place_of(policy_.table().find(rights.identity)),
                                          .generation = rights.generation,
                                          .reason = {},
                                          .detail = {},
                                          .locks = locks});
}

void Broker::on_departed(std::vector<std::uint64_t> sessions) noexcept {
    programs_.on_departed(sessions);
    audit_.tell_departed(sessions);
}

Result<UniqueFd> Broker::connect_store(const std::string& identity, std::uint64_t session, bool read_only) {
    return store_.connect(identity, session, read_only);
}

Result<UniqueFd> Broker::connect_program(const std::string& name, const std::string& identity,
                                         std::uint64_t session, bool read_only) {
    return programs_.connect(name, identity, session, read_only);
}

void Broker::note_refused(const proto::who::Who& who, const policy::Table::Rule* rule,
                          std::string_view reason, std::string_view detail) {
    administration_.note_refused();
    inventory_.note_refused(reason);
    audit_.tell(
        proto::audit::ArrivalArgs{.session = 0,
                                  .worker = 0,
                                  .client = who,
                                  .identity = rule != nullptr ? rule->name : "",
                                  .place = place_of(rule),
                                  .generation = policy_.generation(),
                                  .reason = std::string(reason),
                                  .detail = std::string(detail.substr(0, proto::audit::k_detail_max))});
}

// The lock daemon, as far as this broker may ask it. No samples at all where there is none.
metrics::Samples Broker::read_locker() {
    using metrics::Family;
    metrics::Tally tally;
    if (settings_.lockd_socket.empty()) return {};
    const auto counted = lock_door_.count();
    tally.add(Family::exporter_source_up, {"lockd"}, counted ? 1 : 0);
    if (!counted) return tally.samples();
    constexpr std::string_view k_kinds[] = {"file", "directory", "etcd"};
    for (const auto& space : counted->spaces) {
        const std::string_view kind = k_kinds[static_cast<std::size_t>(space.kind)];
        tally.add(Family::locks, {kind}, space.held);
        tally.add(Family::lock_spaces, {kind, "usable"}, space.usable);
        tally.add(Family::lock_spaces, {kind, "lost"}, space.lost);
    }
    tally.add(Family::lock_fencings, {}, counted->fencings);
    return tally.samples();
}

// The limit that one more session of `identity` would break, in words; empty if there is none.
std::string Broker::find_limit(const policy::Table::Rule& rule) const {
    const std::string& identity = rule.name;
    if (rule.limits.connections && crew_.sessions_of(identity) >= *rule.limits.connections)
        return fmt::format("too many connections of {}: virtgate: limit (connections={})", identity,
                           *rule.limits.connections);
    if (crew_.sessions_of(identity) >= settings_.sessions_per_identity_max)
        return fmt::format("too many sessions of {}: the limit sessions_per_identity is {}", identity,
                           settings_.sessions_per_identity_max);
    if (const Milliseconds left = crew_.refused_for(identity); left != Milliseconds{0})
        return fmt::format(
            "no session for {}: its worker crashed while it served it, again and again; try in {} s",
            identity, std::chrono::ceil<std::chrono::seconds>(left).count());
    if (crew_.sessions() >= settings_.sessions_max)
        return fmt::format("too many sessions: the limit sessions is {}", settings_.sessions_max);
    return {};
}

tl::expected<Admission::Granted, Admission::Refused> Broker::serve_open_session(const proto::who::Who& who) {
    const auto match = policy_.table().match(who);
    if (match.rule == nullptr) {
        k_log.info("refused {}: no identity of the policy matches", describe(who));
        note_refused(who, nullptr, "no-identity", {});
        return tl::unexpected(
            Refused{rpc::k_code_access_denied, "access denied: no identity of the policy matches"});
    }
    if (match.other != nullptr) {
        k_log.warning("refused {}: both {} ({}:{}) and {} ({}:{}) match", describe(who), match.rule->name,
                      escape(match.rule->file), match.rule->line, match.other->name,
                      escape(match.other->file), match.other->line);
        note_refused(who, nullptr, "ambiguous",
                     fmt::format("{} and {}", match.rule->name, match.other->name));
        return tl::unexpected(Refused{rpc::k_code_access_denied,
                                      "access denied: more than one identity of the policy matches"});
    }
    if (std::string limit = find_limit(*match.rule); !limit.empty()) {
        k_log.warning("refused {}, who is {}: {}", describe(who), match.rule->name, limit);
        note_refused(who, match.rule, "limit", limit);
        return tl::unexpected(Refused{rpc::k_code_resource_busy, std::move(limit)});
    }
    const std::uint64_t number = ++last_session_;
    const auto rights = policy_.rights_of(match.rule->name);
    // What it locks is to be recorded from the first call on.
    if (!has_locker_ && policy::may_lock(rights)) give_locker();
    LockDoor::Opened locks = lock_door_.open(rights, number, who.listener);
    auto session = crew_.serve(rights, {.session = number, .client = who}, std::move(locks.connection));
    if (!session) {
        if (unserved_.next())
            k_log.error("no session for {} as {}, {} times so far: {}", describe(who), match.rule->name,
                        unserved_.count(), session.error().text);
        note_refused(who, match.rule, "system", session.error().text);
        return tl::unexpected(
            Refused{rpc::k_code_internal,
                    "no worker can take the session: the server has no process for it; try again"});
    }
    administration_.note_opened();
    inventory_.note_opened(match.rule->name);
    k_log.info("session {}: {} is {} ({}:{})", number, describe(who), match.rule->name,
               escape(match.rule->file), match.rule->line);
    proto::who::SessionGrant grant;
    grant.session = number;
    grant.identity = match.rule->name;
    grant.locks = locks.way;
    show_client(who, grant);
    return Granted{.grant = std::move(grant), .session = std::move(*session)};
}

proto::broker::RevokeRet Broker::serve_revoke(const proto::broker::RevokeArgs& args) {
    return {.sessions = static_cast<std::uint32_t>(crew_.end_revoked(args.certificates))};
}

}  // namespace virtgate::workerd::broker
