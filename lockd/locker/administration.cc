// SPDX-License-Identifier: LGPL-2.1-or-later
// administration - who holds what, told to an administrator; and locks broken by one.
#include "lockd/locker/administration.h"

#include <unistd.h>

#include <algorithm>

#include "libshared/base/bytes.h"

namespace virtgate::lockd::locker {

namespace kept = proto::kept;
namespace locks = proto::locks;
using locks::Procedure;

namespace {

std::string to_string(const std::vector<std::byte>& bytes) { return std::string(as_text(bytes)); }

ByteVector to_bytes(std::string_view text) {
    const ByteView bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
}

rpc::Failure wrong(std::string text) {
    return {.code = rpc::k_code_invalid_argument,
            .domain = rpc::k_domain_rpc,
            .message = text,
            .detail = std::move(text)};
}

// What an owner is called in the log.
std::string describe(const Owner& owner) {
    if (!is_process(owner))
        return fmt::format("{} \"{}\" ({})",
                           owner.kind == kept::OwnerKind::owner_session ? "a session of" : "the identity",
                           escape(as_text(owner.name)), to_hex(owner.uuid));
    return fmt::format("process {} (\"{}\", {})", owner.process, escape(as_text(owner.name)),
                       to_hex(owner.uuid));
}

std::string describe(std::string_view space, std::string_view name) {
    return space.empty() ? fmt::format("\"{}\"", escape(name))
                         : fmt::format("\"{}\" in \"{}\"", escape(name), escape(space));
}

}  // namespace

Administration::Administration(Connections& connections, const SessionDesk& sessions, Spaces& spaces,
                               LockTable& table, server::Server& server, Witness& witness,
                               const Departures& departures)
    : connections_(connections),
      sessions_(sessions),
      spaces_(spaces),
      table_(table),
      server_(server),
      witness_(witness),
      departures_(departures),
      own_(geteuid()),
      program_(locks::k_program, locks::k_version) {
    program_.serve<&Administration::list>(Procedure::list, *this);
    program_.serve<&Administration::list_spaces>(Procedure::spaces, *this);
    program_.serve<&Administration::count>(Procedure::count, *this);
    program_.serve<&Administration::break_lock>(Procedure::break_, *this);
}

bool Administration::admit(const Client& client, Call& call) noexcept {
    const server::Peer& peer = client.peer();
    if ((peer.uid == 0 || peer.uid == own_) && !sessions_.has(client)) return true;
    if (strangers_.next())
        Log{}.warning("process {} of user {} may not administer locks ({} such calls)", peer.pid, peer.uid,
                      strangers_.count());
    call.fail(
        forbidden("only root and the user of the lock daemon may list and break locks", rpc::k_domain_rpc));
    return false;
}

void Administration::count(Client& client, Call call) noexcept {
    const bool may_begin = sessions_.admits(client.peer().uid) && !sessions_.has(client);
    if (!may_begin && !admit(client, call)) return;
    locks::CountRet ret{.spaces = {}, .fencings = departures_.fencings()};
    for (const auto kind :
         {locks::SpaceKind::space_files, locks::SpaceKind::space_directory, locks::SpaceKind::space_etcd})
        ret.spaces.push_back({.kind = kind, .held = 0, .usable = 0, .lost = 0});
    for (const std::string& path : spaces_.paths()) {
        const auto kind = path.empty()                         ? locks::SpaceKind::space_files
                          : spaces_.find_etcd(path) != nullptr ? locks::SpaceKind::space_etcd
                                                               : locks::SpaceKind::space_directory;
        auto& counts = ret.spaces.at(static_cast<std::size_t>(kind));
        counts.held += static_cast<std::uint32_t>(table_.held_in(path));
        ++(spaces_.find(path)->is_usable() ? counts.usable : counts.lost);
    }
    call.reply(ret);
}

void Administration::list(Client& client, const locks::ListArgs& arguments, Call call) noexcept {
    if (!admit(client, call)) return;
    std::string space, name;
    std::optional<std::uint32_t> after;
    if (arguments.space) space = to_string(*arguments.space);
    if (arguments.after) {
        space = to_string(arguments.after->space);
        name = to_string(arguments.after->name);
        after = arguments.after->hold;
    }
    const auto alive = connections_.alive();
    locks::ListRet ret{.holds = {}, .last = true};
    std::size_t size = 0;
    table_.visit_from(space, name, [&](const LockTable::Held& held) {
        const kept::KeptLock& facts = held.facts;
        if (arguments.space && facts.space != *arguments.space) return false;
        const bool is_first = as_text(facts.space) == space && as_text(facts.name) == name;
        std::uint32_t i = is_first && after ? *after + 1 : 0;
        for (; i < facts.holds.size(); ++i) {
            ret.last = ret.holds.size() < locks::k_listed_max && size < k_page;
            if (!ret.last) return false;
            const kept::KeptHold& hold = facts.holds[i];
            size += facts.space.size() + facts.name.size() + hold.owner.name.size();
            ret.holds.push_back({.space = facts.space,
                                 .name = facts.name,
                                 .hold = i,
                                 .shared = facts.shared,
                                 .lost = held.is_lost,
                                 .kind = static_cast<locks::ListedKind>(hold.owner.kind),
                                 .uuid = hold.owner.uuid,
                                 .owner = hold.owner.name,
                                 .id = hold.owner.id,
                                 .process = hold.owner.process,
                                 .connected = alive.contains(key_of(hold.owner)),
                                 .since = hold.since,
                                 .listener = hold.way.listener,
                                 .peer_uid = hold.way.uid,
                                 .peer_process = hold.way.process,
                                 .session = hold.way.session,
                                 .token = held.space.token_of(to_string(facts.name))});
        }
        return true;
    });
    call.reply(ret);
}

void Administration::list_spaces(Client& client, const locks::SpacesArgs& arguments, Call call) noexcept {
    if (!admit(client, call)) return;
    const std::set<std::string> paths = spaces_.paths();
    locks::SpacesRet ret{.spaces = {}, .last = true};
    std::size_t size = 0;
    for (auto path = arguments.after ? paths.upper_bound(to_string(*arguments.after)) : paths.begin();
         path != paths.end(); ++path) {
        ret.last = ret.spaces.size() < locks::k_listed_max && size < k_page;
        if (!ret.last) break;
        size += path->size();
        const auto kind = path->empty()                         ? locks::SpaceKind::space_files
                          : spaces_.find_etcd(*path) != nullptr ? locks::SpaceKind::space_etcd
                                                                : locks::SpaceKind::space_directory;
        ret.spaces.push_back({.path = to_bytes(*path),
                              .kind = kind,
                              .usable = spaces_.find(*path)->is_usable(),
                              .held = static_cast<std::uint32_t>(table_.held_in(*path))});
    }
    call.reply(ret);
}

void Administration::break_lock(Client& client, const locks::BreakArgs& arguments, Call call) noexcept {
    if (!admit(client, call)) return;
    Breaking breaking{.call = std::move(call),
                      .peer = client.peer(),
                      .space = to_string(arguments.space),
                      .name = to_string(arguments.name),
                      .reason = to_string(arguments.reason)};
    const std::string& reason = breaking.reason;
    if (reason.find_first_not_of(' ') == reason.npos || !is_plain_text(reason))
        return breaking.call.fail(wrong("a lock is broken for a reason, in plain text"));
    std::optional<LockTable::Uuid> uuid;
    if (!arguments.uuid.empty()) {
        if (arguments.uuid.size() != std::tuple_size_v<LockTable::Uuid>)
            return breaking.call.fail(wrong("the UUID of an owner has 16 bytes"));
        std::copy(arguments.uuid.begin(), arguments.uuid.end(), uuid.emplace().begin());
    }
    LockSpace* const space = spaces_.find(breaking.space);
    if (space == nullptr) return breaking.call.fail(no_such_space(breaking.space));
    LockTable::Where where{.space = space, .path = breaking.space, .name = breaking.name};
    const Ticket ticket = next_ticket_++;
    breaking_.emplace(ticket, std::move(breaking));
    table_.break_holds(std::move(where), uuid, ticket, *this);
}

void Administration::note(const Breaking& breaking, const kept::KeptHold* hold, bool lives,
                          int error) noexcept {
    if (!witness_.hears()) return;
    witness_.tell(proto::audit::BrokenArgs{
        .uid = breaking.peer.uid,
        .process = static_cast<std::uint32_t>(breaking.peer.pid),
        .space = Witness::fit(breaking.space),
        .resource = Witness::fit(breaking.name),
        .owner = hold == nullptr ? std::string{} : Witness::fit(describe(hold->owner)),
        .session = hold == nullptr ? 0 : hold->way.session,
        .lives = lives,
        .reason = Witness::fit(breaking.reason),
        .error = error});
}

void Administration::on_broken(Ticket ticket, Answer<std::vector<kept::KeptHold>> holds) noexcept {
    auto found = breaking_.extract(ticket);
    Breaking& breaking = found.mapped();
    const std::string what = describe(breaking.space, breaking.name);
    if (!holds) {
        Log{}.info("user {} (process {}) could not break the lock on {}: {}", breaking.peer.uid,
                   breaking.peer.pid, what, escape(holds.error().message));
        note(breaking, nullptr, false, holds.error().code);
        return breaking.call.fail(holds.error());
    }
    const auto alive = connections_.alive();
    locks::BreakRet ret{.holds = {}, .count = static_cast<std::uint32_t>(holds->size())};
    for (const kept::KeptHold& hold : *holds) {
        const bool lives = alive.contains(key_of(hold.owner));
        Log{}.warning("user {} (process {}) broke the lock on {} of {}{}, reason: \"{}\"", breaking.peer.uid,
                      breaking.peer.pid, what, describe(hold.owner),
                      lives ? ", which lives and may go on writing" : "", escape(breaking.reason, 512));
        note(breaking, &hold, lives, 0);
        if (ret.holds.size() < locks::k_listed_max)
            ret.holds.push_back({.kind = static_cast<locks::ListedKind>(hold.owner.kind),
                                 .uuid = hold.owner.uuid,
                                 .owner = hold.owner.name,
                                 .process = hold.owner.process,
                                 .connected = lives});
        connections_.dismiss(hold.owner, server_);
    }
    breaking.call.reply(ret);
}

}  // namespace virtgate::lockd::locker
