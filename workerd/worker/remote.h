// SPDX-License-Identifier: LGPL-2.1-or-later
// remote - the few procedures of libvirt's remote program that the worker itself knows.
//
// Everything else about programs and procedures comes from the schema.
#pragma once

#include "libshared/rpc/header.h"
#include "proto/remote.h"

namespace virtgate::workerd::worker {

// The flag of CONNECT_OPEN that means something. Clients set others, for themselves.
inline constexpr std::uint32_t k_open_read_only = 1;

// The feature of CONNECT_SUPPORTS_FEATURE that says whether descriptors can be passed.
inline constexpr std::int32_t k_feature_fd_passing = 8;

// True if `header` names this procedure of the remote program.
[[nodiscard]] inline bool is(const rpc::Header& header, proto::remote::Procedure procedure) noexcept {
    return header.program == proto::remote::k_program &&
           header.procedure == static_cast<std::uint32_t>(procedure);
}

// What is said of the remote program to the process of a program of others: what every connection needs. Nothing in it is
// about an object of libvirt's, and nothing passes descriptors.
[[nodiscard]] inline bool is_for_everybody(std::uint32_t procedure) noexcept {
    using proto::remote::Procedure;
    switch (static_cast<Procedure>(procedure)) {
        case Procedure::auth_list:
        case Procedure::connect_open:
        case Procedure::connect_close:
        case Procedure::connect_supports_feature:
        case Procedure::connect_get_uri:
        case Procedure::connect_get_type:
        case Procedure::connect_register_close_callback:
        case Procedure::connect_unregister_close_callback:
        case Procedure::connect_event_connection_closed: return true;
        default: return false;
    }
}

}  // namespace virtgate::workerd::worker
