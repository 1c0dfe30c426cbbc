// SPDX-License-Identifier: LGPL-2.1-or-later
// rights - which programs and procedures one session can ever use.
//
// The broker decided this when it made the session (proto/who.x, struct ceiling); the gate refuses everything above
// it without a byte going further. What exactly is allowed on which object is for the worker to judge.
//
// Trust:  comes from the broker through doorman.
#pragma once

#include <vector>

#include "libshared/base/bytes.h"
#include "proto/programs.h"
#include "proto/who.h"

namespace virtgate::netd::gate {

class Rights {
public:
    // Programs in `ceiling` that this build does not know are left out.
    explicit Rights(const proto::who::Ceiling& ceiling);

    // The program number `program` in version `version`, if this session may use it at all; else null.
    [[nodiscard]] const proto::ProgramInfo* find(std::uint32_t program, std::uint32_t version) const noexcept;
    [[nodiscard]] bool may(const proto::ProgramInfo& program, std::uint32_t procedure) const noexcept;

private:
    struct Row {
        const proto::ProgramInfo* program = nullptr;
        ByteVector procedures;
    };
    std::vector<Row> rows_;
};

}  // namespace virtgate::netd::gate
