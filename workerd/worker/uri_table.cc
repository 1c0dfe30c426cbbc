// SPDX-License-Identifier: LGPL-2.1-or-later
// uri_table - which libvirt daemon a client reaches with the URI of CONNECT_OPEN.
#include "workerd/worker/uri_table.h"

#include <algorithm>
#include <utility>

namespace virtgate::workerd::worker {

UriTable::UriTable(std::vector<UriRow> rows, std::string default_uri) noexcept
    : rows_(std::move(rows)), default_uri_(std::move(default_uri)) {}

std::optional<std::string_view> UriTable::find(std::string_view asked) const noexcept {
    const std::string_view wanted = asked.empty() ? std::string_view(default_uri_) : asked;
    if (wanted.empty()) return std::nullopt;
    const auto row =
        std::find_if(rows_.begin(), rows_.end(), [&](const UriRow& r) { return r.uri == wanted; });
    if (row == rows_.end()) return std::nullopt;
    return row->uri;
}

std::uint32_t UriTable::program_of(std::string_view uri) const noexcept {
    const auto row = std::find_if(rows_.begin(), rows_.end(), [&](const UriRow& r) { return r.uri == uri; });
    return row == rows_.end() ? 0 : row->program;
}

std::vector<std::string> UriTable::sockets_for(std::string_view uri, bool read_only) const {
    std::vector<std::string> sockets;
    for (const UriRow& row : rows_)
        if (row.uri == uri)
            sockets.push_back(read_only && !row.read_only_socket.empty() ? row.read_only_socket : row.socket);
    return sockets;
}

}  // namespace virtgate::workerd::worker
