// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the announcer keeps: its connection to the bus.
#include "netd/announcer/confinement.h"

#include <cerrno>

#include "libshared/confine/rows.h"

namespace virtgate::netd::announcer {

namespace {

using confine::allow;
using confine::refuse;

// The control channel, the bus, the loop's and the standard ones.
constexpr std::uint64_t k_descriptors_max = 32;

// It was connected before: no socket(2), no connect(2), so there is nobody else on this machine or another that it could speak
// to.
constexpr confine::Row k_bus_rows[] = {
    allow("poll", "libdbus waits for an answer"),
    allow("ppoll", "the same, where there is no poll"),
    refuse("openat", EACCES, "libdbus looks for the machine's number when somebody on the bus asks for that"),
};

}  // namespace

confine::Plan make_plan() {
    using confine::FdKind;
    return {.process = "announcer",
            .descriptors = confine::child_descriptors(FdKind::channel,
                                                      {{confine::MeantFd::k_any_number, {FdKind::stream}}}),
            .limits = {.descriptors = k_descriptors_max},
            .rows = {confine::runtime_rows(), confine::loop_rows(), confine::channel_rows(),
                     confine::own_socket_rows(), k_bus_rows}};
}

}  // namespace virtgate::netd::announcer
