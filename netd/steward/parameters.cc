// SPDX-License-Identifier: LGPL-2.1-or-later
// parameters - typed parameters of libvirt's admin program: how they are made, and how a few numbers are read from them.
#include "netd/steward/parameters.h"

#include <algorithm>
#include <charconv>

#include "libshared/base/bytes.h"

namespace virtgate::netd::steward {

namespace admin = proto::admin;
namespace control = proto::control;
using Value = admin::TypedParamValue;

namespace {

std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> words;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find(' ', at), text.size());
        if (end != at) words.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return words;
}

// What an output goes to: all behind "N:".
std::vector<std::string_view> targets_of(const std::vector<std::string_view>& outputs) {
    std::vector<std::string_view> targets;
    for (const std::string_view output : outputs)
        targets.push_back(output.substr(std::min<std::size_t>(2, output.size())));
    std::sort(targets.begin(), targets.end());
    return targets;
}

std::string_view word_of(control::Stage stage) noexcept {
    switch (stage) {
        case control::Stage::stage_arriving: return "arriving";
        case control::Stage::stage_login: return "login";
        case control::Stage::stage_session: return "session";
    }
    return "unknown";
}

}  // namespace

admin::TypedParam make_uint(std::string_view name, std::uint32_t value) {
    return {.field = std::string(name), .value = Value::make_unsigned_int(value)};
}
admin::TypedParam make_int(std::string_view name, std::int32_t value) {
    return {.field = std::string(name), .value = Value::make_signed_int(value)};
}
admin::TypedParam make_ullong(std::string_view name, std::uint64_t value) {
    return {.field = std::string(name), .value = Value::make_unsigned_hyper(value)};
}
admin::TypedParam make_boolean(std::string_view name, bool value) {
    return {.field = std::string(name), .value = Value::make_boolean(value ? 1 : 0)};
}
admin::TypedParam make_text(std::string_view name, std::string value) {
    return {.field = std::string(name), .value = Value::make_text(std::move(value))};
}

Parameters describe_client(const control::Connection& connection) {
    Parameters list{make_boolean("readonly", connection.read_only)};
    // libvirt's own words, as far as they are known.
    if (!connection.login.empty()) list.push_back(make_text("sasl_user_name", escape(connection.login)));
    if (connection.local) {
        list.push_back(make_int("unix_user_id", static_cast<std::int32_t>(connection.local->uid)));
        if (!connection.user.empty()) list.push_back(make_text("unix_user_name", escape(connection.user)));
        list.push_back(make_int("unix_group_id", static_cast<std::int32_t>(connection.local->gid)));
        if (!connection.group.empty()) list.push_back(make_text("unix_group_name", escape(connection.group)));
        list.push_back(make_int("unix_process_id", static_cast<std::int32_t>(connection.local->pid)));
    } else {
        list.push_back(make_text("sock_addr", escape(connection.source)));
        if (!connection.certificate.empty())
            list.push_back(make_text("tls_x509_dname", escape(connection.certificate)));
    }
    list.push_back(make_text("virtgate_stage", std::string(word_of(connection.stage))));
    if (connection.session != 0) {
        list.push_back(make_ullong("virtgate_session", connection.session));
        list.push_back(make_text("virtgate_identity", escape(connection.identity)));
    }
    list.push_back(make_uint("virtgate_gate", connection.gate));
    list.push_back(make_ullong("virtgate_calls", connection.calls));
    list.push_back(make_uint("virtgate_open_calls", connection.open_calls));
    list.push_back(make_uint("virtgate_open_streams", connection.open_streams));
    list.push_back(make_ullong("virtgate_bytes_in", connection.bytes_in));
    list.push_back(make_ullong("virtgate_bytes_out", connection.bytes_out));
    return list;
}

Result<control::ClientBounds> change_bounds(control::ClientBounds bounds, const Parameters& parameters) {
    std::vector<std::string_view> seen;
    for (const admin::TypedParam& one : parameters) {
        if (std::find(seen.begin(), seen.end(), one.field) != seen.end())
            return peer_fault(fmt::format("{} is given twice", escape(one.field, 80)));
        seen.push_back(one.field);
        std::uint32_t* const bound = one.field == "nclients_max"          ? &bounds.connections
                                     : one.field == "nclients_unauth_max" ? &bounds.arrivals
                                                                          : nullptr;
        if (bound == nullptr)
            return peer_fault(fmt::format("there is no limit {} that can be set", escape(one.field, 80)));
        if (one.value.value.index() != Value::unsigned_int)
            return peer_fault(fmt::format("{} has to be an unsigned int", one.field));
        *bound = std::get<Value::unsigned_int>(one.value.value);
    }
    return bounds;
}

Result<std::uint32_t> read_level(std::string_view wanted, std::string_view present) {
    const auto words = words_of(wanted);
    if (words.empty() || targets_of(words) != targets_of(words_of(present)))
        return peer_fault(
            fmt::format("where the log goes is changed by log_outputs in netd.toml and a new start; here "
                        "only its level can be: {}",
                        present));
    const char digit = words.front().front();
    for (const std::string_view word : words) {
        if (word.size() < 3 || word[0] < '1' || word[0] > '4' || word[1] != ':')
            return peer_fault("an output begins with a level from 1 to 4 and a colon");
        if (word[0] != digit) return peer_fault("all outputs have the same level here");
    }
    return static_cast<std::uint32_t>(digit - '1');
}

std::uint32_t count_words(std::string_view text) { return static_cast<std::uint32_t>(words_of(text).size()); }

std::uint64_t number_of_version(std::string_view version) {
    std::uint64_t number = 0;
    for (int part = 0; part < 3; ++part) {
        std::uint64_t value = 0;
        const auto [end, error] = std::from_chars(version.data(), version.data() + version.size(), value);
        if (error != std::errc{}) value = 0;
        number = number * 1000 + value;
        const std::size_t dot = version.find('.');
        version = dot == version.npos ? std::string_view{} : version.substr(dot + 1);
    }
    return number;
}

}  // namespace virtgate::netd::steward
