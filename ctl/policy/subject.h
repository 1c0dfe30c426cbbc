// SPDX-License-Identifier: LGPL-2.1-or-later
// subject - the name in a certificate, as people write it and as tools print it: RFC 4514.
//
//     CN=alice,O=Acme          CN=alice, O="Acme, Inc."         CN=Acme\, Inc.+UID=7\2c8
//
// Blanks around attributes and values mean nothing. A value in quotes is RFC 2253's older form, which others still print.
//
// Source: RFC 4514 sections 2 and 3; RFC 2253 section 4 for quotes.
#pragma once

#include <string_view>
#include <vector>

#include "libshared/base/result.h"
#include "proto/who.h"

namespace virtgate::ctl::policy {

// The parts of `text` in its order, with the policy's names of attributes. Error: peer's fault, with what is wrong.
[[nodiscard]] Result<std::vector<proto::who::NamePart>> parse_subject(std::string_view text);

}  // namespace virtgate::ctl::policy
