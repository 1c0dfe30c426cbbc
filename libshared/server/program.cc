// SPDX-License-Identifier: LGPL-2.1-or-later
// program - the procedures of one program in one version, each with its handler.
#include "libshared/server/program.h"

namespace virtgate::server {

namespace {

// libvirt's programs number their procedures from 1 on without gaps; the largest has some 450.
constexpr std::uint32_t k_procedure_max = 4096;

}  // namespace

void Program::add(std::uint32_t procedure, void* object, Invoke invoke) {
    require(procedure <= k_procedure_max && !has(procedure),
            "a procedure is served twice, or has a strange number");
    if (entries_.size() <= procedure) entries_.resize(procedure + 1);
    entries_[procedure] = {object, invoke};
}

bool Program::has(std::uint32_t procedure) const noexcept {
    return procedure < entries_.size() && entries_[procedure].invoke != nullptr;
}

bool Program::invoke(std::uint32_t procedure, Client& client, ByteView payload, Call& call) const noexcept {
    const Entry& entry = entries_[procedure];
    return entry.invoke(entry.object, client, payload, call);
}

}  // namespace virtgate::server
