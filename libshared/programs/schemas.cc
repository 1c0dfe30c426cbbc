// SPDX-License-Identifier: LGPL-2.1-or-later
// schemas - how a process gets to know programs of others.
#include "libshared/programs/schemas.h"

#include "proto/programs.h"

namespace virtgate::programs {

Done add_schemas(const std::vector<ByteVector>& schemas) {
    for (const ByteVector& schema : schemas)
        if (const auto added = proto::add_programs(schema); !added)
            return system_fault(0, fmt::format("a program of programs.d: {}", added.error()));
    return {};
}

}  // namespace virtgate::programs
