// SPDX-License-Identifier: LGPL-2.1-or-later
// inheritance - what a holder gets from the one before it, and leaves to the next.
//
// There are two ways. An exec in place leaves everything in a sealed memory file (proto/reexec.x), with the numbers of
// descriptors that stay open. After a death the service manager passes what it was given (LISTEN_FDS), by name:
//
//     "own", "libvirt"            listeners of socket units; their names in the file system are the manager's
//     "kept-own", "kept-libvirt"  listeners that a holder opened and left there
//     "queue"                     the reading end of a locker's queue (queue.h), perhaps with something in it
//     digits and capital letters  the slots of what is kept; their records are in the journal
//
// Trust:  both come from the service manager or from this program itself. Form and kinds are checked: a listener has to
//         listen, and what has another name is closed.
// Owns:   nothing; Inheritance owns what it lists.
#pragma once

#include <string>
#include <vector>

#include "libshared/base/fd.h"
#include "lockd/holder/keeping.h"

namespace virtgate::lockd::holder {

inline constexpr std::string_view k_own = "own";
inline constexpr std::string_view k_libvirt = "libvirt";
inline constexpr std::string_view k_queue = "queue";
// In front of the name of a listener that was left with the manager.
inline constexpr std::string_view k_kept_prefix = "kept-";

struct Inheritance {
    struct Socket {
        std::string name;  // k_own or k_libvirt
        UniqueFd fd;
        std::string path;  // of its name that is ours to remove; empty: the service manager's
    };
    bool is_reexec = false;
    bool confined = false;             // the process is already, and stays so
    std::vector<std::string> reach{};  // the directories that it was confined to
    std::vector<Socket> sockets{};
    std::vector<UniqueFd> queues{};  // nearly always at most one; to be read in this order
    std::vector<Keeping::Found> things{};
    std::vector<std::string> strangers{};  // what the manager passed and nobody here knows; closed
};

// Takes what there is; to be called before anything else opens a descriptor. Error: system's fault.
Result<Inheritance> take_inheritance();

struct Legacy {
    bool confined = false;
    const std::vector<std::string>& reach;
    struct Socket {
        std::string_view name;
        int fd = -1;
        std::string path;
    };
    std::vector<Socket> sockets;
    std::vector<int> queues;
    const std::map<Slot, Keeping::Thing>& things;
};

// Executes `program` with `argv` in place of this one, which finds `legacy` with take_inheritance(). Returns only if
// that fails: system's fault; all is as it was then.
[[nodiscard]] Error leave_to_next(const Legacy& legacy, const std::string& program, char* const* argv);

}  // namespace virtgate::lockd::holder
