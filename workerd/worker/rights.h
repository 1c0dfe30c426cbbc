// SPDX-License-Identifier: LGPL-2.1-or-later
// rights - may this session make this call?
//
// The one place where the worker judges meaning; form was judged before (vet.h). Today it knows procedures,
// and what may be called on a connection for reading; rules on objects and flags read them from the payload,
// which is whole and valid when it comes here.
//
// Trust:  the ceiling comes from the broker. The gate has checked it too, but the gate is exposed and may
//         lie.
// Limits: those of the ceiling's type. Judging allocates nothing unless the answer is no.
// Owns:   a copy of the ceiling.
#pragma once

#include <string>

#include "libshared/rpc/header.h"
#include "proto/program.h"
#include "proto/who.h"

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

class Rights {
public:
    explicit Rights(proto::who::Ceiling ceiling) noexcept;

    // Judges the call with `header` and the valid arguments `payload`.
    [[nodiscard]] Verdict judge(const rpc::Header& header, ByteView payload) const;

    // The refusal of a call that the policy does not allow at all.
    [[nodiscard]] static Verdict refuse();

    // Judges a call of `procedure` of `program` with the valid arguments `payload` on a connection for
    // reading. libvirt does it too; here it holds whatever the daemon is.
    [[nodiscard]] static Verdict judge_reading(const proto::ProgramInfo& program,
                                               const proto::ProcedureInfo& procedure, ByteView payload);

    // True if the session may use that program at all: then it may get its events, too.
    [[nodiscard]] bool has_program(const rpc::Header& header) const noexcept {
        return find(header) != nullptr;
    }

private:
    [[nodiscard]] const proto::who::ProgramCeiling* find(const rpc::Header& header) const noexcept;
    [[nodiscard]] bool reaches(const rpc::Header& header) const noexcept;

    proto::who::Ceiling ceiling_;
};

}  // namespace virtgate::workerd::worker
