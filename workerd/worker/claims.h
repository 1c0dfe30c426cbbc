// SPDX-License-Identifier: LGPL-2.1-or-later
// claims - what a call says that it is about, and what that is.
//
// Most objects travel with both a name and a uuid, and libvirt goes by the uuid. So a claim comes with a question to
// the daemon that finds out what the object is called; the answer is what the call is judged by.
//
// Source: the annotations of proto/*.x; which arguments are files of the host or places to migrate to is our own
//         reading of libvirt's documentation, as in policy/touch.cc. Drivers go by the uuid except test:///, which goes
//         by the name of networks and pools.
// Trust:  calls and answers have passed validate(); what a call says is the client's word, an answer is believed.
// Limits: one string is copied for each name.
// Owns:   the names.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libshared/base/bytes.h"
#include "policy/rights.h"
#include "proto/net.h"
#include "proto/program.h"
#include "workerd/worker/filter_errors.h"

namespace virtgate::workerd::worker {

struct Claim {
    policy::ObjectKind kind = policy::ObjectKind::domain;
    std::optional<Shape> shape{};  // none: a path, a place to migrate to, or the new name of a domain
    // As the client calls it.
    std::string name{}, own_name{}, pool{}, detail{};
    std::optional<policy::Uuid> uuid{};
    // The call of the remote program that tells what it is, or null if it is what it is called; and the code of the
    // error that says that there is none.
    const proto::ProcedureInfo* question = nullptr;
    int absent = 0;
    bool is_known = false;  // the following two are what libvirt will act on
    // As libvirt calls it, and so what it is judged as. Without a question it is what the client calls it.
    std::string true_name{};
    std::optional<policy::Uuid> true_uuid{};

    // Views of this claim.
    [[nodiscard]] policy::Object object() const noexcept { return {kind, true_name, true_uuid}; }
};

struct Claims {
    std::vector<Claim> list{};
    // The kinds of objects that the call is also about, without saying which.
    policy::KindMask unknown = 0;
};
[[nodiscard]] Claims read_claims(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure,
                                 ByteView args, Driver driver);

// Where the arguments have the field of that name; not present without one.
[[nodiscard]] proto::Found find_argument(const proto::ProgramInfo& program,
                                         const proto::ProcedureInfo& procedure, ByteView args,
                                         std::string_view field) noexcept;

// The argument `flags`; 0 if the procedure has none.
[[nodiscard]] std::uint64_t read_flags(const proto::ProgramInfo& program,
                                       const proto::ProcedureInfo& procedure, ByteView args) noexcept;

// True if it is its uuid that the claim's question is about.
[[nodiscard]] bool asks_by_uuid(const Claim& claim) noexcept;

// The arguments of the claim's question, and what its answer says. False if the answer is about something else.
[[nodiscard]] ByteVector make_question(const Claim& claim);
[[nodiscard]] bool take_answer(Claim& claim, ByteView answer);

// What libvirt would say if the object, which has a shape, was not there. `has_pool`: of a volume.
[[nodiscard]] proto::net::Error not_there(Driver driver, const Claim& claim, bool has_pool);

}  // namespace virtgate::workerd::worker
