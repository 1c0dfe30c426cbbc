// SPDX-License-Identifier: LGPL-2.1-or-later etcd_space - a lock space that is in etcd, for more than one
// host. A leaser asks there; this knows what we have.
//
// How long what we have is ours for certain is written down with the holder each time the leaser says so:
// whoever comes next knows it, whatever dies. When that time is over, all is lost, whether a leaser says so
// or not.
//
// What take() gives as a locked file is a sealed memory file that says by which lease and with which fencing
// token it is held.
//
// Twin: lockd/etcd/leaser (proto/lease.x).
//
// Trust:  names are clients'. A leaser faces the network: it may say of its own resources that they are held
//         or lost. One that says what makes no sense loses its channel.
// Owns:   the channel to the leaser.
#pragma once

#include <map>
#include <memory>
#include <unordered_map>

#include "libshared/loop/loop.h"
#include "lockd/locker/keeping.h"
#include "proto/config.h"
#include "proto/lease.h"

namespace virtgate::lockd::locker {

class EtcdSpaceUser {
public:
    virtual ~EtcdSpaceUser() = default;
    // The lock on `name` in the space that clients call `path` is not ours any more, or is about not to be.
    virtual void on_lost(const std::string& path, const std::string& name,
                         const std::string& reason) noexcept = 0;
};

class EtcdSpace final : public LockSpace, private KeepingUser {
public:
    // `clock`: libshared/base/boot_clock.h.
    EtcdSpace(loop::Loop& loop, const Clock& clock, Keeping& keeping,
              const proto::config::EtcdSpaceConfig& config, EtcdSpaceUser& user);
    ~EtcdSpace() override;
    EtcdSpace(const EtcdSpace&) = delete;
    EtcdSpace& operator=(const EtcdSpace&) = delete;

    [[nodiscard]] const std::string& path() const noexcept { return path_; }

    // An earlier process wrote that down. Before confirm() is asked.
    void restore(Slot slot, const proto::kept::KeptLease& lease);
    // Everything is restored: from now on time counts.
    void start();
    // A leaser is at the other end of `channel`.
    void adopt(UniqueFd channel);

    void take(const std::string& name, bool shared, bool create, Ticket ticket, LockSpaceUser& user) override;
    void let_go(const std::string& name, UniqueFd file, bool remove, Ticket ticket,
                LockSpaceUser& user) override;
    void create(const std::string& name, Ticket ticket, LockSpaceUser& user) override;
    void remove(const std::string& name, Ticket ticket, LockSpaceUser& user) override;
    [[nodiscard]] bool confirm(const std::string& name, int file, bool shared) override;
    [[nodiscard]] bool is_usable() const noexcept override { return is_good(); }
    [[nodiscard]] std::uint64_t token_of(const std::string& name) const noexcept override;

private:
    struct Held {
        bool shared = false;
        std::uint64_t lease = 0, token = 0;
        bool is_lost = false;
    };
    struct Asked {
        proto::lease::Procedure procedure{};
        std::string name{};
        bool shared = false;
        Ticket ticket = 0;
        LockSpaceUser* user = nullptr;
    };
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view reason) noexcept;
    void on_time() noexcept;
    void on_kept(Ticket ticket, Answer<void> done) noexcept override;

    [[nodiscard]] bool take_reply(const rpc::Control::Message& message);
    [[nodiscard]] bool take_state(const rpc::Control::Message& message);
    [[nodiscard]] bool take_lost(const rpc::Control::Message& message);
    void answer_take(const Asked& asked, const proto::lease::TakeRet& taken);
    void answer_failure(const Asked& asked, const rpc::Failure& failure);
    void drop_leaser(std::string_view reason);

    // False if there is no leaser to ask.
    template <class Arguments>
    [[nodiscard]] bool ask(Asked asked, const Arguments& arguments);
    template <class Arguments>
    void tell(proto::lease::Procedure procedure, const Arguments& arguments);
    [[nodiscard]] Answer<void> judge(const std::string& name) const;
    [[nodiscard]] rpc::Failure unreachable(std::string_view reason) const;
    [[nodiscard]] bool is_good() const noexcept;
    void write_down();
    void lose_all(const std::string& reason);
    [[nodiscard]] static proto::lease::Leased describe(const std::string& name, const Held& held);

    loop::Loop& loop_;
    const Clock& clock_;
    Keeping& keeping_;
    const std::string path_;
    EtcdSpaceUser& user_;
    std::unique_ptr<loop::Timer> timer_;
    std::unique_ptr<rpc::Control> leaser_;
    std::map<std::string, Held> held_;
    std::unordered_map<std::uint32_t, Asked> asked_;  // by serial
    std::uint64_t lease_ = 0;
    Instant lost_at_{};
    bool is_alive_ = false;
    std::string reason_ = "nobody has asked etcd yet";
    std::optional<Slot> slot_;
    bool is_slot_kept_ = false;
    bool is_writing_ = false, is_stale_ = false;  // what is written down is not what we know
};

}  // namespace virtgate::lockd::locker
