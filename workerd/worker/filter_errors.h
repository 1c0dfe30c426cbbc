// SPDX-License-Identifier: LGPL-2.1-or-later
// filter_errors - what libvirt says of an object that does not exist, word for word.
//
// A hidden object must look like one that does not exist, so the worker's refusal has to be the error that
// the daemon would have sent: code, domain, text and the parts of the text.
//
// Source: the errors of the test driver and of the qemu, network, storage, secret, nodedev, interface and
//         nwfilter drivers of libvirt 9.0.0, as observed; those of the lxc driver from its texts.
// Trust:  what a client asked for is repeated to that client only. libvirt does the same, and cuts it in the
//         same place (1023 bytes).
// Owns:   nothing; an error is a value.
#pragma once

#include <string>
#include <string_view>

#include "policy/rights.h"
#include "proto/net.h"
#include "workerd/worker/filter_objects.h"

namespace virtgate::workerd::worker {

// Who serves the calls behind the daemon's socket. Drivers that are not listed talk as `qemu` does, with
// another domain in the error: give that as far as it is known.
enum class Driver : std::uint8_t { qemu, lxc, test };

// The driver of a connection by what CONNECT_GET_TYPE answers, in any case of letters: "QEMU", "LXC", "Test".
[[nodiscard]] Driver driver_of(std::string_view type) noexcept;

// By what an object was looked up.
enum class By : std::uint8_t {
    id,           // domain
    uuid,         // domain, network, pool, secret, nwfilter
    name,         // all but secret
    key,          // volume
    path,         // volume
    target_path,  // pool
    mac,          // interface
    usage,        // secret
    wwn,          // node device
    port_device,  // binding
};

// The answer to a look-up of an object of that shape that is not there. `text` is what it was looked up by,
// as the client sent it (a uuid in its usual form, an id in decimal digits); for wwn it does not matter.
[[nodiscard]] proto::net::Error not_found(Driver driver, Shape shape, By by, std::string_view text);

// The answer to a call whose arguments name an object that is not there: `named` is what the client sent.
// A volume: pass whether its pool is there (else the daemon complains about the pool).
[[nodiscard]] proto::net::Error not_there(Driver driver, Shape shape, const Named& named,
                                          bool has_pool = true);

// "c7a5fdbd-edaf-9455-926a-d65c16db1809"
[[nodiscard]] std::string to_text(const policy::Uuid& uuid);

}  // namespace virtgate::workerd::worker
