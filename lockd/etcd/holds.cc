// SPDX-License-Identifier: LGPL-2.1-or-later
// holds - what we hold in etcd, and what is being done about it: for each resource one thing after the other.
#include "lockd/etcd/holds.h"

#include <algorithm>
#include <utility>

#include "libshared/base/bytes.h"
#include "libshared/base/log.h"

namespace virtgate::lockd::etcd {

namespace {

// Of a job that nobody waits for.
constexpr std::uint32_t k_nobody = 0;

}  // namespace

void Holds::start(Task task, std::uint32_t serial) {
    if (jobs_count_ >= k_jobs_max && task.kind != Task::Kind::let_go)
        return user_.on_verdict(serial, task, Verdict::failed, 0, "too much is under way");
    if (task.kind == Task::Kind::let_go) {
        held_.erase(task.name);
        seen_.erase(task.name);
    }
    const std::string name = task.name;
    auto& queue = jobs_[name];
    JobUser& self = *this;
    queue.push_back(std::make_unique<Job>(place_, std::move(task), serial, self));
    ++jobs_count_;
    if (queue.size() == 1) queue.front()->start();
}

void Holds::replace(HeldByName held) {
    jobs_.clear();
    jobs_count_ = 0;
    seen_.clear();
    held_ = std::move(held);
}

void Holds::see(const KeyValue& key, Revision at) {
    const auto what = place_.keys.parse(key.key);
    if (!what) return;
    const auto known = held_.find(what->name);
    if (known != held_.end() && known->second.token == key.create_revision) {
        seen_.insert(what->name);
        return;
    }
    // Somebody may be about to take it, or may have taken it since.
    if (jobs_.contains(what->name) || (known != held_.end() && known->second.token > at)) return;
    Log{}.info("{} is held by our lease, and nobody here has it: it is let go", escape(what->name));
    start({.kind = Task::Kind::let_go,
           .name = what->name,
           .shared = what->shared,
           .lease = key.lease,
           .token = key.create_revision},
          k_nobody);
}

HeldByName Holds::take_missing(Revision at) {
    HeldByName missing;
    for (auto one = held_.begin(); one != held_.end();) {
        const auto next = std::next(one);
        if (one->second.token <= at && !seen_.contains(one->first)) missing.insert(held_.extract(one));
        one = next;
    }
    seen_.clear();
    return missing;
}

HeldByName Holds::take_strange() {
    HeldByName strange;
    for (auto one = held_.begin(); one != held_.end();) {
        const auto next = std::next(one);
        if (one->second.lease != place_.lease.id()) strange.insert(held_.extract(one));
        one = next;
    }
    return strange;
}

HeldByName Holds::take_deleted(const KeyValue& key) {
    HeldByName lost;
    const auto what = place_.keys.parse(key.key);
    const auto known = what ? held_.find(what->name) : held_.end();
    if (known == held_.end()) return lost;
    const Held& held = known->second;
    const bool is_ours = place_.keys.held(what->name, held.shared, held.lease) == key.key;
    // What was deleted before it was taken is a former holder's.
    if (is_ours && key.mod_revision > held.token) lost.insert(held_.extract(known));
    return lost;
}

void Holds::on_verdict(Job& job, Verdict verdict, Revision token, const std::string& reason) noexcept {
    const Task& task = job.task();
    if (task.kind == Task::Kind::take && verdict == Verdict::done)
        held_[task.name] = {.shared = task.shared, .lease = place_.lease.id(), .token = token};
    if (job.serial() != k_nobody) user_.on_verdict(job.serial(), task, verdict, token, reason);
}

void Holds::on_over(Job& job) noexcept {
    const std::string name = job.task().name;
    auto& queue = jobs_[name];
    // One that waits for its turn may be over, too: its time was.
    const auto place =
        std::find_if(queue.begin(), queue.end(), [&](const auto& one) { return one.get() == &job; });
    require(place != queue.end(), "a job that is not known is over");
    const bool is_first = place == queue.begin();
    queue.erase(place);
    --jobs_count_;
    if (queue.empty())
        jobs_.erase(name);
    else if (is_first)
        queue.front()->start();
}

}  // namespace virtgate::lockd::etcd
