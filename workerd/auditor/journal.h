// SPDX-License-Identifier: LGPL-2.1-or-later
// journal - the socket of systemd's journal.
//
// Source: "Native Journal Protocol" of systemd: an entry is a datagram; one that is too large for that is a sealed memory
//         file, whose descriptor travels with an empty datagram.
// Limits: never waits. A journal that is not there, or that does not read, costs the record.
// Owns:   a socket, connected as long as there is a journal.
#pragma once

#include <string>
#include <string_view>

#include "libshared/base/fd.h"
#include "workerd/auditor/outlet.h"

namespace virtgate::workerd::auditor {

class Journal final : public Outlet {
public:
    static constexpr const char* k_default_path = "/run/systemd/journal/socket";

    // For the journal behind the socket `path`; whether there is one is found out by put().
    explicit Journal(std::string path = k_default_path);

    [[nodiscard]] Done put(const Record& record) override;
    [[nodiscard]] const std::string& name() const noexcept override { return name_; }
    // The journal's socket is looked up again with the next record.
    [[nodiscard]] Done reopen() override;

    // Sends one entry (journal_entry.h). Error: system's fault; EAGAIN as its number if the journal is full.
    [[nodiscard]] Done send_entry(std::string_view entry);

private:
    [[nodiscard]] Done open();
    [[nodiscard]] int send_bytes(std::string_view entry, int file) noexcept;

    const std::string path_;
    const std::string name_;
    UniqueFd socket_;
};

}  // namespace virtgate::workerd::auditor
