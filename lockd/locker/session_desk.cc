// SPDX-License-Identifier: LGPL-2.1-or-later
// session_desk - sessions of the front door: connections that the broker began, with the rights of an identity.
#include "lockd/locker/session_desk.h"

#include <unistd.h>

#include <algorithm>

#include "libshared/base/boot_clock.h"
#include "libshared/base/bytes.h"
#include "proto/programs.h"

namespace virtgate::lockd::locker {

namespace kept = proto::kept;
namespace session = proto::lock_session;

namespace {

std::string to_string(const std::vector<std::byte>& bytes) { return std::string(as_text(bytes)); }

// What the policy calls a resource: the way to it in one text. Empty if there is more than one such text for it, or none: a
// rule about one of them would say nothing about the other.
std::string object_name(const std::string& path, const std::string* name) {
    std::string object = path;
    if (name != nullptr) object += (path.empty() ? "" : "/") + *name;
    const std::string closed = object + "/";
    const bool is_plain = object.starts_with('/') && closed.find("//") == closed.npos &&
                          closed.find("/./") == closed.npos && closed.find("/../") == closed.npos &&
                          object.find('\0') == object.npos;
    return is_plain ? object : std::string{};
}

bool is_recorded(proto::policy::AuditLevel level, bool allowed) noexcept {
    return level >=
           (allowed ? proto::policy::AuditLevel::audit_writes : proto::policy::AuditLevel::audit_denied);
}

rpc::Failure denied(std::string_view procedure, std::string_view why) {
    return {.code = rpc::k_code_access_denied,
            .domain = rpc::k_domain_access,
            .message = fmt::format("access denied: lock.{}: {}", procedure, why),
            .pattern = "access denied: %s",
            .detail = fmt::format("lock.{}: {}", procedure, why)};
}

// Not a secret and not random: the same name has the same one, for `virtgate locks break --owner`.
void name_uuid(std::string_view name, Owner& owner) {
    std::uint64_t hash[2] = {0xcbf29ce484222325, 0x6c62272e07bb0142};
    for (int half = 0; half < 2; ++half)
        for (const char c : name) {
            hash[half] ^= static_cast<unsigned char>(c) + static_cast<std::uint64_t>(half);
            hash[half] *= 0x100000001b3;
        }
    for (std::size_t i = 0; i < owner.uuid.size(); ++i)
        owner.uuid[i] = static_cast<std::byte>(hash[i / 8] >> (8 * (i % 8)));
    owner.uuid[6] = (owner.uuid[6] & std::byte{0x0f}) | std::byte{0x80};  // RFC 9562: made as its maker likes
    owner.uuid[8] = (owner.uuid[8] & std::byte{0x3f}) | std::byte{0x80};
}

}  // namespace

SessionDesk::SessionDesk(Connections& connections, Witness& witness, std::vector<std::uint32_t> users,
                         const std::vector<std::uint32_t>& beginners)
    : connections_(connections),
      witness_(witness),
      users_(std::move(users)),
      beginners_(beginners.begin(), beginners.end()),
      program_(session::k_program, session::k_version) {
    beginners_.insert({0, geteuid()});
    program_.serve<&SessionDesk::begin>(session::Procedure::begin, *this);
    program_.serve<&SessionDesk::renew>(session::Procedure::renew, *this);
    program_.serve<&SessionDesk::hear>(session::Procedure::witness, *this);
}

bool SessionDesk::may_lock_itself(const Client& client) const noexcept {
    return std::find(users_.begin(), users_.end(), client.peer().uid) != users_.end();
}

bool SessionDesk::admit(const Client& client, Call& call) const noexcept {
    if (admits(client.peer().uid) && !has(client)) return true;
    Log{}.warning("process {} of user {} may not begin sessions", client.peer().pid, client.peer().uid);
    call.fail(forbidden("sessions are begun by the broker, each once", rpc::k_domain_rpc));
    return false;
}

void SessionDesk::begin(Client& client, const session::BeginArgs& arguments, Call call) noexcept {
    if (!admit(client, call)) return;
    const std::string identity = to_string(arguments.identity);
    if (connections_.of(client).owner || connections_.of(client).slot)
        return call.fail(forbidden("this connection speaks for a process", rpc::k_domain_rpc));
    const std::string listener = to_string(arguments.listener);
    auto rights = policy::Rights::decode(arguments.rights, {.listener = listener});
    if (!rights || identity.empty() || rights->identity() != identity)
        return call.fail(internal("the rights of the session make no sense"));
    Session made{.number = arguments.session,
                 .broker = arguments.broker,
                 .for_others = arguments.for_others != 0,
                 .listener = listener,
                 .rights = std::move(*rights)};
    made.identity.kind = kept::OwnerKind::owner_identity;
    made.identity.name = arguments.identity;
    name_uuid(identity, made.identity);
    Owner owner{.kind = kept::OwnerKind::owner_session, .uuid = arguments.uuid, .name = arguments.identity};
    all_.insert_or_assign(client.id(), std::move(made));
    Log{}.info("session {} of {} begins", arguments.session, escape(identity));
    connections_.begin_session(client, std::move(owner), std::move(call));
}

void SessionDesk::renew(Client& client, const session::RenewArgs& arguments, Call call) noexcept {
    if (!admit(client, call)) return;
    std::size_t count = 0;
    for (auto& [id, one] : all_) {
        if (one.identity.name != arguments.identity) continue;
        auto rights = policy::Rights::decode(arguments.rights, {.listener = one.listener});
        if (!rights) return call.fail(internal("the rights of the identity make no sense"));
        one.rights = std::move(*rights);
        ++count;
    }
    Log{}.info("{} sessions of {} have new rights", count, escape(as_text(arguments.identity)));
    call.reply();
}

std::uint64_t SessionDesk::number_of(const Client& client) const noexcept {
    const auto found = all_.find(client.id());
    return found == all_.end() ? 0 : found->second.number;
}

void SessionDesk::hear(Client& client, const session::WitnessArgs& arguments, Call call) noexcept {
    if (!admit(client, call)) return;
    if (connections_.of(client).owner || connections_.of(client).slot)
        return call.fail(forbidden("this connection speaks for a process", rpc::k_domain_rpc));
    call.reply();
    connections_.keep_back(client);
    witness_.set(client, arguments.broker);
}

bool SessionDesk::is_for_others(const Client& client) const noexcept {
    const auto found = all_.find(client.id());
    return found != all_.end() && found->second.for_others;
}

Owner SessionDesk::owner_of(const Client& client, const Owner& owner) const {
    Owner shown = owner;
    if (!is_for_others(client)) return shown;
    const std::string name = fmt::format("{} ({})", at(client).rights.identity(), at(client).guest);
    const ByteView bytes = as_bytes(name).first(std::min<std::size_t>(name.size(), kept::k_owner_name_max));
    shown.name.assign(bytes.begin(), bytes.end());
    return shown;
}

void SessionDesk::register_owner(const Client& client, const proto::lock::Owner& owner, Call call) {
    Session& one = all_.at(client.id());
    one.is_registered = true;
    if (one.for_others) {
        one.number = owner.id;
        one.guest = escape(owner.name, kept::k_owner_name_max / 2);
    }
    call.reply();
}

Answer<SessionDesk::Verdict> SessionDesk::judge(const Client& client, proto::lock::Procedure procedure,
                                                std::uint32_t flags, const std::string* path,
                                                const std::string* name, Call& call) {
    const Session& one = at(client);
    const auto& program = proto::lock_program();
    const proto::ProcedureInfo& info = *program.find(static_cast<std::uint32_t>(procedure));
    const std::string called = to_upper(info.name);
    const std::string what = path == nullptr ? std::string{} : object_name(*path, name);
    Made made{.procedure = procedure, .flags = flags, .has_object = path != nullptr, .object = what};
    if (path != nullptr && what.empty()) {
        constexpr std::string_view k_why = "a name has to begin with a slash and lead straight to its end";
        made.object = name == nullptr ? *path : *path + "/" + *name;
        made.detail = k_why;
        note(one, made, {.allowed = false, .reason = policy::Reason::object}, call);
        return tl::make_unexpected(denied(called, k_why));
    }
    const policy::Object object{.kind = policy::ObjectKind::lock, .name = what};
    const auto objects = std::span(&object, path == nullptr ? 0 : 1);
    const policy::Decision decision = one.rights.judge(program, info, flags, objects);
    note(one, made, decision, call);
    if (!decision.allowed) return tl::make_unexpected(denied(called, policy::to_text(decision.reason)));
    return Verdict{.keep = decision.grant->keep};
}

// How the calls of sessions end, which the auditor hears.
class SessionEnd final : public server::CallEnd {
public:
    SessionEnd(Witness& witness, std::uint64_t session, std::uint64_t call)
        : witness_(witness), session_(session), call_(call) {}
    void on_end(int error, bool reached) noexcept override {
        const auto lasted =
            std::chrono::duration_cast<std::chrono::microseconds>(boot_clock().now() - began_);
        witness_.tell(proto::audit::OutcomeArgs{.session = session_,
                                                .call = call_,
                                                .answered = reached,
                                                .error = error,
                                                .duration = static_cast<std::uint64_t>(lasted.count())});
    }

private:
    Witness& witness_;
    const std::uint64_t session_, call_;
    const Instant began_ = boot_clock().now();
};

// To the auditor, who knows who the session is for, or to the log.
void SessionDesk::note(const Session& one, const Made& made, const policy::Decision& decision, Call& call) {
    namespace audit = proto::audit;
    if (!is_recorded(one.rights.audit_level(decision), decision.allowed)) return;
    if (!witness_.hears(one.broker)) {
        const auto& info = *proto::lock_program().find(static_cast<std::uint32_t>(made.procedure));
        const std::string place =
            decision.grant == nullptr
                ? std::string(made.detail.empty() ? "" : ", ") + std::string(made.detail)
                : fmt::format(", role {} at {}:{}", escape(decision.grant->role),
                              escape(decision.grant->file), decision.grant->line);
        return Log{}.info("session {} {}: {} {}{}{}: {}{}", one.number, escape(one.rights.identity()),
                          decision.allowed ? "allowed" : "refused", to_upper(info.name),
                          made.has_object ? " lock=" : "", escape(made.object),
                          policy::to_text(decision.reason), place);
    }
    audit::DecisionArgs told;
    told.session = one.number;
    told.call = witness_.next_call();
    told.generation = one.rights.generation();
    told.program = proto::lock::k_program;
    told.version = proto::lock::k_version;
    told.procedure = static_cast<std::uint32_t>(made.procedure);
    told.serial = call.header().serial;
    told.flags = made.flags;
    told.verdict =
        decision.allowed ? audit::AuditVerdict::verdict_allowed : audit::AuditVerdict::verdict_refused;
    told.reason = static_cast<audit::AuditReason>(decision.reason);
    if (made.has_object)
        told.objects.push_back({.kind = proto::policy::ObjectKind::object_lock,
                                .name = Witness::fit(made.object),
                                .uuid = {},
                                .known = made.detail.empty()});
    const auto place_of = [](const proto::policy::Grant* grant) -> std::optional<audit::RulePlace> {
        if (grant == nullptr) return std::nullopt;
        return audit::RulePlace{.role = grant->role, .file = grant->file, .line = grant->line};
    };
    told.place = place_of(decision.grant);
    told.shadow = place_of(decision.shadow);
    told.detail = std::string(made.detail);
    if (decision.allowed) call.tell(std::make_unique<SessionEnd>(witness_, one.number, told.call));
    witness_.tell(std::move(told));
}

}  // namespace virtgate::lockd::locker
