// SPDX-License-Identifier: LGPL-2.1-or-later
// tar - an archive of a few small files.
#include "ctl/pki/tar.h"

#include <fmt/format.h>

#include <algorithm>

#include "libshared/base/result.h"

namespace virtgate::ctl::pki {

namespace {

constexpr std::size_t k_block = 512;
// tar reads and writes this many blocks at a time, and may complain about an archive of another length.
constexpr std::size_t k_record = 20 * k_block;

// A field of the header: where it begins, and its size.
struct Field {
    std::size_t offset, size;
};
constexpr Field k_name{0, 100}, k_mode{100, 8}, k_uid{108, 8}, k_gid{116, 8}, k_size{124, 12},
    k_mtime{136, 12}, k_checksum{148, 8}, k_type{156, 1}, k_magic{257, 8};

void put(std::string& header, Field field, std::string_view value) {
    require(value.size() <= field.size, "tar: a value does not fit");
    std::copy(value.begin(), value.end(), header.begin() + static_cast<std::ptrdiff_t>(field.offset));
}

// Octal digits that fill the field, up to the NUL at its end.
void put_number(std::string& header, Field field, unsigned long value) {
    put(header, field, fmt::format("{:0{}o}", value, field.size - 1));
}

// The sum of all bytes of the header, where its own place counts as blanks.
void put_checksum(std::string& header) {
    put(header, k_checksum, std::string(k_checksum.size, ' '));
    unsigned long sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    // Six digits, NUL, blank: not like the other numbers.
    put(header, k_checksum, fmt::format("{:06o}", sum) + std::string{'\0', ' '});
}

}  // namespace

std::string make_tar(const std::vector<TarMember>& members, std::time_t when) {
    std::string archive;
    for (const TarMember& member : members) {
        std::string header(k_block, '\0');
        put(header, k_name, member.name);
        put_number(header, k_mode, member.mode);
        put_number(header, k_uid, 0);
        put_number(header, k_gid, 0);
        put_number(header, k_size, member.content.size());
        put_number(header, k_mtime, static_cast<unsigned long>(std::max<std::time_t>(when, 0)));
        put(header, k_type, "0");
        put(header, k_magic, std::string_view{"ustar\00000", 8});
        put_checksum(header);
        archive += header;
        archive += member.content;
        archive.append((k_block - member.content.size() % k_block) % k_block, '\0');
    }
    archive.append(2 * k_block, '\0');
    archive.append((k_record - archive.size() % k_record) % k_record, '\0');
    return archive;
}

}  // namespace virtgate::ctl::pki
