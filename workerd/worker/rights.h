// SPDX-License-Identifier: LGPL-2.1-or-later
// rights - may this session make this call?
//
// The one place where the worker judges meaning; form was judged before (vet.h). Today it knows procedures;
// rules on objects and flags read them from the payload, which is whole and valid when it comes here.
//
// Trust:  the ceiling comes from the broker. The gate has checked it too, but the gate is exposed and may
//         lie.
// Limits: those of the ceiling's type. Judging allocates nothing.
// Owns:   a copy of the ceiling.
#pragma once

#include <string_view>

#include "libshared/rpc/header.h"
#include "proto/who.h"

namespace virtgate::workerd::worker {

struct Verdict {
    bool allowed = false;
    std::string_view reason{};  // of a refusal; for the client, static text
};

class Rights {
public:
    explicit Rights(proto::who::Ceiling ceiling) noexcept;

    // Judges the call with `header` and the valid arguments `payload`.
    [[nodiscard]] Verdict judge(const rpc::Header& header, ByteView payload) const noexcept;

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
