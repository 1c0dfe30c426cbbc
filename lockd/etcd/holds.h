// SPDX-License-Identifier: LGPL-2.1-or-later
// holds - what we hold in etcd, and what is being done about it: for each resource one thing after the other.
//
// Limits: k_jobs_max things at a time.
// Owns:   the jobs.
#pragma once

#include <deque>
#include <map>
#include <set>

#include "lockd/etcd/job.h"

namespace virtgate::lockd::etcd {

// Something that is held.
struct Held {
    bool shared = false;
    LeaseId lease = 0;
    Revision token = 0;
};
using HeldByName = std::map<std::string, Held>;

class HoldsUser {
public:
    virtual ~HoldsUser() = default;
    // The answer to start().
    virtual void on_verdict(std::uint32_t serial, const Task& task, Verdict verdict, Revision token,
                            const std::string& reason) noexcept = 0;
};

class Holds : private JobUser {
public:
    static constexpr std::size_t k_jobs_max = 65'536;

    Holds(Place& place, HoldsUser& user) : place_(place), user_(user) {}
    Holds(const Holds&) = delete;
    Holds& operator=(const Holds&) = delete;

    // Begins with `task`; on_verdict() follows, perhaps from within this.
    void start(Task task, std::uint32_t serial);

    // Somebody else asks from now on, and this is all that he holds: nothing is answered that was asked
    // before.
    void replace(HeldByName held);
    [[nodiscard]] const HeldByName& held() const noexcept { return held_; }

    // One of our keys, as it was when the revision of the store was `at`. One that nobody knows of is let go.
    void see(const KeyValue& key, Revision at);
    // All that there were then have been seen: what is missing is lost.
    [[nodiscard]] HeldByName take_missing(Revision at);
    // A key was deleted: what was held by it, if anything was.
    [[nodiscard]] HeldByName take_deleted(const KeyValue& key);
    // What is held by another lease than ours.
    [[nodiscard]] HeldByName take_strange();
    // Everything is lost.
    [[nodiscard]] HeldByName take_all() { return std::exchange(held_, {}); }

private:
    void on_verdict(Job& job, Verdict verdict, Revision token, const std::string& reason) noexcept override;
    void on_over(Job& job) noexcept override;

    Place& place_;
    HoldsUser& user_;
    HeldByName held_;
    std::set<std::string> seen_;  // of what is held, since the last take_missing()
    std::map<std::string, std::deque<std::unique_ptr<Job>>> jobs_;
    std::size_t jobs_count_ = 0;
};

}  // namespace virtgate::lockd::etcd
