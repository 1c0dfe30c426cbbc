// SPDX-License-Identifier: LGPL-2.1-or-later
// locks - a volume is locked with the lock daemon before it is written, and as long as it is.
#include "workerd/store/locks.h"

#include <fmt/format.h>

#include <algorithm>

#include "workerd/store/path_digest.h"

namespace virtgate::workerd::store {

namespace lock = proto::lock;

namespace {

// Of ACQUIRE_RESOURCE. Source: docs/protocol.md, the lock program.
constexpr std::uint32_t k_shared = 1, k_auto_create = 2;

void ignore(const LockLine::Ended&) {}

}  // namespace

struct Lease::Held {
    Held(std::shared_ptr<LockLine> by, std::string in, std::string of)
        : line(std::move(by)), space(std::move(in)), name(std::move(of)) {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() {
        if (!line->is_lost())
            line->call(lock::Procedure::release_resource,
                       lock::ReleaseResourceArgs{.path = space, .name = name, .flags = 0}, ignore);
    }
    std::shared_ptr<LockLine> line;
    std::string space, name;
    std::shared_ptr<std::atomic<bool>> loss = std::make_shared<std::atomic<bool>>(false);
    loop::Target<> on_lost{};
};

bool Lease::is_lost() const noexcept { return held_ != nullptr && *held_->loss; }

std::shared_ptr<const std::atomic<bool>> Lease::loss() const noexcept {
    return held_ != nullptr ? held_->loss : nullptr;
}

void Lease::watch(loop::Target<> on_lost) noexcept {
    if (held_ != nullptr) held_->on_lost = on_lost;
}

rpc::Failure has_lost_lock(std::string_view volume) {
    return has_failed(
        fmt::format("the lock on volume '{}' was lost: the lock daemon ended, or somebody broke it", volume));
}

Locks::Locks(loop::Loop& loop, Plan plan, loop::Target<> on_asking)
    : loop_(loop),
      plan_(std::move(plan)),
      on_asking_(on_asking),
      held_(std::make_shared<std::list<std::weak_ptr<Lease::Held>>>()),
      timer_(loop.timer(loop::to<&Locks::on_time>(*this))),
      linger_timer_(loop.timer(loop::to<&Locks::on_lingered>(*this))) {}

Locks::~Locks() = default;

void Locks::start(One one) {
    // Nobody has anything of a file that is not there.
    const bool is_nothing = one->claim.is_new && plan_.lock_space.empty();
    if (!plan_.is_on || is_nothing) return one->done(Lease{});
    one->until = loop_.clock().now() + k_patience;
    waiting_.push_back(one);
    if (!timer_->running()) timer_->start(k_patience);
    ask(one);
}

void Locks::ask(const One& one) {
    if (!line_) {
        if (!std::exchange(is_asking_, true)) on_asking_();
        return;
    }
    one->is_asked = true;
    const Guest& guest = one->guest;
    line_->call(lock::Procedure::register_,
                lock::RegisterArgs{
                    .owner = {.uuid = {},
                              .name = guest.identity,
                              // A session's number, which is small; 0 would be no registration.
                              .id = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(guest.session)),
                              .process_id = 0},
                    .flags = 0},
                ignore);
    const bool in_space = !plan_.lock_space.empty();
    line_->call(lock::Procedure::acquire_resource,
                lock::AcquireResourceArgs{
                    .path = plan_.lock_space,
                    .name = in_space ? digest_of(one->claim.path) : one->claim.path,
                    .flags = (one->claim.shared ? k_shared : 0) | (in_space ? k_auto_create : 0)},
                [this, one, line = line_](const LockLine::Ended& ended) { on_answer(one, line, ended); });
}

void Locks::on_answer(const One& one, const std::shared_ptr<LockLine>& line, const LockLine::Ended& ended) {
    const Claim& claim = one->claim;
    if (ended.is_lost) {
        // It may have been lost long before: idle lines are not looked at.
        one->is_asked = false;
        if (std::exchange(one->is_again, true)) finish(one, refuse(has_lost_lock(claim.volume)));
        return;
    }
    if (ended.is_done()) {
        const bool in_space = !plan_.lock_space.empty();
        auto held = std::make_shared<Lease::Held>(line, plan_.lock_space,
                                                  in_space ? digest_of(claim.path) : claim.path);
        std::erase_if(*held_, [](const auto& each) { return each.expired(); });
        held_->push_back(held);
        return finish(one, Lease(std::move(held)));  // let go at once if nobody waits any more
    }
    if (ended.code == rpc::k_code_resource_busy)
        return finish(
            one, refuse(is_busy(fmt::format("volume '{}' is in use by {}", claim.volume, ended.detail))));
    // It has no such file, or may not open it: as if the store had tried.
    if (ended.code == rpc::k_code_system)
        return finish(
            one, refuse({.code = rpc::k_code_system,
                         .domain = has_failed({}).domain,
                         .message = fmt::format("volume '{}' cannot be locked: {}", claim.volume, ended.text),
                         .pattern = "%s",
                         .detail = {},
                         .int1 = ended.number}));
    finish(one, refuse(has_failed(fmt::format("volume '{}' cannot be locked, and so not be written: {}",
                                              claim.volume, ended.text))));
}

void Locks::finish(const One& one, Answer<Lease> lease) {
    waiting_.remove(one);
    if (const auto done = std::exchange(one->done, nullptr)) done(std::move(lease));
}

void Locks::set_way(UniqueFd connection) {
    is_asking_ = false;
    line_ = std::make_shared<LockLine>(loop_, std::move(connection), loop::to<&Locks::on_lost>(*this));
    // What is wrong with it the first lock will tell.
    if (!plan_.lock_space.empty())
        line_->call(lock::Procedure::create_lockspace, lock::CreateLockSpaceArgs{.path = plan_.lock_space},
                    ignore);
    for (const One& one : std::list(waiting_))
        if (!one->is_asked) ask(one);
}

void Locks::set_no_way(std::string_view why) {
    is_asking_ = false;
    for (const One& one : std::list(waiting_))
        finish(one, refuse(has_failed(fmt::format(
                        "volume '{}' cannot be locked, and so not be written: no way to the lock daemon: {}",
                        one->claim.volume, why))));
}

void Locks::on_lost(LockLine& line) noexcept {
    if (line_.get() == &line) line_.reset();
    for (const auto& each : std::list(*held_)) {
        const auto held = each.lock();
        if (held == nullptr || held->line.get() != &line) continue;
        *held->loss = true;
        if (held->on_lost.object != nullptr) held->on_lost();
    }
    // Those that had no answer try once more.
    for (const One& one : std::list(waiting_))
        if (!one->is_asked) ask(one);
}

void Locks::linger(UniqueFd file, Workshop& workshop) {
    if (!file) return;
    lingering_.push_back({std::move(file), workshop, loop_.clock().now() + k_linger});
    if (!linger_timer_->running()) linger_timer_->start(k_linger);
}

void Locks::on_lingered() noexcept {
    const Instant now = loop_.clock().now();
    while (!lingering_.empty() && lingering_.front().until <= now) {
        Lingering one = std::move(lingering_.front());
        lingering_.pop_front();
        one.workshop.run(
            [file = std::move(one.file)]() mutable {
                file.reset();
                return true;
            },
            [](bool) noexcept {});
    }
    if (!lingering_.empty())
        linger_timer_->start(std::chrono::ceil<Milliseconds>(lingering_.front().until - now));
}

void Locks::on_time() noexcept {
    const Instant now = loop_.clock().now();
    for (const One& one : std::list(waiting_))
        if (one->until <= now)
            finish(one,
                   refuse(has_failed(fmt::format(
                       "volume '{}' cannot be locked, and so not be written: the lock daemon does not answer",
                       one->claim.volume))));
    if (waiting_.empty()) return;
    const auto first = std::min_element(waiting_.begin(), waiting_.end(),
                                        [](const One& a, const One& b) { return a->until < b->until; });
    timer_->start(std::chrono::ceil<Milliseconds>((*first)->until - now));
}

}  // namespace virtgate::workerd::store
