// SPDX-License-Identifier: LGPL-2.1-or-later
// locker_rig - a locker with a holder that does what the test wants, and clients, in one fake loop.
#pragma once

#include <sys/un.h>

#include <map>
#include <string>
#include <vector>

#include "libshared/loop/fake_loop.h"
#include "lockd/locker/locker.h"
#include "tests/unit/pump.h"

namespace virtgate::lockd::locker::test {

// A directory of this test's own, removed at the end.
class Directory {
public:
    Directory();
    ~Directory();
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;
    [[nodiscard]] std::string at(std::string_view name) const { return path_ + "/" + std::string(name); }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    std::string path_;
};

[[nodiscard]] bool exists(const std::string& path);
void write_file(const std::string& path, std::string_view text = {});
// True if another open file description, or (`posix`) another process, could have the write lock.
[[nodiscard]] bool is_free(const std::string& path);

// What outlives lockers in these tests.
class Holder {
public:
    // Reads what is in the queue at once; does not, and the queue is full; grants nothing.
    enum class Mode : unsigned char { at_once, stuck, refusing };

    explicit Holder(loop::Loop& loop) : loop_(loop) {}

    // The locker's end of a new channel; an older one is closed. `opens`: it gets its queue, too.
    [[nodiscard]] UniqueFd connect(bool opens = true);
    void open_queue();
    // The locker is gone: what it said counts.
    void hang_up();

    void send_serve();
    void send_hand_over();
    // What comes stays in the queue, which has room.
    void stop_reading() { watch_->set(loop::Want::nothing); }
    // Nobody can write to it any more.
    void break_queue();

    struct Thing {
        UniqueFd fd;
        proto::kept::Kept record;
    };
    std::map<Slot, Thing> things;
    std::vector<Slot> dropped;  // in order
    struct Switch {
        Holder& holder;
        void operator=(Mode mode) const { holder.switch_to(mode); }
    };
    const Switch mode{*this};
    std::uint32_t things_max = proto::holder::k_slots_max;
    int ready = 0;  // READY came so many times
    bool is_closed = false;

private:
    void switch_to(Mode mode);
    void tell_grant();
    [[nodiscard]] proto::holder::GrantArgs grant() const;
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view) noexcept { is_closed = true; }
    void on_queue(loop::Want) noexcept;
    void take(const rpc::Header& header, ByteView payload, UniqueFd fd);
    void restore(const rpc::Header& header, Slot from);

    loop::Loop& loop_;
    Mode mode_ = Mode::at_once;
    std::unique_ptr<rpc::Control> channel_;
    UniqueFd reading_, writing_;
    std::unique_ptr<loop::Watch> watch_;
    std::uint32_t serial_ = 0;
};

// A locker that serves, beneath a directory with `spaces` and `direct`.
class Rig {
public:
    explicit Rig(bool fencing = true);
    ~Rig();

    // A new locker, as after a crash of the one before: it restores and, unless `held_back`, serves.
    void start(bool held_back = false, bool opens = true);
    // The locker dies without a word.
    void crash();
    // It hands over; true if it ended in good order.
    bool hand_over();
    void turn();

    Directory directory;
    const std::string spaces, direct;
    loop::FakeLoop loop;
    proto::config::LockerConfig config;
    Holder holder;
    std::unique_ptr<Locker> locker;
    sockaddr_un name{};
    socklen_t name_size = 0;
    UniqueFd listener;
};

// A client. Answers are "ok", "CODE/DOMAIN TEXT", or "" if there is none yet.
class Client {
public:
    explicit Client(Rig& rig);

    std::string register_owner(std::uint32_t process, std::uint32_t id = 1, std::uint32_t flags = 0);
    std::string restrict(std::uint32_t flags = 0);
    std::string open_new(const std::string& path, std::uint32_t flags = 0);
    std::string open_space(const std::string& path);
    std::string create(const std::string& path, const std::string& resource, std::uint32_t flags = 0);
    std::string remove(const std::string& path, const std::string& resource, std::uint32_t flags = 0);
    std::string acquire(const std::string& path, const std::string& resource, std::uint32_t flags = 0);
    std::string release(const std::string& path, const std::string& resource, std::uint32_t flags = 0);
    // The answer that came since the last call.
    std::string answer();
    void hang_up();
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    bool is_at_end = false;

private:
    template <class Arguments>
    std::string ask(proto::lock::Procedure procedure, const Arguments& arguments);

    Rig& rig_;
    UniqueFd fd_;
    ByteVector buffer_;
    std::uint32_t serial_ = 0;
};

inline constexpr std::uint32_t k_shared = 1, k_auto = 2;
// Nobody's number: above the largest that a system gives.
inline constexpr std::uint32_t k_nobody = 4'194'305;

}  // namespace virtgate::lockd::locker::test
