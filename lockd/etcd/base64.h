// SPDX-License-Identifier: LGPL-2.1-or-later
// base64 - bytes in the text of JSON, as etcd's gateway writes keys and values.
//
// Source: RFC 4648, section 4, with padding.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace virtgate::lockd::etcd {

[[nodiscard]] std::string encode_base64(std::string_view bytes);

// None if `text` is not exactly what encode_base64() would write for some bytes.
[[nodiscard]] std::optional<std::string> decode_base64(std::string_view text);

}  // namespace virtgate::lockd::etcd
