// SPDX-License-Identifier: LGPL-2.1-or-later
// names - what libvirt's lists of names mean in a policy.
//
// libvirt compares a certificate's whole name, written in one line as in RFC 4514, with a pattern, in which "*" stands for commas as
// well: a certificate whose common name is "x,CN=admin" fits "*CN=admin*". A policy of virtgate compares single parts, so what can be
// said there is what has its wildcards inside of parts. The rest is not guessed at.
//
// Source: RFC 4514, sections 2 and 3; GnuTLS' names of attributes.
#pragma once

#include <string>
#include <string_view>

#include "libshared/base/result.h"

namespace virtgate::ctl::migrate {

struct Condition {
    std::string toml;   // `{ O = "Example", CN = "glob:web-*" }`, or `"glob:*@EXAMPLE.ORG"`
    bool has_wildcard;  // so that it is for more than one name
};

// An entry of tls_allowed_dn_list as a table of x509. Error: system's fault; says why there is no such table.
Result<Condition> convert_subject(std::string_view pattern);

// An entry of sasl_allowed_username_list as a text. Error: as above.
Result<Condition> convert_user(std::string_view pattern);

}  // namespace virtgate::ctl::migrate
