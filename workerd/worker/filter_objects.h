// SPDX-License-Identifier: LGPL-2.1-or-later
// filter_objects - read the objects that libvirt names in its replies and events.
//
// Source: the structures of proto/remote.x that a schema's object places lead to. The words ("storage_vol")
//         are those of its annotations @object and @returns; a test compares each structure with what is read
//         here.
// Trust:  payloads have passed validate(). One that ends too early gives no object.
// Owns:   nothing. Names are views of the payload, a volume's name is a view of the caller's text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "libshared/base/bytes.h"
#include "policy/rights.h"

namespace virtgate::workerd::worker {

// How an object lies in a payload.
enum class Shape : std::uint8_t {
    domain,      // name, uuid, id
    network,     // name, uuid
    pool,        // name, uuid
    volume,      // pool, name, key
    secret,      // uuid, usage type, usage id
    nodedev,     // name
    interface,   // name, mac
    nwfilter,    // name, uuid
    binding,     // port device, filter name
    port,        // network, uuid
    snapshot,    // name, domain
    checkpoint,  // name, domain
};

// The shape of what an annotation calls `object`.
[[nodiscard]] std::optional<Shape> shape_of(std::string_view object) noexcept;

// The kind of object that it counts as.
[[nodiscard]] policy::ObjectKind kind_of(Shape shape) noexcept;

// True if it belongs to an object that the call names, so that whoever may make the call may see it:
// snapshots and checkpoints of a domain, ports of a network. libvirt fills in that owner as the client has
// named it, so it must not be judged again by what the reply says.
[[nodiscard]] bool belongs_to_called(Shape shape) noexcept;

// What a payload says of an object.
struct Named {
    policy::Object object;
    std::string_view
        own_name;           // the last part of its name: of a volume without the pool, of a snapshot its own
    std::string_view pool;  // of a volume
    std::string_view detail;  // a volume's key, an interface's MAC address, a binding's port device
    std::int32_t id = 0;      // of a domain; a secret's usage type
};

// Reads the object of that shape at the start of `bytes`, which may go on behind it. A binding's filter has
// no uuid in a payload. `text` holds a volume's name; reuse it, so that only the first volumes allocate.
[[nodiscard]] std::optional<Named> read_object(Shape shape, ByteView bytes, std::string& text);

}  // namespace virtgate::workerd::worker
