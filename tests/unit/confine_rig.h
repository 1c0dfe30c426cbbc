// SPDX-License-Identifier: LGPL-2.1-or-later
// confine_rig - what the tests of the confinement have in common: attempts in processes of their own.
//
// No layer can be taken off again, so each attempt runs in a forked child. Each test makes its attempt twice:
// without the layer, where it has to succeed, and with it.
#pragma once

#include <functional>
#include <string>

#include "libshared/confine/report.h"

namespace virtgate::confine_test {

// Statuses of a child that are no errno.
inline constexpr int k_not_set_up = 250;  // a step of the confinement failed; the output says which
inline constexpr int k_wrong = 251;       // something else than the attempt was not as it should be

// How a child ended, and what it wrote to standard error.
struct Ending {
    int signal = 0;
    int status = 0;
    std::string output;
    bool operator==(int errno_of_attempt) const { return signal == 0 && status == errno_of_attempt; }
};

// Runs `body` in a forked child, which ends with its result as status.
Ending in_child(const std::function<int()>& body);

// Fails the test unless `ending` is the status `status`, or with expect_signal() the signal. A macro names
// the line.
#define expect_ending(ending, wanted)                                                         \
    do {                                                                                      \
        const auto seen_ = (ending);                                                          \
        cr_assert(seen_ == (wanted), "%s, not status %d", describe(seen_).c_str(), (wanted)); \
    } while (0)
#define expect_signal(ending, wanted)                                                                 \
    do {                                                                                              \
        const auto seen_ = (ending);                                                                  \
        cr_assert_eq(seen_.signal, (wanted), "%s, not signal %d", describe(seen_).c_str(), (wanted)); \
    } while (0)

// "status 13", "signal 31", with the output: for the texts of assertions.
std::string describe(const Ending& ending);

// 0 if `result` of an attempt is not negative, else errno.
int errno_of(long result);

// Ends the child with k_not_set_up if `done` is an error.
void must(const Done& done);

// Becomes the user nobody if this is root.
void become_nobody();

// True if this process is root and may do what root may.
bool is_root();

// A report that takes what the kernel has.
confine::Report modest();

}  // namespace virtgate::confine_test
