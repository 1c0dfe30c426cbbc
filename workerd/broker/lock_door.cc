// SPDX-License-Identifier: LGPL-2.1-or-later
// lock_door - sessions with the lock daemon, for clients whose policy allows calls about locks.
#include "workerd/broker/lock_door.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "libshared/channel/connect.h"
#include "libshared/channel/packet.h"
#include "libshared/rpc/error.h"
#include "policy/lock_rights.h"
#include "proto/codec.h"
#include "proto/lock_session.h"

namespace virtgate::workerd::broker {

namespace session = proto::lock_session;
using proto::who::LockWay;

namespace {

ByteVector to_bytes(std::string_view text) {
    const ByteView bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
}

template <class Arguments>
Result<ByteVector> make_call(session::Procedure procedure, const Arguments& arguments) {
    const auto payload = proto::encode(arguments);
    if (!payload) return system_fault(0, "the name of an identity is too long for the lock daemon");
    return rpc::make_frame(rpc::make_call(session::k_program, session::k_version, procedure, 0), *payload);
}

Result<ByteVector> encode_rights(const proto::policy::IdentityRights& rights) {
    auto bytes = proto::encode(policy::lock_rights(rights), session::k_session_rights_max);
    if (!bytes)
        return system_fault(0, fmt::format("what the policy says about locks is too long: more than {} bytes",
                                           session::k_session_rights_max));
    return std::move(*bytes);
}

// Up to 256 bytes come whole and without an interruption (getrandom(2)).
Done fill_randomly(void* at, std::size_t size) {
    if (getrandom(at, size, 0) != static_cast<ssize_t>(size))
        return system_fault(errno, "there is nothing random");
    return {};
}

std::uint64_t make_number() {
    std::uint64_t number = 0;
    require(fill_randomly(&number, sizeof number).has_value(), "the kernel has no random numbers");
    return number;
}

Result<ByteVector> make_begin(const proto::policy::IdentityRights& rights, std::uint64_t broker,
                              std::uint64_t number, const std::string& listener, bool for_others) {
    auto bytes = encode_rights(rights);
    if (!bytes) return bytes;
    session::BeginArgs arguments{.session = number,
                                 .uuid = {},
                                 .listener = to_bytes(listener),
                                 .identity = to_bytes(rights.identity),
                                 .rights = std::move(*bytes),
                                 .broker = broker,
                                 .for_others = for_others};
    if (auto done = fill_randomly(arguments.uuid.data(), arguments.uuid.size()); !done)
        return tl::unexpected(std::move(done.error()));
    arguments.uuid[6] = (arguments.uuid[6] & std::byte{0x0f}) | std::byte{0x40};
    arguments.uuid[8] = (arguments.uuid[8] & std::byte{0x3f}) | std::byte{0x80};
    return make_call(session::Procedure::begin, arguments);
}

// A new connection has room for a whole call.
bool send_whole(int socket, ByteView frame) noexcept {
    return send(socket, frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
           static_cast<ssize_t>(frame.size());
}

}  // namespace

LockDoor::LockDoor(loop::Loop& loop, std::string path)
    : loop_(loop),
      path_(std::move(path)),
      broker_(make_number()),
      again_(loop.timer(loop::to<&LockDoor::tell_next>(*this))) {}

LockDoor::Opened LockDoor::open(const proto::policy::IdentityRights& rights, std::uint64_t number,
                                const std::string& listener) {
    if (!policy::may_lock(rights)) return {};
    const auto fail = [&](std::string_view why) {
        if (absent_.next())
            log_.warning("session {} of {} has no way to the lock daemon ({} such sessions): {}", number,
                         rights.identity, absent_.count(), why);
        return Opened{.way = LockWay::locks_absent};
    };
    Way way = connect(make_begin(rights, broker_, number, listener, false));
    if (!way.connection) return fail(way.why);
    identities_.insert(rights.identity);
    return {.way = LockWay::locks_ready, .connection = std::move(way.connection)};
}

LockDoor::Way LockDoor::open_for_others(const proto::policy::IdentityRights& rights) {
    return connect(make_begin(rights, broker_, 0, {}, true));
}

LockDoor::Way LockDoor::open_for_auditor() {
    return connect(make_call(session::Procedure::witness, session::WitnessArgs{.broker = broker_}));
}

LockDoor::Way LockDoor::connect(const Result<ByteVector>& frame) {
    if (path_.empty()) return {.connection = {}, .why = "workerd.toml names none"};
    if (!frame) return {.connection = {}, .why = frame.error().text};
    auto connection = channel::connect_to(path_, SOCK_STREAM);
    if (!connection) return {.connection = {}, .why = connection.error().text};
    if (std::string why = begin(connection->get(), *frame); !why.empty())
        return {.connection = {}, .why = std::move(why)};
    return {.connection = std::move(*connection), .why = {}};
}

std::optional<proto::locks::CountRet> LockDoor::count() {
    auto connection = channel::connect_to(path_, SOCK_STREAM);
    if (!connection) return std::nullopt;
    const auto frame = rpc::make_frame(
        rpc::make_call(proto::locks::k_program, proto::locks::k_version, proto::locks::Procedure::count, 0),
        {});
    ByteVector result;
    if (!begin(connection->get(), frame, &result).empty()) return std::nullopt;
    const auto counted = proto::decode<proto::locks::CountRet>(result);
    if (!counted) return std::nullopt;
    return *counted;
}

std::string LockDoor::begin(int connection, ByteView frame, ByteVector* result) {
    if (loop_.clock().now() < rests_until_) return "it did not answer a moment ago";
    if (!send_whole(connection, frame)) return "it does not take a session";
    std::array<std::byte, 4096> answer;
    pollfd one{connection, POLLIN, 0};
    std::size_t size = 0;
    if (poll(&one, 1, static_cast<int>(k_patience.count())) <= 0) {
        rests_until_ = loop_.clock().now() + k_rest;
        return "it does not answer";
    }
    // An answer is small, and leaves with one system call. What may follow is not for us.
    constexpr std::string_view k_nonsense = "it closed the connection, or answers nonsense";
    const MutableBytes all(answer);
    if (channel::receive_some(connection, all.first(rpc::k_frame_min), size) != channel::Outcome::done ||
        size != rpc::k_frame_min)
        return std::string(k_nonsense);
    const std::size_t length = load_be32(answer.data());
    if (length == rpc::k_frame_min && rpc::read_header(answer.data()).status == rpc::Status::ok) return {};
    const bool is_good = rpc::read_header(answer.data()).status == rpc::Status::ok;
    if (is_good && result == nullptr) return std::string(k_nonsense);
    if (length <= rpc::k_frame_min || length > answer.size() ||
        channel::receive_some(connection, all.subspan(rpc::k_frame_min, length - rpc::k_frame_min), size) !=
            channel::Outcome::done)
        return std::string(k_nonsense);
    if (is_good) {
        const ByteView payload = ByteView(answer).subspan(rpc::k_frame_min, size);
        result->assign(payload.begin(), payload.end());
        return {};
    }
    return escape(
        rpc::read_error_text(ByteView(answer).first(rpc::k_frame_min + size).subspan(rpc::k_frame_min)));
}

void LockDoor::renew(const RightsOf& rights_of) {
    waiting_.clear();
    watch_.reset();
    connection_.reset();
    for (const std::string& identity : identities_) {
        auto rights = rights_of(identity);
        auto bytes = encode_rights(rights);
        if (!bytes) {
            // Rather none than those of yesterday.
            log_.error("{} may not lock anything any more: {}", identity, bytes.error().text);
            bytes = encode_rights({.generation = rights.generation,
                                   .identity = identity,
                                   .grants = {},
                                   .limits = {},
                                   .shadowed = {}});
        }
        auto frame = make_call(session::Procedure::renew, session::RenewArgs{.identity = to_bytes(identity),
                                                                             .rights = std::move(*bytes)});
        if (frame) waiting_.push_back({identity, std::move(*frame)});
    }
    tell_next();
}

void LockDoor::tell_next() noexcept {
    if (waiting_.empty()) {
        watch_.reset();
        connection_.reset();
        return;
    }
    if (!connection_) {
        auto connection = channel::connect_to(path_, SOCK_STREAM);
        // One that is not there has no sessions either.
        if (!connection && connection.error().number != EAGAIN) return waiting_.clear();
        if (!connection) return start_again(connection.error().text);
        connection_ = std::move(*connection);
        input_.clear();
        watch_ = loop_.watch(connection_.get(), loop::Want::read, loop::to<&LockDoor::on_ready>(*this));
    }
    if (!send_whole(connection_.get(), waiting_.front().frame)) start_again("it does not take it");
}

void LockDoor::on_ready(loop::Want) noexcept {
    std::array<std::byte, 4096> piece;
    std::size_t size = 0;
    switch (channel::receive_some(connection_.get(), piece, size)) {
        case channel::Outcome::blocked: return;
        case channel::Outcome::closed:
        case channel::Outcome::broken: return start_again("it closed the connection");
        case channel::Outcome::done: break;
    }
    input_.insert(input_.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(size));
    if (input_.size() < rpc::k_frame_min || input_.size() < load_be32(input_.data())) return;
    // One call at a time, so one answer.
    const ByteView payload = ByteView(input_).subspan(rpc::k_frame_min);
    if (rpc::read_header(input_.data()).status != rpc::Status::ok)
        return start_again(escape(rpc::read_error_text(payload)));
    input_.clear();
    waiting_.pop_front();
    tell_next();
}

void LockDoor::start_again(std::string_view why) noexcept {
    if (late_.next())
        log_.warning("the lock daemon is not told yet what {} may lock now: {}", waiting_.front().identity,
                     why);
    watch_.reset();
    connection_.reset();
    again_->start(k_retry);
}

}  // namespace virtgate::workerd::broker
