// SPDX-License-Identifier: LGPL-2.1-or-later
// session_desk - sessions of the front door: connections that the broker began, with the rights of an identity.
#include "lockd/locker/session_desk.h"

#include <unistd.h>

#include <algorithm>

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

SessionDesk::SessionDesk(Connections& connections, std::vector<std::uint32_t> users,
                         const std::vector<std::uint32_t>& beginners)
    : connections_(connections),
      users_(std::move(users)),
      beginners_(beginners.begin(), beginners.end()),
      program_(session::k_program, session::k_version) {
    beginners_.insert({0, geteuid()});
    program_.serve<&SessionDesk::begin>(session::Procedure::begin, *this);
    program_.serve<&SessionDesk::renew>(session::Procedure::renew, *this);
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
    Session made{.number = arguments.session, .listener = listener, .rights = std::move(*rights)};
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

void SessionDesk::register_owner(const Client& client, Call call) {
    all_.at(client.id()).is_registered = true;
    call.reply();
}

Answer<SessionDesk::Verdict> SessionDesk::judge(const Client& client, proto::lock::Procedure procedure,
                                                std::uint32_t flags, const std::string* path,
                                                const std::string* name) {
    const Session& one = at(client);
    const auto& program = proto::lock_program();
    const proto::ProcedureInfo& info = *program.find(static_cast<std::uint32_t>(procedure));
    const std::string called = to_upper(info.name);
    const std::string what = path == nullptr ? std::string{} : object_name(*path, name);
    if (path != nullptr && what.empty()) {
        Log{}.info("session {} {}: refused {} of \"{}\" in \"{}\": no plain name", one.number,
                   escape(one.rights.identity()), called, name != nullptr ? escape(*name) : "",
                   escape(*path));
        return tl::make_unexpected(
            denied(called, "a name has to begin with a slash and lead straight to its end"));
    }
    const policy::Object object{.kind = policy::ObjectKind::lock, .name = what};
    const auto objects = std::span(&object, path == nullptr ? 0 : 1);
    const policy::Decision decision = one.rights.judge(program, info, flags, objects);
    if (is_recorded(one.rights.audit_level(decision), decision.allowed))
        Log{}.info("session {} {}: {} {}{}{}: {}{}", one.number, escape(one.rights.identity()),
                   decision.allowed ? "allowed" : "refused", called,
                   path == nullptr ? "" : " lock=", escape(what), policy::to_text(decision.reason),
                   decision.grant == nullptr
                       ? ""
                       : fmt::format(", role {} at {}:{}", escape(decision.grant->role),
                                     escape(decision.grant->file), decision.grant->line));
    if (!decision.allowed) return tl::make_unexpected(denied(called, policy::to_text(decision.reason)));
    return Verdict{.keep = decision.grant->keep};
}

}  // namespace virtgate::lockd::locker
