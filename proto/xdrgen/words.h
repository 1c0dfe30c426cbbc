// SPDX-License-Identifier: LGPL-2.1-or-later
// words - what annotations may say: libvirt's objects, permissions, drivers and event families.
#pragma once

#include <string_view>
#include <vector>

namespace virtgate::proto::xdrgen {

// The objects of libvirt's access control, such as "domain".
[[nodiscard]] const std::vector<std::string_view>& known_objects();

// The permissions of `object`; empty if there is no such object.
[[nodiscard]] const std::vector<std::string_view>& known_permissions(std::string_view object);

// Objects that only messages speak of: the above, and domain_snapshot, domain_checkpoint.
[[nodiscard]] const std::vector<std::string_view>& known_places();

[[nodiscard]] const std::vector<std::string_view>& known_drivers();
[[nodiscard]] const std::vector<std::string_view>& known_families();

// How a key names its object (@key ... as HOW).
[[nodiscard]] const std::vector<std::string_view>& known_hows();

// True if `name` is a word of C++ that cannot be an identifier.
[[nodiscard]] bool is_cxx_word(std::string_view name);

// True if an integer called `name` looks like a number of things, bytes or elements. The name's words are what
// underscores separate. It is, if
//   - a word is n, num, number, max, maximum, count, counts, len, length, size, sizes, limit, limits, total, quantity
//     or entries, or starts with max or num, or ends with count, len, length, size or limit; or
//   - the first word is n before a consonant (nparams), or starts with n and ends with s (nitems).
[[nodiscard]] bool is_count_like(std::string_view name);

}  // namespace virtgate::proto::xdrgen
