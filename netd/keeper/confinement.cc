// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what a keeper keeps: its channels and the key in its memory.
#include "netd/keeper/confinement.h"

#include "libshared/confine/rows.h"

namespace virtgate::netd::keeper {

namespace {

// The control channel, its gate's (two for a moment, when a gate was started again), the loop's and the standard ones.
constexpr std::uint64_t k_descriptors_max = 32;

}  // namespace

confine::Plan make_plan() {
    return {.process = "keeper",
            .descriptors = confine::child_descriptors(),
            // Memory that is locked already stays so.
            .limits = {.descriptors = k_descriptors_max},
            .rows = {confine::runtime_rows(), confine::loop_rows(), confine::channel_rows(),
                     confine::own_socket_rows()}};
}

}  // namespace virtgate::netd::keeper
