// SPDX-License-Identifier: LGPL-2.1-or-later
// log_relay - pass on what a child writes to its standard error, in the child's name.
//
// Each line gets "NAME[PID]: " in front, so that no child can speak in the name of another one. A "<N>"
// priority at the start of a line is kept; lines without one are warnings, since only libraries write such
// lines.
//
// Trust:  the child may be taken over. Control bytes and what is not UTF-8 become \xNN.
// Limits: k_line_max bytes a line, the rest of it is cut; so many lines a second as the owner says, then the
//         others of that second are counted and dropped, and that is said when the second is over.
// Owns:   the pipe's end and one unfinished line.
#pragma once

#include <string>
#include <string_view>

#include "libshared/base/fd.h"
#include "libshared/loop/loop.h"

namespace virtgate::spawn {

class LogRelay {
public:
    static constexpr std::size_t k_line_max = 1536;

    // Relays what comes from `pipe` (non-blocking) as `subject`, for example "gate-0[1234]", until it is
    // closed; at most `lines_per_second`.
    LogRelay(loop::Loop& loop, UniqueFd pipe, std::string subject, unsigned lines_per_second);
    ~LogRelay();

    // Relays what is in the pipe now, and an unfinished line too: for a child that has ended.
    void drain() noexcept;

private:
    void on_readable(loop::Want ready) noexcept;
    [[nodiscard]] bool read_some() noexcept;
    void take(std::string_view bytes);
    void finish_line();
    [[nodiscard]] bool may_speak();
    void on_second() noexcept;
    void report_dropped() noexcept;

    UniqueFd pipe_;
    std::string subject_;
    std::string line_;
    bool cut_ = false;
    const unsigned lines_per_second_;
    unsigned lines_ = 0;  // in this second
    unsigned dropped_ = 0;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> second_;  // runs from the first line of a second on
};

}  // namespace virtgate::spawn
