// SPDX-License-Identifier: LGPL-2.1-or-later
// modules - every proto/*.x with its schema and the codecs of its types, for tests that go over all of them.
#pragma once

#include <span>
#include <string_view>

#include "proto/recode.h"
#include "proto/schema.h"

namespace virtgate::test {

struct ProtoModule {
    std::string_view name;  // "remote"
    const proto::Schema* schema;
    std::span<const proto::Recode> recoders;  // by type; null where a type is no structure or union
};

// In alphabetical order.
[[nodiscard]] std::span<const ProtoModule> proto_modules();

// The one of that name. Aborts if there is none.
[[nodiscard]] const ProtoModule& proto_module(std::string_view name);

}  // namespace virtgate::test
