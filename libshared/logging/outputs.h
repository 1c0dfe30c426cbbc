// SPDX-License-Identifier: LGPL-2.1-or-later
// outputs - where the lines of a daemon and of its children go: standard error, the journal, syslog, files.
//
// The first process of a daemon gets the lines of all others (libshared/spawn/log_relay.h) and has the outputs; no child
// has a way to them. The sockets are not connected: a logger that was started again is found by its name, with no other
// system call than sendmsg(2).
//
// In the journal a line has fields of its own, beside MESSAGE and PRIORITY:
//
//     VIRTGATE_PROCESS, VIRTGATE_PROCESS_PID   the child that said it
//     VIRTGATE_SESSION, VIRTGATE_IDENTITY      the session that it is about
//
// Trust:  a child may be taken over: what its line says of a session is its word, its name and number are not.
// Limits: an output that does not take a line loses it; how many were lost is told with the next one. If none takes it, it
//         goes to standard error.
// Owns:   the sockets and files; there is one set in a process, for its lifetime.
// Source: "Native Journal Protocol" of systemd; RFC 3164 section 4.1 for syslog.
#pragma once

#include "libshared/logging/settings.h"

namespace virtgate::logging {

// Where the loggers listen.
struct Places {
    std::string journal = "/run/systemd/journal/socket";
    std::string syslog = "/dev/log";
};

// From now on log lines go to settings.outputs; without any, to the journal, if it is what standard error leads to, and to
// standard error otherwise. Not beside other threads. A process that has confined itself can open files where those of its
// first outputs are. Error: system's fault: a file that cannot be opened, or sockets that cannot be made; then all stays.
Done open_outputs(const Settings& settings, const std::string& program, const Places& places = {});

// Opens files anew, after they were renamed. One that cannot be opened stays as it was, and that is said.
void reopen_outputs() noexcept;

// The journal's entry for one line of `program`, and the datagram for syslog; for tests.
[[nodiscard]] std::string to_journal_entry(Level level, std::string_view line, std::string_view program);
[[nodiscard]] std::string to_syslog_line(Level level, std::string_view line, std::string_view name);

}  // namespace virtgate::logging
