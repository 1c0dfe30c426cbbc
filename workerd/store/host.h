// SPDX-License-Identifier: LGPL-2.1-or-later
// host - what clients may know of the machine: its name, its processors, its memory.
//
// What does not change is read when the process starts; what does, from files of /proc that stay open, since the process
// gives up opening any.
//
// Owns:   the descriptors of /proc/stat and /proc/meminfo.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libshared/base/fd.h"
#include "workerd/store/failures.h"

namespace virtgate::workerd::store {

class Host {
public:
    // Never fails: what the machine does not tell is 0.
    Host();

    struct Processors {
        unsigned count = 1, mhz = 0, sockets = 1, cores = 1, threads = 1;
    };
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const std::string& machine() const noexcept { return machine_; }  // "x86_64"
    // As /proc/sys/kernel/random/boot_id has it.
    [[nodiscard]] const std::string& boot() const noexcept { return boot_; }
    [[nodiscard]] const Processors& processors() const noexcept { return processors_; }
    [[nodiscard]] std::string write_capabilities() const;

    struct Figure {
        std::string name;
        std::uint64_t value = 0;
    };
    // In KiB: "total", "free", "buffers", "cached".
    [[nodiscard]] std::vector<Figure> memory() const;
    // In nanoseconds since the start: "kernel", "user", "idle", "iowait"; of one processor, or of all for -1.
    [[nodiscard]] Answer<std::vector<Figure>> processor_times(int processor) const;

private:
    std::string name_, machine_, boot_;
    Processors processors_;
    UniqueFd stat_, meminfo_;
};

}  // namespace virtgate::workerd::store
