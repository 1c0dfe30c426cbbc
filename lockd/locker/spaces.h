// SPDX-License-Identifier: LGPL-2.1-or-later
// spaces - the lock spaces that there are, by the path that clients call them.
//
// Lock spaces stay until the daemon is stopped for good: the holder keeps their directories, so that one that was replaced
// is noticed.
//
// Trust:  paths are clients'; a lock space can only be beneath a configured directory.
// Limits: k_max lock spaces.
// Owns:   the lock spaces, the default one included, and calls that wait for the holder.
#pragma once

#include <map>
#include <set>
#include <unordered_map>

#include "libshared/server/call.h"
#include "lockd/locker/etcd_space.h"
#include "lockd/locker/file_spaces.h"
#include "lockd/locker/lock_table.h"

namespace virtgate::lockd::locker {

class Spaces : private KeepingUser {
public:
    static constexpr std::size_t k_max = 1024;

    // `roots`: where lock spaces may be; `direct`: where files may be locked themselves. All outlive this object.
    Spaces(const Roots& roots, const Roots& direct, Keeping& keeping, const LockTable& table);
    ~Spaces() override;
    Spaces(const Spaces&) = delete;
    Spaces& operator=(const Spaces&) = delete;

    // The lock space that clients call `path`; empty: the default one. Null if there is none.
    [[nodiscard]] LockSpace* find(const std::string& path) noexcept;

    // One in etcd is always there. It outlives this object.
    void add(EtcdSpace& space) { in_etcd_.emplace(space.path(), &space); }
    // Null if there is none.
    [[nodiscard]] EtcdSpace* find_etcd(const std::string& path) noexcept;

    // Makes one, its directory included, and answers `call`. One that is there already is a failure if `has_to_be_new`.
    // One whose directory was replaced counts as not there, as soon as nothing is held in it.
    void open(const std::string& path, bool has_to_be_new, server::Call call);

    // Takes over one from an earlier process.
    void restore(Slot slot, std::string path, UniqueFd directory);

    [[nodiscard]] std::size_t size() const noexcept { return spaces_.size(); }

    // The paths of all that clients can name, in order; the empty one is that of files that are locked themselves.
    [[nodiscard]] std::set<std::string> paths() const;

private:
    struct Space {
        std::unique_ptr<DirectorySpace> space;
        Slot slot = 0;
        bool is_kept = false;               // by the holder: it can be used
        std::vector<server::Call> calls{};  // that wait for that
    };
    using Place = std::map<std::string, Space>::iterator;
    [[nodiscard]] Answer<void> check(const std::string& path) const;
    void add(const std::string& path, UniqueFd directory, server::Call call);
    void drop(Place place);
    void on_kept(Ticket ticket, Answer<void> done) noexcept override;

    const Roots& roots_;
    Keeping& keeping_;
    const LockTable& table_;
    DirectSpace direct_;
    std::map<std::string, Space> spaces_;
    std::map<std::string, EtcdSpace*> in_etcd_;
    std::unordered_map<Ticket, std::string> opening_;  // the path that is kept
    std::unordered_map<Ticket, Slot> dropping_;
    Ticket next_ticket_ = 1;
};

}  // namespace virtgate::lockd::locker
