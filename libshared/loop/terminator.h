// SPDX-License-Identifier: LGPL-2.1-or-later
// terminator - SIGTERM ends a loop: for a process that has nothing to finish.
//
// Owns: the watch of the signal, which the process does not die of while this object lives.
#pragma once

#include <csignal>
#include <memory>

#include "libshared/loop/loop.h"

namespace virtgate::loop {

class Terminator {
public:
    // `loop` outlives this object.
    explicit Terminator(Loop& loop)
        : loop_(loop), watch_(loop.signal(SIGTERM, to<&Terminator::on_signal>(*this))) {}

private:
    void on_signal(Want) noexcept { loop_.stop(); }
    Loop& loop_;
    std::unique_ptr<Watch> watch_;
};

}  // namespace virtgate::loop
