// SPDX-License-Identifier: LGPL-2.1-or-later
// parameters - typed parameters of libvirt's admin program: how they are made, and how a few numbers are read from them.
//
// Pure.
#pragma once

#include <span>
#include <string_view>

#include "libshared/base/result.h"
#include "proto/admin.h"
#include "proto/control.h"

namespace virtgate::netd::steward {

using Parameters = std::vector<proto::admin::TypedParam>;

[[nodiscard]] proto::admin::TypedParam make_uint(std::string_view name, std::uint32_t value);
[[nodiscard]] proto::admin::TypedParam make_int(std::string_view name, std::int32_t value);
[[nodiscard]] proto::admin::TypedParam make_ullong(std::string_view name, std::uint64_t value);
[[nodiscard]] proto::admin::TypedParam make_boolean(std::string_view name, bool value);
[[nodiscard]] proto::admin::TypedParam make_text(std::string_view name, std::string value);

// What is known of a client. Beside libvirt's names there are some of virtgate's own.
[[nodiscard]] Parameters describe_client(const proto::control::Connection& connection);

// `bounds` with what `parameters` say of nclients_max and nclients_unauth_max. Error: peer's fault: an unknown name, a wrong
// type, one name twice.
[[nodiscard]] Result<proto::control::ClientBounds> change_bounds(proto::control::ClientBounds bounds,
                                                                 const Parameters& parameters);

// The level that `wanted` sets, as the outputs of a log ("2:stderr 2:journald"). What it goes to has to be what it goes to
// now, in `present`. Error: peer's fault.
[[nodiscard]] Result<std::uint32_t> read_level(std::string_view wanted, std::string_view present);

// How many words, separated by spaces.
[[nodiscard]] std::uint32_t count_words(std::string_view text);

// libvirt's number of a version: "1.2.3" is 1002003.
[[nodiscard]] std::uint64_t number_of_version(std::string_view version);

}  // namespace virtgate::netd::steward
