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

}  // namespace virtgate::workerd::worker
