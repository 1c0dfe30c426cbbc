// SPDX-License-Identifier: LGPL-2.1-or-later etcd_space - a lock space that is in etcd, for more than one
// host. A leaser asks there; this knows what we have.
#include "lockd/locker/etcd_space.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "libshared/base/boot_clock.h"
#include "libshared/base/log.h"
#include "proto/codec.h"

namespace virtgate::lockd::locker {

namespace kept = proto::kept;
namespace lease = proto::lease;
using lease::Procedure;

namespace {

constexpr std::size_t k_queue_max = 131'072;
constexpr std::size_t k_leased_size = 16;

std::vector<std::byte> to_bytes(const std::string& text) {
    const ByteView bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
}

// A memory file with `content`, which nobody can change any more. Invalid on failure; errno says why.
UniqueFd make_file(ByteView content) {
    UniqueFd file{memfd_create("lock", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    if (!file) return {};
    const ssize_t size = static_cast<ssize_t>(content.size());
    const bool ok =
        (content.empty() || write(file.get(), content.data(), content.size()) == size) &&
        fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0;
    return ok ? std::move(file) : UniqueFd{};
}

}  // namespace

EtcdSpace::EtcdSpace(loop::Loop& loop, const Clock& clock, Keeping& keeping,
                     const proto::config::EtcdSpaceConfig& config, EtcdSpaceUser& user)
    : loop_(loop),
      clock_(clock),
      keeping_(keeping),
      path_(config.path),
      user_(user),
      timer_(loop.timer(loop::to<&EtcdSpace::on_time>(*this))) {}

EtcdSpace::~EtcdSpace() { keeping_.forget(*this); }

// --- what outlives this process ---

void EtcdSpace::restore(Slot slot, const kept::KeptLease& lease) {
    slot_ = slot;
    is_slot_kept_ = true;
    lease_ = lease.lease;
    lost_at_ = from_boot_ms(lease.lost_at);
}

bool EtcdSpace::confirm(const std::string& name, int file, bool shared) {
    std::array<std::byte, k_leased_size> bytes{};
    if (pread(file, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return false;
    const auto leased = proto::decode<kept::KeptLeased>(bytes);
    if (!leased) return false;
    held_[name] = {.shared = shared, .lease = leased->lease, .token = leased->token};
    return true;  // the leaser looks, and says what is lost
}

std::uint64_t EtcdSpace::token_of(const std::string& name) const noexcept {
    const auto found = held_.find(name);
    return found == held_.end() ? 0 : found->second.token;
}

void EtcdSpace::start() { on_time(); }

void EtcdSpace::write_down() {
    is_stale_ = is_writing_;
    if (is_writing_) return;
    UniqueFd file;
    if (!slot_) {
        file = make_file({});
        slot_ = file ? keeping_.take_slot() : std::nullopt;
        if (!slot_) return Log{}.error("{}: cannot write down how long it is ours", escape(path_));
    }
    is_writing_ = true;
    const auto record =
        kept::Kept::make_lease({.path = to_bytes(path_), .lease = lease_, .lost_at = to_boot_ms(lost_at_)});
    keeping_.keep(*slot_, record, is_slot_kept_ ? -1 : file.get(), 0, *this);
}

void EtcdSpace::on_kept(Ticket, Answer<void> done) noexcept {
    is_writing_ = false;
    if (!done) {
        Log{}.error("{}: cannot write down how long it is ours: {}", escape(path_),
                    escape(done.error().message));
        if (!is_slot_kept_) keeping_.free_slot(*std::exchange(slot_, std::nullopt));
        return;
    }
    is_slot_kept_ = true;
    if (is_stale_) write_down();
}

// --- time ---

bool EtcdSpace::is_good() const noexcept {
    return leaser_ && is_alive_ && is_slot_kept_ && clock_.now() < lost_at_;
}

void EtcdSpace::on_time() noexcept {
    // The loop's timers stand still while the machine sleeps.
    constexpr Milliseconds k_look{500};
    const Instant now = clock_.now();
    if (now >= lost_at_) lose_all(reason_.empty() ? "the lease in etcd was not renewed" : reason_);
    const auto left = std::chrono::ceil<Milliseconds>(lost_at_ - now);
    timer_->start(left > Milliseconds{0} ? std::min(left, k_look) : k_look);
}

// Losing something may let it go at once.
void EtcdSpace::lose_all(const std::string& reason) {
    std::vector<std::string> names;
    for (auto& [name, held] : held_)
        if (!std::exchange(held.is_lost, true)) names.push_back(name);
    for (const std::string& name : names) user_.on_lost(path_, name, reason);
}

// --- the leaser ---

lease::Leased EtcdSpace::describe(const std::string& name, const Held& held) {
    return {.name = to_bytes(name), .shared = held.shared, .lease = held.lease, .token = held.token};
}

void EtcdSpace::adopt(UniqueFd channel) {
    drop_leaser("another process took over");
    leaser_ =
        std::make_unique<rpc::Control>(loop_, std::move(channel), 0, loop::to<&EtcdSpace::on_message>(*this),
                                       loop::to<&EtcdSpace::on_closed>(*this), k_queue_max);
    // What is lost is among it: as long as its owner lives, nobody else has to get it.
    lease::ResumeArgs args{.lease = lease_, .held = {}, .last = false};
    for (const auto& [name, held] : held_) {
        args.held.push_back(describe(name, held));
        if (args.held.size() < lease::k_leased_batch_max) continue;
        tell(Procedure::resume, args);
        args.held.clear();
    }
    args.last = true;
    tell(Procedure::resume, args);
}

template <class Arguments>
void EtcdSpace::tell(Procedure procedure, const Arguments& arguments) {
    const auto payload = proto::encode(arguments, rpc::Control::k_payload_max);
    require(payload.has_value(), "a message to the leaser does not encode");
    // Where it fails, the end of the channel follows.
    if (const auto sent =
            leaser_->send(rpc::make_message(lease::k_program, lease::k_version, procedure), *payload);
        !sent)
        Log{}.error("cannot reach the leaser of {}: {}", escape(path_), sent.error().text);
}

template <class Arguments>
bool EtcdSpace::ask(Asked asked, const Arguments& arguments) {
    if (!leaser_) return false;
    const auto payload = proto::encode(arguments, rpc::Control::k_payload_max);
    require(payload.has_value(), "a message to the leaser does not encode");
    const auto header =
        rpc::make_call(lease::k_program, lease::k_version, asked.procedure, leaser_->next_serial());
    if (!leaser_->send(header, *payload)) return false;
    asked_.emplace(header.serial, std::move(asked));
    return true;
}

void EtcdSpace::on_closed(std::string_view reason) noexcept {
    Log{}.error("the leaser of {} is gone: {}", escape(path_), reason);
    drop_leaser("the process that asks etcd has ended, and is started again");
}

// The next one lets go what was taken and not answered, since we do not have it.
void EtcdSpace::drop_leaser(std::string_view reason) {
    leaser_.reset();
    is_alive_ = false;
    reason_ = reason;
    for (auto& [serial, asked] : std::exchange(asked_, {})) answer_failure(asked, unreachable(reason));
}

void EtcdSpace::on_message(rpc::Control::Message& message) noexcept {
    const rpc::Header& header = message.header;
    const auto is = [&](Procedure procedure) {
        return header == rpc::make_message(lease::k_program, lease::k_version, procedure, header.serial);
    };
    const bool ok = header.program == lease::k_program && header.type == rpc::Type::reply
                        ? take_reply(message)
                    : is(Procedure::state) ? take_state(message)
                    : is(Procedure::lost)  ? take_lost(message)
                                           : false;
    if (ok) return;
    Log{}.error("the leaser of {} sent a message that has no place here", escape(path_));
    drop_leaser("the process that asks etcd makes no sense");
}

bool EtcdSpace::take_reply(const rpc::Control::Message& message) {
    const auto found = asked_.extract(message.header.serial);
    if (found.empty()) return false;
    const Asked& asked = found.mapped();
    if (message.header.status == rpc::Status::error) {
        const std::string reason = escape(rpc::read_error_text(message.payload));
        const bool is_busy = rpc::read_error_code(message.payload) == rpc::k_code_resource_busy;
        answer_failure(asked, is_busy ? is_locked(asked.name, reason) : unreachable(reason));
    } else if (asked.procedure == Procedure::take) {
        const auto taken = proto::decode<lease::TakeRet>(message.payload);
        if (!taken) {
            answer_failure(asked, unreachable("the process that asks etcd makes no sense"));
            return false;
        }
        answer_take(asked, *taken);
    } else if (asked.user != nullptr) {
        asked.user->on_done(asked.ticket, {});
    }
    return true;
}

void EtcdSpace::answer_take(const Asked& asked, const lease::TakeRet& taken) {
    const Held held{.shared = asked.shared, .lease = taken.lease, .token = taken.token};
    const auto content = proto::encode(kept::KeptLeased{.lease = held.lease, .token = held.token});
    struct stat about {};
    UniqueFd file = is_good() && taken.lease == lease_ ? make_file(*content) : UniqueFd{};
    if (!file || fstat(file.get(), &about) < 0) {
        // The answer came too late, or there is no memory: nobody is told that it is held.
        static_cast<void>(
            ask({.procedure = Procedure::let_go, .name = asked.name}, describe(asked.name, held)));
        return asked.user->on_taken(asked.ticket, tl::make_unexpected(unreachable("the lease may end soon")));
    }
    held_[asked.name] = held;
    Log{}.info("{} in {} is held, fencing token {}", escape(asked.name), escape(path_), held.token);
    asked.user->on_taken(asked.ticket,
                         LockedFile{.file = std::move(file), .device = about.st_dev, .inode = about.st_ino});
}

void EtcdSpace::answer_failure(const Asked& asked, const rpc::Failure& failure) {
    if (asked.user == nullptr) return;
    switch (asked.procedure) {
        case Procedure::take: return asked.user->on_taken(asked.ticket, tl::make_unexpected(failure));
        case Procedure::let_go: return asked.user->on_done(asked.ticket, {});
        default: return asked.user->on_done(asked.ticket, tl::make_unexpected(failure));
    }
}

bool EtcdSpace::take_state(const rpc::Control::Message& message) {
    const auto state = proto::decode<lease::StateArgs>(message.payload);
    if (!state) return false;
    is_alive_ = state->phase == lease::LeasePhase::lease_alive;
    reason_ = escape(as_text(state->reason));
    if (state->phase == lease::LeasePhase::lease_late) lose_all(reason_);
    if (state->lost_at == 0) return true;
    lease_ = state->lease;
    lost_at_ = from_boot_ms(state->lost_at);
    write_down();
    return true;
}

bool EtcdSpace::take_lost(const rpc::Control::Message& message) {
    const auto args = proto::decode<lease::LostArgs>(message.payload);
    if (!args) return false;
    const std::string reason = escape(as_text(args->reason));
    for (const lease::Leased& one : args->lost) {
        const std::string name(as_text(one.name));
        const auto found = held_.find(name);
        // A later one of the same name is meant to stay.
        if (found == held_.end() || found->second.token != one.token) continue;
        if (!std::exchange(found->second.is_lost, true)) user_.on_lost(path_, name, reason);
    }
    return true;
}

// --- what the table asks for ---

Answer<void> EtcdSpace::judge(const std::string& name) const {
    const auto fail = [&](int number, std::string_view reason) {
        return tl::make_unexpected(
            system_failure(number, fmt::format("Unable to open resource {}/{}", path_, name), reason));
    };
    if (name.size() > lease::k_leased_name_max)
        return fail(ENAMETOOLONG, "the name is longer than 255 bytes");
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos)
        return fail(EINVAL, "the name is not that of a resource in the lock space");
    return {};
}

rpc::Failure EtcdSpace::unreachable(std::string_view reason) const {
    return unavailable(fmt::format("lock space {}: {}", path_, reason));
}

void EtcdSpace::take(const std::string& name, bool shared, bool create, Ticket ticket, LockSpaceUser& user) {
    if (auto good = judge(name); !good)
        return user.on_taken(ticket, tl::make_unexpected(std::move(good.error())));
    if (is_good() &&
        ask({.procedure = Procedure::take, .name = name, .shared = shared, .ticket = ticket, .user = &user},
            lease::TakeArgs{.name = to_bytes(name), .shared = shared, .create = create}))
        return;
    user.on_taken(ticket,
                  tl::make_unexpected(unreachable(reason_.empty() ? "etcd is being asked" : reason_)));
}

void EtcdSpace::let_go(const std::string& name, UniqueFd, bool, Ticket ticket, LockSpaceUser& user) {
    const auto held = held_.extract(name);
    if (!held.empty() && ask({.procedure = Procedure::let_go, .name = name, .ticket = ticket, .user = &user},
                             describe(name, held.mapped())))
        return;
    user.on_done(ticket, {});
}

void EtcdSpace::create(const std::string& name, Ticket ticket, LockSpaceUser& user) {
    if (auto good = judge(name); !good) return user.on_done(ticket, std::move(good));
    if (!ask({.procedure = Procedure::create, .name = name, .ticket = ticket, .user = &user},
             lease::NameArgs{.name = to_bytes(name)}))
        user.on_done(ticket, tl::make_unexpected(unreachable(reason_)));
}

void EtcdSpace::remove(const std::string& name, Ticket ticket, LockSpaceUser& user) {
    if (auto good = judge(name); !good) return user.on_done(ticket, std::move(good));
    if (!ask({.procedure = Procedure::remove, .name = name, .ticket = ticket, .user = &user},
             lease::NameArgs{.name = to_bytes(name)}))
        user.on_done(ticket, tl::make_unexpected(unreachable(reason_)));
}

}  // namespace virtgate::lockd::locker
