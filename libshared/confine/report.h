// SPDX-License-Identifier: LGPL-2.1-or-later
// report - which layers of the confinement are in force, and what the kernel lacks.
//
// Each step of this library notes here what it has done. A feature that the kernel does not have is no
// failure by itself: Debian 12's kernel knows neither PR_SET_MDWE nor mseal(2). What has to happen then is
// the administrator's decision, Demand. A step that fails although the kernel has the feature is always an
// Error.
//
// Limits: not for several threads.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libshared/base/log.h"
#include "libshared/base/result.h"

namespace virtgate::confine {

// What is kept from the process, by what. Several findings may be about one layer.
enum class Layer : unsigned char {
    descriptors,        // no descriptor but those that are meant for it
    limits,             // rlimits
    capabilities,       // none in any set of the process
    bounding_set,       // none can come back by exec
    no_new_privileges,  // exec gives nothing
    dumpable,           // no core file, no ptrace, no /proc/PID/mem
    writable_code,      // PR_SET_MDWE: no memory that is written becomes code
    sealed_memory,      // mseal(2)
    files,              // Landlock: file system
    tcp,                // Landlock: bind and connect of TCP
    scope,              // Landlock: signals and abstract UNIX sockets
    namespaces,         // nobody's network and IPC; for who names no file, no directory either
    filter,             // seccomp
};

// As the table of `virtgate sandbox` and log lines call it: "bounding set", "no new privileges", …
[[nodiscard]] std::string_view to_text(Layer layer) noexcept;

// What to do where the kernel lacks a feature.
enum class Demand : unsigned char {
    best_effort,  // go on without it and say so
    strict,       // refuse to run
};

struct Finding {
    Layer layer;
    bool in_force;
    std::string detail;  // "ABI 7", "the kernel has no PR_SET_MDWE"; may be empty where in force
    bool meant = true;   // false: this process does without, for the reason in `detail`
};

class Report {
public:
    explicit Report(Demand demand) noexcept : demand_(demand) {}

    // Notes that `layer` is in force.
    void note_in_force(Layer layer, std::string detail = {});

    // Notes that `layer` is not in force (in a part that `detail` names), because this kernel or this way of
    // being started does not have what it takes. Error: system's fault with `detail`, if everything is
    // demanded.
    Done note_lack(Layer layer, std::string detail);

    // Notes that `layer` is not for this process, because of `why`. Nothing lacks.
    void note_unmeant(Layer layer, std::string why);

    // In the order of the steps.
    [[nodiscard]] const std::vector<Finding>& findings() const noexcept { return findings_; }

    // True if `layer` has been noted as in force, or as not meant, and nothing of it as lacking.
    [[nodiscard]] bool complete(Layer layer) const noexcept;

    // Says in one line (at `warning`) everything that is lacking; nothing if nothing is. Only the first call
    // speaks.
    void say_lacks(const Log& log);

private:
    Demand demand_;
    bool said_ = false;
    std::vector<Finding> findings_;
};

}  // namespace virtgate::confine
