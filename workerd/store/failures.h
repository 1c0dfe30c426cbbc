// SPDX-License-Identifier: LGPL-2.1-or-later
// failures - the errors that clients of the store get, with libvirt's codes.
//
// Source: libvirt's public error codes and the templates of their texts; where something does not exist, the words are
//         those that the worker uses to hide an object (workerd/worker/filter_errors.h), or hiding would show.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "libshared/base/result.h"
#include "libshared/rpc/error.h"

namespace virtgate::workerd::store {

template <class T>
using Answer = tl::expected<T, rpc::Failure>;

using Uuid = std::array<std::byte, 16>;
// With hyphens.
[[nodiscard]] std::string to_text(const Uuid& uuid);

[[nodiscard]] rpc::Failure no_pool_named(std::string_view name);
[[nodiscard]] rpc::Failure no_pool_of(const Uuid& uuid, std::string_view name);
[[nodiscard]] rpc::Failure no_pool_at(std::string_view path);
[[nodiscard]] rpc::Failure no_volume_named(std::string_view name);
[[nodiscard]] rpc::Failure no_volume_with_key(std::string_view key);
[[nodiscard]] rpc::Failure no_volume_at(std::string_view path);

[[nodiscard]] rpc::Failure is_invalid(std::string detail);  // operation invalid: not in this state
[[nodiscard]] rpc::Failure is_bad(std::string detail);      // invalid argument
[[nodiscard]] rpc::Failure has_failed(std::string detail);  // operation failed
[[nodiscard]] rpc::Failure is_busy(std::string detail);     // somebody else is at it
[[nodiscard]] rpc::Failure is_bad_xml(std::string detail);  // the document is none
[[nodiscard]] rpc::Failure is_not_offered(
    std::string detail);  // the document asks for what there is not here
[[nodiscard]] rpc::Failure exists_already(std::string detail);  // of volumes
[[nodiscard]] rpc::Failure only_reads(std::string_view function);
[[nodiscard]] rpc::Failure has_unknown_flags(std::uint32_t flags, std::string_view function);
// A system call; `number` is errno.
[[nodiscard]] rpc::Failure system_failure(int number, std::string_view what);

// As libvirt's daemons say it of a driver that lacks the function.
[[nodiscard]] rpc::Failure is_not_served(std::string_view function);
// The function of libvirt's library that makes a call: "storage_pool_build" is virStoragePoolBuild.
[[nodiscard]] std::string function_of(std::string_view procedure);

[[nodiscard]] inline tl::unexpected<rpc::Failure> refuse(rpc::Failure failure) {
    return tl::make_unexpected(std::move(failure));
}

}  // namespace virtgate::workerd::store
