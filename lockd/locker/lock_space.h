// SPDX-License-Identifier: LGPL-2.1-or-later
// lock_space - where locks really are: what every kind of lock space can do.
//
// The lock table (lock_table.h) knows who holds what in this daemon, and in which order things happen to one resource; a
// lock space takes the lock that excludes everybody else. An answer may come at once, from within the call, or later: a
// lock space on another machine has to ask first.
//
// Trust:  names are clients'. Which names there can be is for each kind to say.
#pragma once

#include <cstdint>
#include <string>

#include "lockd/locker/lock_file.h"

namespace virtgate::lockd::locker {

// What an answer is about: chosen by who asks, once.
using Ticket = std::uint64_t;

class LockSpaceUser {
public:
    virtual ~LockSpaceUser() = default;
    // Of take(). The descriptor keeps the lock, whoever has a copy of it.
    virtual void on_taken(Ticket ticket, Answer<LockedFile> file) noexcept = 0;
    // Of all others.
    virtual void on_done(Ticket ticket, Answer<void> done) noexcept = 0;
};

class LockSpace {
public:
    virtual ~LockSpace() = default;
    // Takes the lock on `name`. `create`: it need not be there before.
    virtual void take(const std::string& name, bool shared, bool create, Ticket ticket,
                      LockSpaceUser& user) = 0;
    // Ends the lock that `file` keeps; `remove`: what was made for it goes, too, if nobody else has it. Always succeeds.
    virtual void let_go(const std::string& name, UniqueFd file, bool remove, Ticket ticket,
                        LockSpaceUser& user) = 0;
    // Makes the resource `name` without locking it; removes it.
    virtual void create(const std::string& name, Ticket ticket, LockSpaceUser& user) = 0;
    virtual void remove(const std::string& name, Ticket ticket, LockSpaceUser& user) = 0;
    // An earlier process took the lock on `name`, which `file` keeps. False if it was lost, and somebody else has it now.
    [[nodiscard]] virtual bool confirm(const std::string& name, int file, bool shared) = 0;
    // Something can be taken here now, as far as is known.
    [[nodiscard]] virtual bool is_usable() const noexcept { return true; }
    // The fencing token by which `name` is held; 0 if this kind has none.
    [[nodiscard]] virtual std::uint64_t token_of(const std::string& name) const noexcept {
        static_cast<void>(name);
        return 0;
    }
};

}  // namespace virtgate::lockd::locker
