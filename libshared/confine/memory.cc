// SPDX-License-Identifier: LGPL-2.1-or-later
// memory - what is written does not become code, and what is constant stays so.
#include "libshared/confine/memory.h"

#include <link.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace virtgate::confine {

namespace {

// Not in the headers of the oldest system that we build on. The number of mseal is the same on every
// architecture.
constexpr unsigned long k_refuse_exec_gain = 1;
constexpr long k_mseal = 462;

// Seals the segments of one loaded object. Returns an errno to stop, or 0.
int seal_object(dl_phdr_info* object, std::size_t, void*) noexcept {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    for (unsigned i = 0; i < object->dlpi_phnum; ++i) {
        const ElfW(Phdr)& segment = object->dlpi_phdr[i];
        if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
        const std::uintptr_t start = (object->dlpi_addr + segment.p_vaddr) & ~(page - 1);
        const std::uintptr_t end =
            (object->dlpi_addr + segment.p_vaddr + segment.p_memsz + page - 1) & ~(page - 1);
        if (syscall(k_mseal, start, end - start, 0UL) < 0) return errno;
    }
    return 0;
}

}  // namespace

Done forbid_writable_code(Report& report) {
    const int before = prctl(k_get_mdwe, 0, 0, 0, 0);
    if (before < 0 && errno == EINVAL)
        return report.note_lack(Layer::writable_code, "the kernel has no PR_SET_MDWE");
    if (before < 0) return system_fault(errno, "cannot ask whether written memory may become code");
    // Setting it again with other bits is refused (EPERM), so what systemd has set stays as it is.
    if ((static_cast<unsigned long>(before) & k_refuse_exec_gain) == 0 &&
        prctl(k_set_mdwe, k_refuse_exec_gain, 0, 0, 0) < 0)
        return system_fault(errno, "cannot forbid that written memory becomes code");
    const int after = prctl(k_get_mdwe, 0, 0, 0, 0);
    if (after < 0 || (static_cast<unsigned long>(after) & k_refuse_exec_gain) == 0)
        return system_fault(0, "written memory may still become code");
    report.note_in_force(Layer::writable_code);
    return {};
}

Done seal_image(Report& report) {
    const int number = dl_iterate_phdr(seal_object, nullptr);
    if (number == ENOSYS) return report.note_lack(Layer::sealed_memory, "the kernel has no mseal");
    // On a machine of 64 bits that is not the call's own error: a filter around us, older than the call, refuses it.
    if (number == EPERM)
        return report.note_lack(Layer::sealed_memory, "the service manager's filter does not allow mseal");
    if (number != 0) return system_fault(number, "cannot seal what was loaded");
    report.note_in_force(Layer::sealed_memory);
    return {};
}

}  // namespace virtgate::confine
