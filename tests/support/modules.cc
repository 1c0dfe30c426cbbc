// SPDX-License-Identifier: LGPL-2.1-or-later
// modules - every proto/*.x with its schema and the codecs of its types.
#include "tests/support/modules.h"

#include <vector>

#include "libshared/base/result.h"

// test/modules.def has one line MODULE(name) for each proto/name.x; make writes it.
#define MODULE(name)                    \
    namespace virtgate::proto::name {   \
    const Schema& schema();             \
    std::span<const Recode> recoders(); \
    }
#include "test/modules.def"
#undef MODULE

namespace virtgate::test {

std::span<const ProtoModule> proto_modules() {
    static const std::vector<ProtoModule> k_modules{
#define MODULE(name) {#name, &proto::name::schema(), proto::name::recoders()},
#include "test/modules.def"
#undef MODULE
    };
    return k_modules;
}

const ProtoModule& proto_module(std::string_view name) {
    for (const ProtoModule& module : proto_modules())
        if (module.name == name) return module;
    panic("no proto module of that name");
}

}  // namespace virtgate::test
