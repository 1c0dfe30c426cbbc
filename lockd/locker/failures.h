// SPDX-License-Identifier: LGPL-2.1-or-later
// failures - what clients of the lock program are told, with the codes of virtlockd.
//
// A code's template, its detail and its errno travel beside the whole text: clients look at any of them.
//
// Trust:  names in texts are clients'; they go back to clients as they came. For a log they have to be escaped.
// Source: docs/protocol.md, the lock program. Where virtlockd has no words for something, the words are ours.
#pragma once

#include <cstdint>
#include <string_view>

#include "libshared/base/result.h"
#include "libshared/rpc/error.h"

namespace virtgate::lockd::locker {

// What a client may be told about how its call went.
template <class T>
using Answer = tl::expected<T, rpc::Failure>;

// About the connection, in the order in which they are checked.
[[nodiscard]] rpc::Failure unsupported_flags(std::uint32_t flags, std::string_view procedure);
[[nodiscard]] rpc::Failure is_restricted();
[[nodiscard]] rpc::Failure not_registered();

// About lock spaces.
[[nodiscard]] rpc::Failure default_space_exists();
[[nodiscard]] rpc::Failure space_exists(std::string_view path);
[[nodiscard]] rpc::Failure no_such_space(std::string_view path);

// About resources.
[[nodiscard]] rpc::Failure is_locked(std::string_view name);
// The same with who has it, in words.
[[nodiscard]] rpc::Failure is_locked(std::string_view name, std::string_view holder);
// The same for somebody who may know whom to ask: the detail is `holder` alone.
[[nodiscard]] rpc::Failure is_in_use(std::string_view name, std::string_view holder);
// An identity has as many as it may have.
[[nodiscard]] rpc::Failure has_too_many(std::string_view identity, std::size_t most);
// It was lost while somebody had it, who has not ended yet.
[[nodiscard]] rpc::Failure was_lost(std::string_view name);
[[nodiscard]] rpc::Failure is_not_locked(std::string_view name);
[[nodiscard]] rpc::Failure is_not_owner(std::uint32_t process);

// To whom administers locks.
[[nodiscard]] rpc::Failure is_held_by_nobody(std::string_view name);
[[nodiscard]] rpc::Failure is_held_by_others(std::string_view name);

// Nobody can say now whether it is free.
[[nodiscard]] rpc::Failure unavailable(std::string_view what);
// Something that is not allowed here by configuration. `domain`: k_domain_rpc or k_domain_lock_space.
[[nodiscard]] rpc::Failure forbidden(std::string_view what, int domain);
// A system call that failed with `number` (errno): "`what`: its description".
[[nodiscard]] rpc::Failure system_failure(int number, std::string_view what);
// The same with our own description of what it means here.
[[nodiscard]] rpc::Failure system_failure(int number, std::string_view what, std::string_view reason);
// What the holder answered, or what else is wrong inside: an administrator finds it in the log.
[[nodiscard]] rpc::Failure internal(std::string_view what);

}  // namespace virtgate::lockd::locker
