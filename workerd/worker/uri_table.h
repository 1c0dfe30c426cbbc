// SPDX-License-Identifier: LGPL-2.1-or-later
// uri_table - which libvirt daemon a client reaches with the URI of CONNECT_OPEN.
//
// Trust:  the URI comes from the client and is only a key: it is compared byte for byte and never sent on.
//         libvirt itself would act on any URI, remote ones and paths included.
// Limits: what the configuration's type allows.
// Owns:   a copy of the configured rows. What it returns lives as long as the table.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace virtgate::workerd::worker {

// One way to a daemon. Several rows may have the same URI: the first whose socket answers is used.
struct UriRow {
    std::string uri;               // what is sent upstream, too
    std::string socket;            // absolute path
    std::string read_only_socket;  // absolute path, or empty: then `socket` with the read-only flag serves
    std::uint32_t program = 0;     // of others, which is all that is served there; 0: libvirt's
};

class UriTable {
public:
    // `default_uri` is for clients that name none; empty: they are refused.
    UriTable(std::vector<UriRow> rows, std::string default_uri) noexcept;

    // The URI that is meant by `asked`, with the table's own bytes; no value if there is no such row.
    // An empty `asked` means the default.
    [[nodiscard]] std::optional<std::string_view> find(std::string_view asked) const noexcept;

    // The program of others that `uri` is for; 0: libvirt's.
    [[nodiscard]] std::uint32_t program_of(std::string_view uri) const noexcept;

    // The sockets to try for `uri`, in order. `read_only`: those for read-only access where there are such.
    [[nodiscard]] std::vector<std::string> sockets_for(std::string_view uri, bool read_only) const;

private:
    std::vector<UriRow> rows_;
    std::string default_uri_;
};

}  // namespace virtgate::workerd::worker
