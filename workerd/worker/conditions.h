// SPDX-License-Identifier: LGPL-2.1-or-later
// conditions - what a call needs besides the policy's permission: a connection for writing, a way for descriptors.
//
// Trust:  arguments have passed validate(); the number of descriptors is what came.
// Limits: pure; allocates nothing unless the answer is no.
// Source: the annotations of proto/*.x; what libvirt itself refuses on a read-only connection, reviewed.
#pragma once

#include <string>

#include "libshared/base/bytes.h"
#include "proto/program.h"

namespace virtgate::workerd::worker {

struct Verdict {
    bool allowed = true;
    // Of a refusal, for the client.
    int code = 0;
    int domain = 0;
    std::string reason{};
};

// Judges that a call of `procedure` brings `fds` descriptors, and may be answered with some. Only a local
// client can pass them.
[[nodiscard]] Verdict judge_fds(const proto::ProcedureInfo& procedure, std::size_t fds, bool is_local);

// Judges a call of `procedure` of `program` with the valid arguments `payload` on a connection for reading.
// libvirt does it too; here it holds whatever the daemon is.
[[nodiscard]] Verdict judge_reading(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure,
                                    ByteView payload);

}  // namespace virtgate::workerd::worker
