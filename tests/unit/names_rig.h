// SPDX-License-Identifier: LGPL-2.1-or-later
// names_rig - what tests of names have in common: objects, and the events about them.
#pragma once

#include <criterion/criterion.h>

#include <string>

#include "libshared/rpc/header.h"
#include "policy/grant.h"
#include "proto/codec.h"
#include "proto/remote.h"

namespace virtgate::test {

using policy::ObjectKind;
using policy::Uuid;
using proto::remote::Procedure;
using rpc::Status;
using rpc::Type;
namespace remote = proto::remote;

inline constexpr ObjectKind k_kept[] = {ObjectKind::domain, ObjectKind::network, ObjectKind::pool,
                                        ObjectKind::secret};
inline constexpr std::int32_t k_defined = 0, k_undefined = 1, k_started = 2, k_suspended = 3, k_resumed = 4,
                              k_stopped = 5, k_shutdown = 6, k_pm_suspended = 7, k_crashed = 8;

inline Uuid uuid(unsigned number) {
    Uuid uuid{};
    store_be32(uuid.data() + 12, number);
    return uuid;
}
inline const Uuid k_web = uuid(1), k_other = uuid(2);

template <class T>
ByteVector encoded(const T& value) {
    auto bytes = proto::encode(value);
    cr_assert(bytes.has_value());
    return *bytes;
}

inline rpc::Header header(Procedure procedure, Type type, std::uint32_t serial = 1,
                          Status status = Status::ok) {
    return {
        remote::k_program, remote::k_version, static_cast<std::uint32_t>(procedure), type, serial, status};
}

// An event that something happened to the object.
inline ByteVector event(ObjectKind kind, const Uuid& which, std::int32_t what, std::string name = "web") {
    switch (kind) {
        case ObjectKind::domain:
            return rpc::make_frame(
                header(Procedure::domain_event_callback_lifecycle, Type::message),
                encoded(remote::DomainEventCallbackLifecycleMsg{7, {{std::move(name), which, -1}, what, 0}}));
        case ObjectKind::network:
            return rpc::make_frame(
                header(Procedure::network_event_lifecycle, Type::message),
                encoded(remote::NetworkEventLifecycleMsg{7, {std::move(name), which}, what, 0}));
        case ObjectKind::pool:
            return rpc::make_frame(
                header(Procedure::storage_pool_event_lifecycle, Type::message),
                encoded(remote::StoragePoolEventLifecycleMsg{7, {std::move(name), which}, what, 0}));
        default:
            return rpc::make_frame(
                header(Procedure::secret_event_lifecycle, Type::message),
                encoded(remote::SecretEventLifecycleMsg{7, {which, 1, std::move(name)}, what, 0}));
    }
}

}  // namespace virtgate::test
