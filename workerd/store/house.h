// SPDX-License-Identifier: LGPL-2.1-or-later
// house - what all desks of the store share: the pools, the threads, the way to the disk, the events.
//
// A call that changes a pool or touches a disk is a job (workshop.h); while one is under way for a pool, no other may change
// that pool's state, and the volume that is written is written by nobody else: in this process (Writing), and by a lock that
// machines take, too (locks.h).
//
// Limits: k_pools_max pools.
// Owns:   the pools.
#pragma once

#include <map>

#include "libshared/server/call.h"
#include "workerd/store/announcer.h"
#include "workerd/store/locks.h"
#include "workerd/store/making.h"
#include "workerd/store/state_directory.h"
#include "workerd/store/workshop.h"

namespace virtgate::workerd::store {

// A random one.
[[nodiscard]] Uuid make_uuid();

class House {
public:
    // All are borrowed. `swift`: for what takes one step on the disk; `slow`: for what may take minutes.
    House(loop::Loop& loop, Places& places, StateDirectory& state, Workshop& swift, Workshop& slow,
          Announcer& announcer, Locks& locks) noexcept
        : loop(loop),
          places(places),
          state(state),
          swift(swift),
          slow(slow),
          announcer(announcer),
          locks(locks) {}

    loop::Loop& loop;
    Places& places;
    StateDirectory& state;
    Workshop& swift;
    Workshop& slow;
    Announcer& announcer;
    Locks& locks;

    using Pools = std::map<std::string, PoolPtr, std::less<>>;
    [[nodiscard]] const Pools& pools() const noexcept { return pools_; }

    // Takes up what was kept, and starts what has to be active. Before anybody is served; blocks. If there is no pool, one
    // called "default" is made at `default_pool`, unless that is empty.
    void restore(const std::string& default_pool);

    [[nodiscard]] Answer<PoolPtr> find_named(std::string_view name) const;
    // By what a client has: the uuid counts.
    [[nodiscard]] Answer<PoolPtr> find(const Uuid& uuid, std::string_view name = {}) const;
    [[nodiscard]] Answer<PoolPtr> find_at(std::string_view path) const;

    struct Place {
        PoolPtr pool;
        const Volume* volume = nullptr;  // in the pool, until that changes
    };
    // In an active pool.
    [[nodiscard]] Answer<Place> find_volume(std::string_view pool, std::string_view name) const;
    // By the path, which is the key, too. None: null.
    [[nodiscard]] Place find_path(std::string_view path) const;

    void add(PoolPtr pool) { pools_[pool->name] = std::move(pool); }
    void remove(const Pool& pool) { pools_.erase(pool.name); }

    // Nothing is under way for the pool.
    [[nodiscard]] static Answer<void> check_idle(const Pool& pool);
    [[nodiscard]] static Answer<void> check_active(const Pool& pool);
    // The volume is written from now on, by one.
    [[nodiscard]] static Answer<Writing> begin_writing(const PoolPtr& pool, const std::string& volume,
                                                       std::string what);

    enum class Use : unsigned char { written, made, read, removed };
    // Has the file of a volume locked for `client`, and then then(Lease, Call) called; without the lock the call is answered
    // with what is in the way.
    template <class Then>
    void have_locked(const server::Client& client, const Pool& pool, const std::string& volume, Use use,
                     server::Call call, Then then) {
        locks.take(
            client.id(),
            {.path = pool.path_of(volume),
             .volume = volume,
             .shared = use == Use::read,
             .is_new = use == Use::made},
            [use, call = std::move(call), then = std::move(then)](Answer<Lease> lease) mutable noexcept {
                // What is no file, but a link that somebody put there, is nobody's disk.
                if (!lease && use == Use::removed && is_no_file(lease.error())) lease = Lease{};
                if (!lease) return call.fail(lease.error());
                then(std::move(*lease), std::move(call));
            });
    }

    // A volume was made or changed, or is gone; tells those who want to know.
    void note(const PoolPtr& pool, const std::string& name, std::optional<Volume> volume) noexcept;

    // Has `work` done, which returns an Answer<X>, and answers the call with its failure, or has done(X, Call) answer it.
    // The pool counts as busy meanwhile.
    template <class Work, class Done>
    void have_done(Workshop& workshop, PoolPtr pool, server::Call call, Work work, Done done) {
        ++pool->jobs;
        workshop.run(std::move(work), [pool = std::move(pool), call = std::move(call),
                                       done = std::move(done)](auto result) mutable noexcept {
            --pool->jobs;
            if (!result) return call.fail(result.error());
            done(std::move(result), std::move(call));
        });
    }

    // The same for what changes nothing: it does not count as a job.
    template <class Work, class Done>
    void have_looked(server::Call call, Work work, Done done) {
        swift.run(std::move(work),
                  [call = std::move(call), done = std::move(done)](auto result) mutable noexcept {
                      if (!result) return call.fail(result.error());
                      done(std::move(result), std::move(call));
                  });
    }

private:
    [[nodiscard]] static bool is_no_file(const rpc::Failure& failure) noexcept;
    [[nodiscard]] Answer<void> make_default(const std::string& path);
    Pools pools_;
};

}  // namespace virtgate::workerd::store
