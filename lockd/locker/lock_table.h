// SPDX-License-Identifier: LGPL-2.1-or-later
// lock_table - who holds which resource, in all lock spaces of this daemon.
//
// What happens to one resource happens in order: an operation waits until the one before it is over, which may take a
// message to the holder or to another machine. Operations on different resources do not wait for each other.
//
//     acquire:  lock space takes ─▶ kept (keeping.h) ─▶ noted, answered       (held already: kept ─▶ …)
//     release:  dropped ─▶ lock space lets go ─▶ answered                     (others hold it: kept ─▶ …)
//
// So nothing is answered before it outlives this process, and no lock is let go that would be brought back.
//
// Trust:  names and owners are clients'; which client may say what was checked before (desk.h).
// Limits: as many held resources as the holder has slots; of one resource as many holds as fit a record; of one identity
//         of the front door as many locks as the settings say, so that no client can have all slots.
// Owns:   the locked files, and the calls that wait.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>

#include "libshared/server/call.h"
#include "lockd/locker/keeping.h"

namespace virtgate::lockd::locker {

using Owner = proto::kept::KeptOwner;

// True if they are one owner, whatever else is said of it.
[[nodiscard]] bool is_same(const Owner& a, const Owner& b) noexcept;
// Equal for the same owner, and only then: for sets and maps. It is no text.
[[nodiscard]] std::string key_of(const Owner& owner);
[[nodiscard]] inline bool is_process(const Owner& owner) noexcept {
    return owner.kind == proto::kept::OwnerKind::owner_process;
}

class LockTableUser {
public:
    virtual ~LockTableUser() = default;
    // Nothing is held by `owner` any more: the end of release_all().
    virtual void on_all_released(const Owner& owner) noexcept = 0;
    // `owner` has a lock that was lost: see LockTable::lose().
    virtual void on_lost(const Owner& owner, const std::string& name) noexcept {
        static_cast<void>(owner), static_cast<void>(name);
    }
    // Nothing is under way: see LockTable::is_idle().
    virtual void on_idle() noexcept = 0;
};

// Who breaks locks.
class LockBreaker {
public:
    virtual ~LockBreaker() = default;
    // These holds are over, which their owners did not release; or none is, and the failure says why.
    virtual void on_broken(Ticket ticket, Answer<std::vector<proto::kept::KeptHold>> holds) noexcept = 0;
};

class LockTable : private LockSpaceUser, private KeepingUser {
public:
    // Seconds since 1970.
    using WallClock = std::int64_t (*)() noexcept;

    // `most`: locks that one identity has at a time, in its sessions and kept. Who speaks for processes may have any number.
    LockTable(Keeping& keeping, LockTableUser& user, WallClock clock, std::size_t most = SIZE_MAX);
    ~LockTable() override;
    LockTable(const LockTable&) = delete;
    LockTable& operator=(const LockTable&) = delete;

    // A resource: `space` outlives all operations on it. `path` is what the client calls the space.
    struct Where {
        LockSpace* space = nullptr;
        std::string path{};
        std::string name{};
    };
    // Each answers `call` with success or the exact failure. `way`: the connection by which it is taken.
    // `names_holder`: whoever is refused may know who has it.
    void acquire(Where where, const Owner& owner, const proto::kept::KeptWay& way, bool shared, bool create,
                 server::Call call, bool names_holder = false);
    void release(Where where, const Owner& owner, server::Call call);
    // The same for somebody who may be two owners: what `other` holds is released where `owner` holds nothing.
    void release(Where where, const Owner& owner, const Owner& other, server::Call call);
    void create(Where where, server::Call call);
    void remove(Where where, server::Call call);
    // Ends the holds of the owner with `uuid`, or all; on_broken() follows, perhaps from within this.
    using Uuid = std::array<std::byte, 16>;
    void break_holds(Where where, const std::optional<Uuid>& uuid, Ticket ticket, LockBreaker& breaker);

    // Ends every hold of `owner`; on_all_released() follows, perhaps from within this.
    void release_all(const Owner& whose);
    // How many resources `owner` holds, or is about to.
    [[nodiscard]] std::size_t count_of(const Owner& owner) const noexcept;
    // The lock on a resource is not ours any more, or is about not to be: on_lost() for each who holds it, once it is held.
    // Nobody gets it from here before they have all ended or released it.
    void lose(const std::string& path, const std::string& name);
    // Something that is held, as whoever lists locks sees it. Lasts until the table changes.
    struct Held {
        const proto::kept::KeptLock& facts;
        const LockSpace& space;
        bool is_lost;
    };
    // Calls visit(Held) for what is held, by path of the space and name, from `path` and `name` on, until it says false.
    template <class Visit>
    void visit_from(const std::string& path, const std::string& name, Visit&& visit) const {
        for (auto one = resources_.lower_bound(Key{path, name}); one != resources_.end(); ++one)
            if (const Resource& it = one->second; !it.facts.holds.empty())
                if (!visit(Held{it.facts, *it.space, it.is_lost})) return;
    }
    // How many resources of the lock space that clients call `path` are held.
    [[nodiscard]] std::size_t held_in(const std::string& path) const noexcept;
    // True if a resource of the lock space is held or worked on.
    [[nodiscard]] bool uses(const LockSpace& space) const noexcept;

    // Takes over a lock from an earlier process. The file is locked, and was checked.
    void restore(Slot slot, LockSpace& space, proto::kept::KeptLock lock, UniqueFd file);

    // No operation is under way.
    [[nodiscard]] bool is_idle() const noexcept { return under_way_ == 0; }
    [[nodiscard]] std::size_t held() const noexcept { return held_; }

private:
    enum class Kind : unsigned char { acquire, release, create, remove, release_all, break_holds };
    struct Operation {
        Kind kind;
        std::optional<server::Call> call{};
        Owner owner{};
        std::optional<Owner> other{};  // of release
        bool shared = false;
        bool create = false;
        bool names_holder = false;
        proto::kept::KeptWay way{};
        // Of break_holds.
        std::optional<Uuid> uuid{};
        Ticket ticket = 0;
        LockBreaker* breaker = nullptr;
        std::vector<proto::kept::KeptHold> broken{};
    };
    // Whatever is known of one resource; there as long as it is held or something happens to it.
    struct Resource {
        LockSpace* space = nullptr;
        proto::kept::KeptLock facts{};  // without holds: not held
        UniqueFd file{};
        std::optional<Slot> slot{};
        proto::kept::KeptLock next{};  // what the facts become when the holder has them
        std::list<Operation> operations{};
        bool is_lost = false;                   // by its lock space; until nobody holds it any more
        bool is_working = false;                // the first operation has begun
        bool is_running = false;                // run() is at work, further up
        std::optional<rpc::Failure> failure{};  // of an acquire that has to be undone first
    };
    using Key = std::pair<std::string, std::string>;  // path of the space, name

    void start(Where where, Operation operation);
    void run(Resource& resource);
    void begin(Resource& resource);
    void run_acquire(Resource& resource, Operation& operation);
    void run_release(Resource& resource, Operation& operation);
    void run_break(Resource& resource, Operation& operation);
    // The holds that `resource.next` has less than before go.
    void let_go_of_some(Resource& resource);
    void keep(Resource& resource, int fd);
    void on_taken(Ticket ticket, Answer<LockedFile> file) noexcept override;
    void on_done(Ticket ticket, Answer<void> done) noexcept override;
    void on_kept(Ticket ticket, Answer<void> done) noexcept override;
    void on_kept_acquired(Resource& resource, Answer<void> done);
    void on_kept_released(Resource& resource, Answer<void> done);
    // The operation that has begun is over: answers it, and goes on with the next one.
    void finish(Resource& resource, const Answer<void>& done);
    void tell_lost(const Resource& resource);
    void settle(const Owner& owner);
    void count(const Owner& owner, bool more);
    void count(const proto::kept::KeptLock& lock, bool more);
    [[nodiscard]] static rpc::Failure refusal(const Resource& resource, const Operation& operation);
    [[nodiscard]] Resource* waiting_for(Ticket ticket) noexcept;
    [[nodiscard]] Ticket expect(Resource& resource);
    [[nodiscard]] static bool concerns(const Resource& resource, const Owner& owner) noexcept;

    Keeping& keeping_;
    LockTableUser& user_;
    const WallClock clock_;
    const std::size_t most_;
    std::unordered_map<std::string, std::size_t>
        tally_;  // locks by identity, with those that are being taken
    std::map<Key, Resource> resources_;
    std::unordered_map<Ticket, Resource*> tickets_;
    std::unordered_map<std::string, std::size_t>
        releasing_;  // owner: resources where release_all() is not over
    Ticket next_ticket_ = 1;
    std::size_t under_way_ = 0;
    std::size_t held_ = 0;
};

}  // namespace virtgate::lockd::locker
