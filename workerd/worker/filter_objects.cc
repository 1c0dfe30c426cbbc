// SPDX-License-Identifier: LGPL-2.1-or-later
// filter_objects - read the objects that libvirt names in its replies and events.
#include "workerd/worker/filter_objects.h"

#include <iterator>

#include "libshared/xdr/reader.h"

namespace virtgate::workerd::worker {

namespace {

using policy::ObjectKind;

constexpr std::uint32_t k_name_max = 4 << 20;  // string_max of remote.x

struct Row {
    std::string_view word;
    Shape shape;
    ObjectKind kind;
};

constexpr Row k_rows[] = {
    {"domain", Shape::domain, ObjectKind::domain},
    {"network", Shape::network, ObjectKind::network},
    {"storage_pool", Shape::pool, ObjectKind::pool},
    {"storage_vol", Shape::volume, ObjectKind::volume},
    {"secret", Shape::secret, ObjectKind::secret},
    {"node_device", Shape::nodedev, ObjectKind::nodedev},
    {"interface", Shape::interface, ObjectKind::interface},
    {"nwfilter", Shape::nwfilter, ObjectKind::nwfilter},
    {"nwfilter_binding", Shape::binding, ObjectKind::nwfilter},
    {"network_port", Shape::port, ObjectKind::network},
    {"domain_snapshot", Shape::snapshot, ObjectKind::domain},
    {"domain_checkpoint", Shape::checkpoint, ObjectKind::domain},
};

void read_uuid(xdr::Reader& reader, Named& named) noexcept {
    reader.fixed_opaque(named.object.uuid.emplace());
}

void read_domain(xdr::Reader& reader, Named& named) noexcept {
    named.object.name = reader.string(k_name_max);
    read_uuid(reader, named);
    named.id = reader.i32();
}

void read_volume(xdr::Reader& reader, Named& named, std::string& text) {
    named.pool = reader.string(k_name_max);
    named.own_name = reader.string(k_name_max);
    named.detail = reader.string(k_name_max);
    text.assign(named.pool).append(1, '/').append(named.own_name);
    named.object.name = text;
}

void read_secret(xdr::Reader& reader, Named& named) noexcept {
    read_uuid(reader, named);
    named.id = reader.i32();
    named.object.name = reader.string(k_name_max);
}

}  // namespace

std::optional<Shape> shape_of(std::string_view object) noexcept {
    for (const Row& row : k_rows)
        if (row.word == object) return row.shape;
    return std::nullopt;
}

ObjectKind kind_of(Shape shape) noexcept { return k_rows[static_cast<std::size_t>(shape)].kind; }
static_assert([] {
    for (std::size_t i = 0; i < std::size(k_rows); ++i)
        if (static_cast<std::size_t>(k_rows[i].shape) != i) return false;
    return true;
}());

bool belongs_to_called(Shape shape) noexcept {
    return shape == Shape::snapshot || shape == Shape::checkpoint || shape == Shape::port;
}

std::optional<Named> read_object(Shape shape, ByteView bytes, std::string& text) {
    xdr::Reader reader(bytes);
    Named named;
    named.object.kind = kind_of(shape);
    switch (shape) {
        case Shape::domain: read_domain(reader, named); break;
        case Shape::network:
        case Shape::pool:
        case Shape::nwfilter:
        case Shape::port:  // its own uuid behind the network's does not matter
            named.object.name = reader.string(k_name_max);
            read_uuid(reader, named);
            break;
        case Shape::volume: read_volume(reader, named, text); break;
        case Shape::secret: read_secret(reader, named); break;
        case Shape::nodedev: named.object.name = reader.string(k_name_max); break;
        case Shape::interface:
            named.object.name = reader.string(k_name_max);
            named.detail = reader.string(k_name_max);
            break;
        case Shape::binding:
            named.detail = reader.string(k_name_max);
            named.object.name = reader.string(k_name_max);
            break;
        case Shape::snapshot:
        case Shape::checkpoint:
            named.own_name = reader.string(k_name_max);
            read_domain(reader, named);
            break;
    }
    if (!reader.ok()) return std::nullopt;
    // Never of a volume: its whole name is in `text`, which will be written again.
    if (named.own_name.empty() && shape != Shape::volume) named.own_name = named.object.name;
    return named;
}

}  // namespace virtgate::workerd::worker
