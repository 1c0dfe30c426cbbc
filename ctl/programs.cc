// SPDX-License-Identifier: LGPL-2.1-or-later
// programs - where the daemons are that belong to this command.
#include "ctl/programs.h"

#include <unistd.h>

#include "config.h"
#include "libshared/spawn/self.h"

namespace virtgate::ctl {

Result<std::string> find_programs() {
    const Result<std::string> beside = spawn::program_directory();
    if (!beside) return beside;
    for (const std::string& directory : {*beside, std::string{VIRTGATE_LIBEXECDIR}})
        if (access((directory + "/virtgate-netd").c_str(), X_OK) == 0 &&
            access((directory + "/virtgate-workerd").c_str(), X_OK) == 0)
            return directory;
    return system_fault(
        0, fmt::format("cannot find virtgate-netd and virtgate-workerd, neither in {} nor in {}", *beside,
                       VIRTGATE_LIBEXECDIR));
}

}  // namespace virtgate::ctl
