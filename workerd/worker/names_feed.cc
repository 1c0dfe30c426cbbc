// SPDX-License-Identifier: LGPL-2.1-or-later
// names_feed - what is said on the connection that keeps a NamesCache true.
#include "workerd/worker/names_feed.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "libshared/base/result.h"
#include "proto/codec.h"
#include "workerd/worker/remote.h"

namespace virtgate::workerd::worker {

using policy::ObjectKind;
using proto::remote::Procedure;
namespace remote = proto::remote;

namespace {

// What is asked for, and what comes then.
struct Row {
    Procedure ask;
    Procedure event;
    std::optional<ObjectKind> kind;  // none: the event is the end
};
constexpr Row k_rows[] = {
    {Procedure::connect_register_close_callback, Procedure::connect_event_connection_closed, std::nullopt},
    {Procedure::connect_domain_event_callback_register_any, Procedure::domain_event_callback_lifecycle,
     ObjectKind::domain},
    {Procedure::connect_network_event_register_any, Procedure::network_event_lifecycle, ObjectKind::network},
    {Procedure::connect_storage_pool_event_register_any, Procedure::storage_pool_event_lifecycle,
     ObjectKind::pool},
    {Procedure::connect_secret_event_register_any, Procedure::secret_event_lifecycle, ObjectKind::secret},
};

// Domains only: they are called the same before and after. Other kinds have no such events.
constexpr std::int32_t k_suspended = 3, k_resumed = 4, k_shutdown = 6, k_pm_suspended = 7;

bool may_rename(ObjectKind kind, std::int32_t event) noexcept {
    return kind != ObjectKind::domain ||
           (event != k_suspended && event != k_resumed && event != k_shutdown && event != k_pm_suspended);
}

struct Change {
    policy::Uuid uuid{};
    std::int32_t event = 0;
};

template <class Message>
std::optional<Change> read(ByteView payload, Change (*change_of)(const Message&)) {
    const auto message = proto::decode<Message>(payload);
    return message ? std::optional(change_of(*message)) : std::nullopt;
}

// What a lifecycle event says, or nothing if it does not decode.
std::optional<Change> read_change(ObjectKind kind, ByteView payload) {
    switch (kind) {
        case ObjectKind::domain:
            return read<remote::DomainEventCallbackLifecycleMsg>(payload, [](const auto& message) {
                return Change{message.msg.domain.uuid, message.msg.event};
            });
        case ObjectKind::network:
            return read<remote::NetworkEventLifecycleMsg>(payload, [](const auto& message) {
                return Change{message.network.uuid, message.event};
            });
        case ObjectKind::pool:
            return read<remote::StoragePoolEventLifecycleMsg>(payload, [](const auto& message) {
                return Change{message.pool.uuid, message.event};
            });
        case ObjectKind::secret:
            return read<remote::SecretEventLifecycleMsg>(payload, [](const auto& message) {
                return Change{message.secret.uuid, message.event};
            });
        default: return std::nullopt;
    }
}

std::uint32_t serial_of(const Row& row) noexcept {
    return static_cast<std::uint32_t>(&row - std::begin(k_rows)) + 1;
}

}  // namespace

ByteVector NamesFeed::start() {
    // The arguments of all registrations look the same: event 0, which is the lifecycle, and no object, which is all.
    const auto everything = proto::encode(remote::ConnectDomainEventCallbackRegisterAnyArgs{});
    require(everything.has_value(), "two numbers do not encode");
    ByteVector frames;
    for (const Row& row : k_rows) {
        const rpc::Header header =
            rpc::make_call(remote::k_program, remote::k_version, row.ask, serial_of(row));
        const ByteVector frame = rpc::make_frame(header, row.kind ? ByteView(*everything) : ByteView{});
        frames.insert(frames.end(), frame.begin(), frame.end());
        unanswered_ |= 1U << serial_of(row);
    }
    return frames;
}

bool NamesFeed::wants(const rpc::Header& header) noexcept {
    if (header.type == rpc::Type::reply || header.type == rpc::Type::reply_with_fds) return true;
    return header.type == rpc::Type::message &&
           std::any_of(std::begin(k_rows), std::end(k_rows),
                       [&](const Row& row) { return is(header, row.event); });
}

std::string_view NamesFeed::take(const rpc::Header& header, ByteView payload) {
    return header.type == rpc::Type::message ? take_event(header, payload) : take_reply(header, payload);
}

std::string_view NamesFeed::take_reply(const rpc::Header& header, ByteView payload) {
    const auto row = std::find_if(std::begin(k_rows), std::end(k_rows), [&](const Row& each) {
        return header.type == rpc::Type::reply && is(header, each.ask) && header.serial == serial_of(each);
    });
    if (row == std::end(k_rows) || (unanswered_ & 1U << serial_of(*row)) == 0)
        return "it answered what it was not asked";
    unanswered_ &= ~(1U << serial_of(*row));
    if (header.status == rpc::Status::error || !row->kind) return {};
    // The number of the registration, of all kinds. It is of use only to take it back.
    if (header.status != rpc::Status::ok ||
        !proto::decode<remote::ConnectDomainEventCallbackRegisterAnyRet>(payload))
        return "its answer to a registration does not decode";
    cache_.admit(*row->kind);
    return {};
}

std::string_view NamesFeed::take_event(const rpc::Header& header, ByteView payload) {
    const auto row = std::find_if(std::begin(k_rows), std::end(k_rows),
                                  [&](const Row& each) { return is(header, each.event); });
    require(row != std::end(k_rows), "an event that nobody wants");
    if (!row->kind) return "it lost its own connection";
    const auto change = read_change(*row->kind, payload);
    if (header.status != rpc::Status::ok || !change) return "an event of it does not decode";
    if (may_rename(*row->kind, change->event)) cache_.drop(*row->kind, change->uuid);
    return {};
}

}  // namespace virtgate::workerd::worker
