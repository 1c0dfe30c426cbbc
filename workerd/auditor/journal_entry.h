// SPDX-License-Identifier: LGPL-2.1-or-later
// journal_entry - a record in the form that systemd's journal takes.
//
// An entry is a list of fields. One whose value has no newline is "NAME=value\n"; any other is "NAME\n", the length of the
// value in 64 bits, little endian, the value and "\n". So a value that holds "\nPRIORITY=0" stays a value.
//
// Every key of the record is a field VIRTGATE_KEY; of objects there is one field VIRTGATE_OBJECT ("domain=db-1") and one
// VIRTGATE_OBJECT_UUID for each. With them come MESSAGE, MESSAGE_ID, PRIORITY and SYSLOG_IDENTIFIER.
//
// Pure.
//
// Source: "Native Journal Protocol" of systemd.
// Trust:  names are clients' and may hold any byte; they are passed on as they came.
#pragma once

#include <string>
#include <string_view>

#include "workerd/auditor/record.h"

namespace virtgate::workerd::auditor {

// The MESSAGE_ID of that kind of record, 32 hexadecimal digits: journalctl MESSAGE_ID=... They never change.
[[nodiscard]] std::string_view message_id(Kind kind) noexcept;

// Appends one field. `name` is one of ours: upper-case letters, digits and underscores.
void add_field(std::string& entry, std::string_view name, std::string_view value);

[[nodiscard]] std::string to_journal_entry(const Record& record);

}  // namespace virtgate::workerd::auditor
