// SPDX-License-Identifier: LGPL-2.1-or-later
// lock_table - who holds which resource, in all lock spaces of this daemon.
//
// What happens to one resource happens in order: an operation waits until the one before it is over, which may take a
// message to the holder or to another machine. Operations on different resources do not wait for each other.
//
//     acquire:  lock space takes ─▶ holder keeps ─▶ noted, answered       (held already: holder keeps ─▶ …)
//     release:  holder drops ─▶ lock space lets go ─▶ answered            (others hold it: holder keeps ─▶ …)
//
// So nothing is answered before the holder has it, and no lock is let go that the holder would bring back.
//
// Trust:  names and owners are clients'; which client may say what was checked before (desk.h).
// Limits: as many held resources as the holder has slots; of one resource as many holds as fit a record.
// Owns:   the locked files, and the calls that wait.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>

#include "libshared/server/call.h"
#include "lockd/locker/keeping.h"

namespace virtgate::lockd::locker {

using Owner = proto::kept::KeptOwner;

class LockTableUser {
public:
    virtual ~LockTableUser() = default;
    // Nothing is held by `process` any more: the end of release_all().
    virtual void on_all_released(std::uint32_t process) noexcept = 0;
    // `owner` has a lock that was lost: see LockTable::lose().
    virtual void on_lost(const Owner& owner, const std::string& name) noexcept {
        static_cast<void>(owner), static_cast<void>(name);
    }
    // Nothing is under way: see LockTable::is_idle().
    virtual void on_idle() noexcept = 0;
};

class LockTable : private LockSpaceUser, private KeepingUser {
public:
    // Seconds since 1970.
    using WallClock = std::int64_t (*)() noexcept;

    LockTable(Keeping& keeping, LockTableUser& user, WallClock clock);
    ~LockTable() override;
    LockTable(const LockTable&) = delete;
    LockTable& operator=(const LockTable&) = delete;

    // A resource: `space` outlives all operations on it. `path` is what the client calls the space.
    struct Where {
        LockSpace* space = nullptr;
        std::string path{};
        std::string name{};
    };
    // Each answers `call` with success or the exact failure.
    void acquire(Where where, const Owner& owner, bool shared, bool create, server::Call call);
    void release(Where where, const Owner& owner, server::Call call);
    void create(Where where, server::Call call);
    void remove(Where where, server::Call call);

    // Ends every hold of `process`; on_all_released() follows, perhaps from within this.
    void release_all(std::uint32_t process);
    // How many resources `process` holds, or is about to.
    [[nodiscard]] std::size_t count_of(std::uint32_t process) const noexcept;
    // The lock on a resource is not ours any more, or is about not to be: on_lost() for each who holds it, once it is held.
    // Nobody gets it from here before they have all ended or released it.
    void lose(const std::string& path, const std::string& name);
    // True if a resource of the lock space is held or worked on.
    [[nodiscard]] bool uses(const LockSpace& space) const noexcept;

    // Takes over a lock from an earlier process. The file is locked, and was checked.
    void restore(Slot slot, LockSpace& space, proto::kept::KeptLock lock, UniqueFd file);

    // No operation is under way.
    [[nodiscard]] bool is_idle() const noexcept { return under_way_ == 0; }
    [[nodiscard]] std::size_t held() const noexcept { return held_; }

private:
    enum class Kind : unsigned char { acquire, release, create, remove, release_all };
    struct Operation {
        Kind kind;
        std::optional<server::Call> call{};
        Owner owner{};  // of release_all: only the process
        bool shared = false;
        bool create = false;
    };
    // Whatever is known of one resource; there as long as it is held or something happens to it.
    struct Resource {
        LockSpace* space = nullptr;
        proto::kept::KeptLock facts{};  // without holds: not held
        UniqueFd file{};
        std::optional<Slot> slot{};
        proto::kept::KeptLock next{};  // what the facts become when the holder has them
        std::deque<Operation> operations{};
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
    void keep(Resource& resource, int fd);
    void on_taken(Ticket ticket, Answer<LockedFile> file) noexcept override;
    void on_done(Ticket ticket, Answer<void> done) noexcept override;
    void on_kept(Ticket ticket, Answer<void> done) noexcept override;
    void on_kept_acquired(Resource& resource, Answer<void> done);
    void on_kept_released(Resource& resource, Answer<void> done);
    // The operation that has begun is over: answers it, and goes on with the next one.
    void finish(Resource& resource, const Answer<void>& done);
    void tell_lost(const Resource& resource);
    void settle(std::uint32_t process);
    [[nodiscard]] Resource* waiting_for(Ticket ticket) noexcept;
    [[nodiscard]] Ticket expect(Resource& resource);
    [[nodiscard]] static bool concerns(const Resource& resource, std::uint32_t process) noexcept;

    Keeping& keeping_;
    LockTableUser& user_;
    const WallClock clock_;
    std::map<Key, Resource> resources_;
    std::unordered_map<Ticket, Resource*> tickets_;
    std::unordered_map<std::uint32_t, std::size_t>
        releasing_;  // process: resources where release_all() is not over
    Ticket next_ticket_ = 1;
    std::size_t under_way_ = 0;
    std::size_t held_ = 0;
};

}  // namespace virtgate::lockd::locker
