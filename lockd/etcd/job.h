// SPDX-License-Identifier: LGPL-2.1-or-later
// job - one thing that is to be done about one resource, until it is certain what became of it.
//
// A transaction whose answer never came may have been done, or be done later, by a server that was stopped
// with it in its queue. So looking is not enough. Every transaction that takes something demands that the key
// settle/LEASE has the revision that we know; to settle one, that key is written anew, together with a look
// at the resource: from then on the lost transaction is either to be seen, or can never succeed. And what is
// deleted is deleted only with the create_revision that is meant: a lost deletion cannot hit a later owner.
//
//     asking ──succeeded──▶ (taken)                       of LET_GO:
//       │ ▲ └──somebody has it──▶ (refused)               asking ──answered──▶ (done)
//       │ └──not there──┐                                   ▲ └── unreachable: the user is told that it is done,
//     unknown       settling ──there──▶ (taken)             └──1 s──┘   and it is done when etcd can be reached
//       └───────────▲ └─1 s─┘ after the deadline the user is told that it failed; what is found then is let go
//
// Trust:  see cluster.h.
// Limits: who asked is answered within `patience`.
#pragma once

#include "lockd/etcd/keys.h"
#include "lockd/etcd/lease.h"

namespace virtgate::lockd::etcd {

// What a job needs to know and to tell, beside the cluster.
struct Place {
    loop::Loop& loop;
    Cluster& cluster;
    Lease& lease;
    const Keys& keys;
    const std::string& host;
    Milliseconds patience;
    Revision settled = 0;  // of the key settle/LEASE
};

struct Task {
    enum class Kind : unsigned char { take, let_go, create, remove };
    Kind kind = Kind::take;
    std::string name{};
    bool shared = false;
    bool create = false;  // of take: it need not have been made
    LeaseId lease = 0;    // of let_go
    Revision token = 0;   // of let_go
};

enum class Verdict : unsigned char { done, busy, failed };

class Job;

class JobUser {
public:
    virtual ~JobUser() = default;
    // What became of it; once, from the loop. `token`: of a take that is done. `reason`: for people.
    virtual void on_verdict(Job& job, Verdict verdict, Revision token,
                            const std::string& reason) noexcept = 0;
    // Nothing of it is under way any more. It may be destroyed from within this.
    virtual void on_over(Job& job) noexcept = 0;
};

class Job : private ClusterUser {
public:
    // `serial` is the user's.
    Job(Place& place, Task task, std::uint32_t serial, JobUser& user);
    ~Job() override;
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;

    // The jobs on this resource that came before are over.
    void start() noexcept;
    [[nodiscard]] const Task& task() const noexcept { return task_; }
    [[nodiscard]] std::uint32_t serial() const noexcept { return serial_; }

private:
    enum class Step : unsigned char { waiting, asking, settling, undoing };
    void ask() noexcept;
    void ask_take() noexcept;
    void ask_settle() noexcept;
    void ask_remove_key(Revision token) noexcept;
    void ask_made() noexcept;
    void send(const Transaction& transaction, Cluster::Repeat repeat) noexcept;
    void on_answer(Ticket ticket, Answer answer) noexcept override;
    void on_take_answered(const Reply& reply) noexcept;
    void on_settle_answered(const Reply& reply) noexcept;
    void on_made_answered(const Reply& reply) noexcept;
    void on_unanswered(const Answer& answer) noexcept;
    void on_taken(Revision token) noexcept;
    void on_deadline() noexcept;
    void again() noexcept;
    void say(Verdict verdict, Revision token, std::string reason) noexcept;
    void end() noexcept;
    [[nodiscard]] const KeyValue* find_mine(const std::vector<KeyValue>& keys) const noexcept;

    Place& place_;
    const Task task_;
    const std::uint32_t serial_;
    JobUser& user_;
    const LeaseId lease_;  // that it is taken with
    const std::string attempt_;
    Step step_ = Step::waiting;
    bool is_said_ = false;
    Revision found_ = 0;     // what is to be undone
    Revision demanded_ = 0;  // of the key settle/LEASE, in what was asked
    std::string reason_;
    std::optional<Ticket> ticket_;
    std::unique_ptr<loop::Timer> deadline_, retry_;
};

// Writes the key settle/LEASE: what a process before us may have asked for cannot be done any more.
[[nodiscard]] Transaction make_settlement(const Keys& keys, LeaseId lease);

}  // namespace virtgate::lockd::etcd
