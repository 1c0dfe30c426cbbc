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

// What outlives lockers in these tests. It answers at once, later, or with an error.
class Holder {
public:
    enum class Mode : unsigned char { at_once, later, refusing };

    explicit Holder(loop::Loop& loop) : loop_(loop) {}

    // The locker's end of a new channel; an older one is closed.
    [[nodiscard]] UniqueFd connect();
    // The locker is gone.
    void hang_up() { channel_.reset(); }

    void send_serve();
    void send_hand_over();
    // Answers the oldest message that waits; false if none does.
    bool answer_one(bool well = true);

    struct Thing {
        UniqueFd fd;
        proto::kept::Kept record;
    };
    std::map<Slot, Thing> things;
    std::vector<Slot> dropped;  // in order
    Mode mode = Mode::at_once;
    int ready = 0;  // READY came so many times
    bool is_closed = false;
    std::size_t waiting() const { return waiting_.size(); }

private:
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view) noexcept { is_closed = true; }
    void serve(const rpc::Header& header, const ByteVector& payload, UniqueFd fd, bool well);
    void restore(const rpc::Header& header, Slot from);

    struct Message {
        rpc::Header header;
        ByteVector payload;
        UniqueFd fd;
    };
    loop::Loop& loop_;
    std::unique_ptr<rpc::Control> channel_;
    std::vector<Message> waiting_;
};

// A locker that serves, beneath a directory with `spaces` and `direct`.
class Rig {
public:
    explicit Rig(bool fencing = true);
    ~Rig();

    // A new locker, as after a crash of the one before: it restores and, unless `held_back`, serves.
    void start(bool held_back = false);
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
