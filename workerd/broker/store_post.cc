// SPDX-License-Identifier: LGPL-2.1-or-later
// store_post - the store's process, as the broker sees it.
#include "workerd/broker/store_post.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "libshared/channel/room.h"
#include "proto/codec.h"
#include "proto/lock.h"
#include "proto/supervise.h"

namespace virtgate::workerd::broker {

namespace supervise = proto::supervise;
using proto::store::Procedure;

namespace {

constexpr std::size_t k_why_max = 500;  // fits a refusal_text, with the dots of what was cut

proto::who::Ceiling make_ceiling(std::initializer_list<proto::lock::Procedure> procedures) {
    proto::who::ProgramCeiling program{
        .program = proto::lock::k_program, .version = proto::lock::k_version, .procedures = {}};
    for (const auto procedure : procedures) {
        const auto number = static_cast<std::uint32_t>(procedure);
        if (program.procedures.size() <= number / 8) program.procedures.resize(number / 8 + 1);
        program.procedures[number / 8] |= std::byte{1} << (number % 8);
    }
    return {.programs = {std::move(program)}};
}

}  // namespace

StorePost::StorePost(loop::Loop& loop, Plan plan, LockDoor& locks, loop::Target<> on_stopped)
    : Post(loop,
           {.name = "store",
            .program = std::move(plan.program),
            .user = std::move(plan.user),
            .consequence = "its connections have ended",
            .queue_max = k_queue_max,
            .ready =
                rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::ready)},
           on_stopped),
      loop_(loop),
      config_(std::move(plan.config)),
      locks_(locks) {}

void StorePost::set_log_level(Level level) noexcept {
    config_.log_level = static_cast<std::uint32_t>(level);
    tune(level);
}

void StorePost::start() noexcept {
    if (!is_configured()) return;
    if (!config_.locks)
        log().warning(
            "volumes are written without locks, also while a machine uses them: see [store] in workerd.toml");
    start_process();
}

Result<ByteVector> StorePost::make_config() const {
    auto config = proto::encode(config_);
    if (!config) return system_fault(0, "the store's configuration does not encode");
    return std::move(*config);
}

bool StorePost::send(Procedure procedure, ByteView payload, int fd) noexcept {
    return Post::send(proto::store::k_program, proto::store::k_version, static_cast<std::uint32_t>(procedure),
                      payload, fd);
}

bool StorePost::take(const rpc::Control::Message& message) noexcept {
    if (message.header != rpc::make_message(proto::store::k_program, proto::store::k_version,
                                            Procedure::ask_locks, message.header.serial) ||
        !message.payload.empty())
        return false;
    LockDoor::Way way;
    const Instant now = loop_.clock().now();
    if (now < may_ask_)
        way.why = "it was asked for too often";
    else
        way = locks_.open_for_others(make_store_rights(config_));
    may_ask_ = now + k_ask_pause;
    const auto payload = proto::encode(proto::store::LocksArgs{.why = escape(way.why, k_why_max)});
    require(payload.has_value(), "an escaped text that does not encode");
    static_cast<void>(send(Procedure::locks, *payload, way.connection.get()));
    return true;
}

Result<UniqueFd> StorePost::connect(const std::string& identity, std::uint64_t session, bool read_only) {
    if (!is_up()) return system_fault(ECONNREFUSED, "the store does not run");
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
        return system_fault(errno, "no sockets for a connection to the store");
    UniqueFd ours{ends[0]}, theirs{ends[1]};
    for (const int end : ends) channel::make_room(end);
    const auto payload = proto::encode(
        proto::store::AttachArgs{.identity = identity, .read_only = read_only, .session = session});
    if (!payload) return system_fault(0, "the name of an identity does not encode");
    if (!send(Procedure::attach, *payload, theirs.get()))
        return system_fault(ECONNREFUSED, "the store does not read");
    return ours;
}

proto::policy::IdentityRights make_store_rights(const proto::config::StoreConfig& config) {
    namespace lock = proto::lock;
    namespace policy = proto::policy;
    policy::Grant grant;
    grant.role = "store";
    grant.file = "workerd.toml";
    grant.may = make_ceiling({lock::Procedure::register_, lock::Procedure::acquire_resource,
                              lock::Procedure::release_resource, lock::Procedure::create_lockspace});
    const auto allow = [&](policy::PatternKind how, std::string text) {
        grant.objects.push_back(
            {.kind = policy::ObjectKind::object_lock, .how = how, .text = std::move(text)});
    };
    if (!config.lock_space.empty()) {
        allow(policy::PatternKind::pattern_exact, config.lock_space);
        allow(policy::PatternKind::pattern_glob, config.lock_space + "/*");
    } else {
        for (const std::string& directory : config.directories)
            allow(policy::PatternKind::pattern_glob, directory + "/*");
    }
    grant.audit = policy::AuditLevel::audit_none;
    policy::IdentityRights rights{.generation = 0,
                                  .identity = std::string(k_store_owner),
                                  .grants = {std::move(grant)},
                                  .limits = {},
                                  .shadowed = policy::Probation::probation_nobody};
    return rights;
}

void make_store_directories(const proto::config::StoreConfig& config,
                            const std::optional<spawn::User>& user) {
    constexpr mode_t k_of_pools = 0711, k_of_state = 0700;
    const auto make = [&](const std::string& path, mode_t mode) {
        if (mkdir(path.c_str(), mode) < 0) {
            if (errno != EEXIST) Log{"store"}.warning("cannot make {}: {}", path, std::strerror(errno));
            return;
        }
        // The mask of this process is narrower.
        if (chmod(path.c_str(), mode) < 0 || (user && chown(path.c_str(), user->uid, user->gid) < 0))
            Log{"store"}.warning("{} does not get its owner: {}", path, std::strerror(errno));
    };
    if (config.directories.empty()) return;
    for (const std::string& directory : config.directories) make(directory, k_of_pools);
    make(config.state_directory, k_of_state);
}

}  // namespace virtgate::workerd::broker
