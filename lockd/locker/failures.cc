// SPDX-License-Identifier: LGPL-2.1-or-later
// failures - what clients of the lock program are told, with the codes of virtlockd.
#include "lockd/locker/failures.h"

#include <cstring>

namespace virtgate::lockd::locker {

namespace {

struct Kind {
    int code;
    std::string_view words;  // of libvirt for that code: what its client library shows in front of a detail
};
constexpr Kind k_operation_invalid{rpc::k_code_operation_invalid, "Requested operation is not valid: "};
constexpr Kind k_operation_denied{rpc::k_code_operation_denied, "operation forbidden: "};
constexpr Kind k_resource_busy{rpc::k_code_resource_busy, "resource busy: "};
constexpr Kind k_operation_failed{rpc::k_code_operation_failed, "operation failed: "};
constexpr Kind k_internal{rpc::k_code_internal, "internal error: "};

rpc::Failure make(const Kind& kind, int domain, std::string detail) {
    return {.code = kind.code,
            .domain = domain,
            .message = std::string(kind.words) + detail,
            .pattern = std::string(kind.words) + "%s",
            .detail = std::move(detail)};
}

// About a lock, with what `pattern` says of it.
template <class... Words>
rpc::Failure about_lock(const Kind& kind, fmt::format_string<Words...> pattern, Words&&... words) {
    return make(kind, rpc::k_domain_lock_space, fmt::format(pattern, std::forward<Words>(words)...));
}

// About the way in which the call was made.
template <class... Words>
rpc::Failure about_call(const Kind& kind, fmt::format_string<Words...> pattern, Words&&... words) {
    return make(kind, rpc::k_domain_rpc, fmt::format(pattern, std::forward<Words>(words)...));
}

}  // namespace

rpc::Failure unsupported_flags(std::uint32_t flags, std::string_view procedure) {
    // Of this code the parts are where it happened and what it was about, and no errno.
    return {.code = rpc::k_code_invalid_argument,
            .domain = rpc::k_domain_rpc,
            .message = fmt::format("unsupported flags ({:#x}) in {}", flags, procedure),
            .pattern = std::string(procedure),
            .detail = "flags",
            .int1 = 0,
            .int2 = 0};
}

rpc::Failure is_restricted() {
    return about_call(k_operation_denied, "lock manager connection has been restricted");
}

rpc::Failure not_registered() {
    return about_call(k_operation_invalid, "lock owner details have not been registered");
}

rpc::Failure default_space_exists() {
    return about_call(k_operation_invalid, "the default lockspace already exists");
}

rpc::Failure space_exists(std::string_view path) {
    return about_call(k_internal, "Lockspace for path {} already exists", path);
}

rpc::Failure no_such_space(std::string_view path) {
    return about_call(k_internal, "Lockspace for path {} does not exist", path);
}

rpc::Failure is_locked(std::string_view name) {
    return about_lock(k_resource_busy, "Lockspace resource '{}' is locked", name);
}

rpc::Failure is_locked(std::string_view name, std::string_view holder) {
    return about_lock(k_resource_busy, "Lockspace resource '{}' is locked: {}", name, holder);
}

rpc::Failure is_in_use(std::string_view name, std::string_view holder) {
    rpc::Failure failure = is_locked(name, holder);
    failure.detail = holder;
    return failure;
}

rpc::Failure has_too_many(std::string_view identity, std::size_t most) {
    return about_lock(k_operation_failed,
                      "{} has {} locks, and may not have more: locks_per_identity in lockd.toml", identity,
                      most);
}

rpc::Failure was_lost(std::string_view name) {
    return about_lock(k_resource_busy, "the lock on '{}' was lost, and who had it has not ended yet", name);
}

rpc::Failure unavailable(std::string_view what) {
    return make(k_operation_failed, rpc::k_domain_lock_space, std::string(what));
}

rpc::Failure is_not_locked(std::string_view name) {
    return about_lock(k_resource_busy, "Lockspace resource '{}' is not locked", name);
}

rpc::Failure is_not_owner(std::uint32_t process) {
    return about_lock(k_internal, "owner {} does not hold the resource lock", process);
}

rpc::Failure is_held_by_nobody(std::string_view name) {
    return about_lock(k_operation_invalid, "nobody holds a lock on '{}'", name);
}

rpc::Failure is_held_by_others(std::string_view name) {
    return about_lock(k_operation_invalid, "others hold the lock on '{}', not the owner with this UUID",
                      name);
}

rpc::Failure forbidden(std::string_view what, int domain) {
    return make(k_operation_denied, domain, std::string(what));
}

rpc::Failure system_failure(int number, std::string_view what) {
    return system_failure(number, what, std::strerror(number));
}

rpc::Failure system_failure(int number, std::string_view what, std::string_view reason) {
    return {.code = rpc::k_code_system,
            .domain = rpc::k_domain_lock_space,
            .message = fmt::format("{}: {}", what, reason),
            .int1 = number};
}

rpc::Failure internal(std::string_view what) {
    return make(k_internal, rpc::k_domain_lock_space, std::string(what));
}

}  // namespace virtgate::lockd::locker
