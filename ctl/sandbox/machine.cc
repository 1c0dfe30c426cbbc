// SPDX-License-Identifier: LGPL-2.1-or-later
// machine - what this kernel has of what a confinement is made of.
#include "ctl/sandbox/machine.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>

#include "libshared/confine/filter.h"
#include "libshared/confine/landlock.h"
#include "libshared/confine/namespaces.h"

namespace virtgate::ctl::sandbox {

namespace {

// Newer than the headers of the oldest system that we build on.
constexpr int k_get_mdwe = 66;
constexpr long k_mseal = 462;

// Which ABI of Landlock covers what. Source: landlock(7).
constexpr int k_abi_files = 3;
constexpr int k_abi_tcp = 4;
constexpr int k_abi_scope = 6;

}  // namespace

Result<Machine> find_machine() {
    utsname name{};
    if (uname(&name) < 0) return system_fault(errno, "cannot find out which kernel this is");
    const auto abi = confine::find_landlock_abi();
    if (!abi) return tl::unexpected(abi.error());
    auto not_alone = confine::find_why_not_alone();
    if (!not_alone) return tl::unexpected(std::move(not_alone.error()));
    // Sealing nothing changes nothing.
    const bool seals = syscall(k_mseal, 0UL, 0UL, 0UL) == 0;
    return Machine{.kernel = fmt::format("{} {}", name.sysname, name.release),
                   .library = confine::library_version(),
                   .landlock = *abi,
                   .writable_code = prctl(k_get_mdwe, 0, 0, 0, 0) >= 0,
                   .sealed_memory = seals,
                   .not_alone = std::move(*not_alone)};
}

bool offers(const Machine& machine, confine::Layer layer) noexcept {
    switch (layer) {
        case confine::Layer::files: return machine.landlock >= k_abi_files;
        case confine::Layer::tcp: return machine.landlock >= k_abi_tcp;
        case confine::Layer::scope: return machine.landlock >= k_abi_scope;
        case confine::Layer::writable_code: return machine.writable_code;
        case confine::Layer::sealed_memory: return machine.sealed_memory;
        case confine::Layer::namespaces: return machine.not_alone.empty();
        default: return true;
    }
}

std::vector<std::string> find_lacks(const Machine& machine) {
    const struct {
        bool there;
        const char* what;
    } rows[] = {
        {machine.landlock > 0, "Landlock (Linux 5.13, if it is switched on)"},
        {machine.landlock >= k_abi_files, "Landlock for truncating files (Linux 6.2)"},
        {machine.landlock >= k_abi_tcp, "Landlock for TCP (Linux 6.7)"},
        {machine.landlock >= k_abi_scope, "Landlock for signals and abstract sockets (Linux 6.12)"},
        {machine.writable_code, "PR_SET_MDWE (Linux 6.3)"},
        {machine.not_alone.empty(),
         "namespaces for everybody (they are forbidden, or Linux is built without)"},
        {machine.sealed_memory, "mseal (Linux 6.10, 64 bit)"},
    };
    std::vector<std::string> lacks;
    for (const auto& row : rows)
        if (!row.there) lacks.emplace_back(row.what);
    return lacks;
}

}  // namespace virtgate::ctl::sandbox
