// SPDX-License-Identifier: LGPL-2.1-or-later
// record_file - records as lines of JSON at the end of a file.
//
// A record is one write(), so that a reader sees whole lines. Where a write stopped in the middle, because the disk was
// full, the next line begins with a newline: one line is broken then, and no other.
//
// Limits: nothing is synchronised with the disk: a machine that loses its power loses the last seconds.
// Owns:   the descriptor. Whoever renames the file says so (reopen()), or the records go on into the renamed one.
#pragma once

#include <string>
#include <string_view>

#include "libshared/base/fd.h"
#include "workerd/auditor/outlet.h"

namespace virtgate::workerd::auditor {

class RecordFile final : public Outlet {
public:
    // For the file `path`. It is opened by reopen(), or by the first put().
    explicit RecordFile(std::string path) : path_(std::move(path)) {}

    [[nodiscard]] Done put(const Record& record) override { return put_line(to_line(record)); }
    [[nodiscard]] const std::string& name() const noexcept override { return path_; }

    // Opens the file, which is made with mode 0640 where there is none. A symbolic link is not followed, and something
    // that is neither a file nor a device is refused. Error: system's fault; an older descriptor is kept in use.
    [[nodiscard]] Done reopen() override;

    // Appends `line`, which ends in a newline. Error: system's fault.
    [[nodiscard]] Done put_line(std::string_view line);

private:
    const std::string path_;
    UniqueFd file_;
    bool is_torn_ = false;  // the last line has no end
};

}  // namespace virtgate::workerd::auditor
