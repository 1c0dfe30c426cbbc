// SPDX-License-Identifier: LGPL-2.1-or-later
// failures - the errors that clients of the store get, with libvirt's codes.
#include "workerd/store/failures.h"

#include <fmt/format.h>

#include <cctype>
#include <cstring>

#include "libshared/base/bytes.h"

namespace virtgate::workerd::store {

namespace {

constexpr int k_domain_storage = 18;
constexpr int k_code_xml = 27;
constexpr int k_code_no_pool = 49;
constexpr int k_code_no_volume = 50;
constexpr int k_code_not_offered = 67;
constexpr int k_code_volume_exists = 90;

// `pattern` has one %s, at its end.
rpc::Failure make(int code, std::string_view pattern, std::string detail) {
    const std::string_view front = pattern.substr(0, pattern.size() - 2);
    return {.code = code,
            .domain = k_domain_storage,
            .message = std::string(front) + detail,
            .pattern = std::string(pattern),
            .detail = std::move(detail)};
}

rpc::Failure no_pool(std::string detail) {
    return make(k_code_no_pool, "Storage pool not found: %s", std::move(detail));
}
rpc::Failure no_volume(std::string detail) {
    return make(k_code_no_volume, "Storage volume not found: %s", std::move(detail));
}

}  // namespace

std::string to_text(const Uuid& uuid) {
    std::string hex = to_hex(uuid);
    for (const std::size_t at : {8U, 13U, 18U, 23U}) hex.insert(at, 1, '-');
    return hex;
}

rpc::Failure no_pool_named(std::string_view name) {
    return no_pool(fmt::format("no storage pool with matching name '{}'", name));
}
rpc::Failure no_pool_of(const Uuid& uuid, std::string_view name) {
    return no_pool(name.empty()
                       ? fmt::format("no storage pool with matching uuid '{}'", to_text(uuid))
                       : fmt::format("no storage pool with matching uuid '{}' ({})", to_text(uuid), name));
}
rpc::Failure no_pool_at(std::string_view path) {
    return no_pool(fmt::format("no storage pool with matching target path '{}'", path));
}
rpc::Failure no_volume_named(std::string_view name) {
    return no_volume(fmt::format("no storage vol with matching name '{}'", name));
}
rpc::Failure no_volume_with_key(std::string_view key) {
    return no_volume(fmt::format("no storage vol with matching key {}", key));
}
rpc::Failure no_volume_at(std::string_view path) {
    return no_volume(fmt::format("no storage vol with matching path '{}'", path));
}

rpc::Failure is_invalid(std::string detail) {
    return make(rpc::k_code_operation_invalid, "Requested operation is not valid: %s", std::move(detail));
}
rpc::Failure is_bad(std::string detail) {
    return make(rpc::k_code_invalid_argument, "invalid argument: %s", std::move(detail));
}
rpc::Failure has_failed(std::string detail) {
    return make(rpc::k_code_operation_failed, "operation failed: %s", std::move(detail));
}
rpc::Failure is_busy(std::string detail) {
    return make(rpc::k_code_resource_busy, "resource busy: %s", std::move(detail));
}
rpc::Failure is_bad_xml(std::string detail) { return make(k_code_xml, "XML error: %s", std::move(detail)); }
rpc::Failure is_not_offered(std::string detail) {
    return make(k_code_not_offered, "unsupported configuration: %s", std::move(detail));
}
rpc::Failure exists_already(std::string detail) {
    return make(k_code_volume_exists, "storage volume already exists: %s", std::move(detail));
}
rpc::Failure only_reads(std::string_view function) {
    return make(rpc::k_code_operation_denied, "operation forbidden: %s",
                fmt::format("read only access prevents {}", function));
}
rpc::Failure has_unknown_flags(std::uint32_t flags, std::string_view function) {
    return is_bad(fmt::format("unsupported flags (0x{:x}) in function {}", flags, function));
}

rpc::Failure system_failure(int number, std::string_view what) {
    return {.code = rpc::k_code_system,
            .domain = k_domain_storage,
            .message = fmt::format("{}: {}", what, std::strerror(number)),
            .pattern = "%s",
            .detail = {},
            .int1 = number};
}

rpc::Failure is_not_served(std::string_view function) {
    return make(rpc::k_code_no_support, "this function is not supported by the connection driver: %s",
                std::string(function));
}

std::string function_of(std::string_view procedure) {
    std::string name = "vir";
    bool is_first = true;
    for (const char c : procedure) {
        if (c == '_') {
            is_first = true;
            continue;
        }
        name += is_first ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
        is_first = false;
    }
    return name;
}

}  // namespace virtgate::workerd::store
