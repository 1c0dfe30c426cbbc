// SPDX-License-Identifier: LGPL-2.1-or-later
// keys - every setting of libvirt's daemons: its type, who reads it, and what becomes of it where nothing has to be converted.
#include "ctl/migrate/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace virtgate::ctl::migrate {

namespace {

constexpr auto k_unneeded = Outcome::unneeded;
constexpr auto k_stays = Outcome::stays;

constexpr std::string_view k_threads =
    "virtgate has no pool of threads. libvirt's daemon still has one, for virtgate's connections among "
    "others";
constexpr std::string_view k_admin = "the socket for virt-admin is libvirt's daemon's own";
constexpr std::string_view k_domains =
    "it is about the virtual machines, which libvirt's daemon goes on running";
constexpr std::string_view k_obsolete = "libvirt itself has not read it for a long time";
constexpr std::string_view k_audit =
    "libvirt's daemon goes on writing to the audit system; what virtgate decides is in \"virtgate audit\"";

constexpr Key k_keys[] = {
    {"access_drivers", Type::texts, false, {}, {}},
    {"admin_keepalive_count", Type::count, false, k_stays, k_admin},
    {"admin_keepalive_interval", Type::number, false, k_stays, k_admin},
    {"admin_keepalive_required", Type::count, false, k_unneeded, k_obsolete},
    {"admin_max_client_requests", Type::count, false, k_stays, k_admin},
    {"admin_max_clients", Type::count, false, k_stays, k_admin},
    {"admin_max_queued_clients", Type::count, false, k_stays, k_admin},
    {"admin_max_workers", Type::count, false, k_stays, k_admin},
    {"admin_min_workers", Type::count, false, k_stays, k_admin},
    {"audit_level", Type::count, false, k_stays, k_audit},
    {"audit_logging", Type::flag, false, k_stays, k_audit},
    {"auth_tcp", Type::text, true, {}, {}},
    {"auth_tls", Type::text, true, {}, {}},
    {"auth_unix_ro", Type::text, false, {}, {}},
    {"auth_unix_rw", Type::text, false, {}, {}},
    {"ca_file", Type::text, true, {}, {}},
    {"cert_file", Type::text, true, {}, {}},
    {"crl_file", Type::text, true, {}, {}},
    {"host_uuid", Type::text, false, k_stays, k_domains},
    {"host_uuid_source", Type::text, false, k_stays, k_domains},
    {"keepalive_count", Type::count, false, {}, {}},
    {"keepalive_interval", Type::number, false, {}, {}},
    {"keepalive_required", Type::count, false, k_unneeded, k_obsolete},
    {"key_file", Type::text, true, {}, {}},
    {"listen_addr", Type::text, true, {}, {}},
    {"listen_tcp", Type::flag, true, {}, {}},
    {"listen_tls", Type::flag, true, {}, {}},
    {"log_filters", Type::text, false, {}, {}},
    {"log_level", Type::count, false, {}, {}},
    {"log_outputs", Type::text, false, {}, {}},
    {"max_anonymous_clients", Type::count, false, {}, {}},
    {"max_client_requests", Type::count, false, {}, {}},
    {"max_clients", Type::count, false, {}, {}},
    {"max_queued_clients", Type::count, false, k_unneeded, "it is Backlog= of the socket units, 1024"},
    {"max_workers", Type::count, false, k_stays, k_threads},
    {"min_workers", Type::count, false, k_stays, k_threads},
    {"ovs_timeout", Type::count, false, k_stays, k_domains},
    {"prio_workers", Type::count, false, k_stays, k_threads},
    {"sasl_allowed_username_list", Type::texts, false, {}, {}},
    {"tcp_min_ssf", Type::count, true, {}, {}},
    {"tcp_port", Type::text, true, {}, {}},
    {"tls_allowed_dn_list", Type::texts, true, {}, {}},
    {"tls_no_sanity_certificate", Type::flag, true, k_unneeded,
     "virtgate reads its certificate, and does not judge it: \"virtgate pki check\" does"},
    {"tls_no_verify_certificate", Type::flag, true, {}, {}},
    {"tls_port", Type::text, true, {}, {}},
    {"tls_priority", Type::text, true, {}, {}},
    {"unix_sock_admin_perms", Type::mode, false, k_stays, k_admin},
    {"unix_sock_dir", Type::text, false, {}, {}},
    {"unix_sock_group", Type::text, false, {}, {}},
    {"unix_sock_ro_perms", Type::mode, false, {}, {}},
    {"unix_sock_rw_perms", Type::mode, false, {}, {}},
};

bool is_mode(const std::string& text) noexcept {
    return !text.empty() && text.size() <= 5 && text.find_first_not_of("01234567") == text.npos &&
           std::stoul(text, nullptr, 8) <= 0777;
}

std::string flaw_of_number(const Key& key, std::int64_t number) {
    if (key.type == Type::flag && number != 0 && number != 1)
        return fmt::format("\"{}\" has to be 0 or 1", key.name);
    const auto max = std::int64_t{std::numeric_limits<std::uint32_t>::max()};
    const auto min = key.type == Type::number ? std::int64_t{std::numeric_limits<std::int32_t>::min()} : 0;
    if (number < min || number > max)
        return fmt::format("\"{}\" has to be from {} to {}", key.name, min, max);
    return {};
}

}  // namespace

std::string_view word_for(Outcome outcome) noexcept {
    switch (outcome) {
        case Outcome::taken: return "taken over";
        case Outcome::unneeded: return "not needed";
        case Outcome::stays: return "stays in libvirt's file";
        case Outcome::open: return "to do";
    }
    return {};
}

std::span<const Key> keys() noexcept { return k_keys; }

const Key* find_key(std::string_view name) noexcept {
    const auto* found =
        std::find_if(std::begin(k_keys), std::end(k_keys), [&](const Key& key) { return key.name == name; });
    return found == std::end(k_keys) ? nullptr : found;
}

std::string flaw_of(const Key& key, const Entry& entry) {
    const auto* number = std::get_if<std::int64_t>(&entry.value);
    const auto* text = std::get_if<std::string>(&entry.value);
    switch (key.type) {
        case Type::flag:
        case Type::number:
        case Type::count:
            return number == nullptr ? fmt::format("\"{}\" has to be a number, without quotes", key.name)
                                     : flaw_of_number(key, *number);
        case Type::text:
            return text == nullptr ? fmt::format("\"{}\" has to be a text in quotes", key.name)
                                   : std::string{};
        case Type::mode:
            return text == nullptr || !is_mode(*text)
                       ? fmt::format("\"{}\" has to be an octal mode in quotes, such as \"0770\"", key.name)
                       : std::string{};
        case Type::texts:
            return std::holds_alternative<std::vector<Text>>(entry.value)
                       ? std::string{}
                       : fmt::format("\"{}\" has to be a list of texts in brackets", key.name);
    }
    return {};
}

}  // namespace virtgate::ctl::migrate
