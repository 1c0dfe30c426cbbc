// SPDX-License-Identifier: LGPL-2.1-or-later
// xml - the descriptions of pools and volumes, read from clients and written for them.
//
// Source: libvirt's documentation of its storage XML. Of what a client writes, what the store cannot do is refused and not
//         passed over: other types of pools and volumes, sources on the host or elsewhere, backing files, encryption.
//         What describes a state (allocation of a pool, key, owner, timestamps, …) is passed over, so that a description that was
//         read can be given back.
// Trust:  documents are clients', parsed by libshared/xml.
#pragma once

#include <optional>
#include <string>

#include "workerd/store/volume.h"

namespace virtgate::workerd::store {

struct PoolDescription {
    std::string name{};
    std::optional<Uuid> uuid{};
    std::string path{};  // as it is written
    unsigned mode = 0711;
};
[[nodiscard]] Answer<PoolDescription> read_pool(std::string_view xml);

struct VolumeDescription {
    std::string name{};  // checked
    Format format = Format::raw;
    std::uint64_t capacity = 0;
    std::optional<std::uint64_t> allocation{};
    unsigned mode = 0600;
};
// `is_copy`: the capacity may be left out, and is 0 then.
[[nodiscard]] Answer<VolumeDescription> read_volume(std::string_view xml, bool is_copy);

struct PoolFacts {
    std::string_view name, path;
    Uuid uuid{};
    Space space{};
    unsigned mode = 0;
    uid_t uid = 0;
    gid_t gid = 0;
};
[[nodiscard]] std::string write_pool(const PoolFacts& pool);
// `path`: of the pool.
[[nodiscard]] std::string write_volume(const Volume& volume, std::string_view path);

// `text` for an element or an attribute in single quotes.
[[nodiscard]] std::string escape_xml(std::string_view text);

// "550e8400-e29b-41d4-a716-446655440000", with or without hyphens.
[[nodiscard]] std::optional<Uuid> read_uuid(std::string_view text) noexcept;

}  // namespace virtgate::workerd::store
