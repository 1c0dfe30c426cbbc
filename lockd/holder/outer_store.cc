// SPDX-License-Identifier: LGPL-2.1-or-later
// outer_store - descriptors where they outlive this process: with the service manager.
#include "lockd/holder/outer_store.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "libshared/spawn/notify.h"
#include "proto/holder.h"

namespace virtgate::lockd::holder {

using loop::Want;

namespace {

constexpr std::string_view k_digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

// systemd says since version 254 how many descriptors it keeps; `virtgate up` does so, too.
bool keeps_nothing() noexcept {
    const char* most = std::getenv("FDSTORE");
    return most != nullptr && std::string_view(most) == "0";
}

}  // namespace

std::string name_of(std::uint32_t slot) {
    std::string name;
    do {
        name.insert(name.begin(), k_digits[slot % k_digits.size()]);
        slot /= static_cast<std::uint32_t>(k_digits.size());
    } while (slot != 0);
    return name;
}

std::optional<std::uint32_t> slot_of(std::string_view name) noexcept {
    std::uint32_t slot = 0;
    for (const char c : name) {
        const auto digit = k_digits.find(c);
        if (digit == k_digits.npos) return std::nullopt;
        slot = slot * static_cast<std::uint32_t>(k_digits.size()) + static_cast<std::uint32_t>(digit);
        if (slot >= proto::holder::k_slots_max) return std::nullopt;
    }
    if (name.empty() || (name.size() > 1 && name.front() == k_digits.front())) return std::nullopt;
    return slot;
}

OuterStore::OuterStore(loop::Loop& loop, OnSettled on_settled)
    : loop_(loop),
      on_settled_(on_settled),
      retry_(loop.timer(loop::to<&OuterStore::on_retry>(*this))),
      flush_late_(loop.timer(loop::to<&OuterStore::on_flush_late>(*this))) {
    const char* manager = std::getenv("NOTIFY_SOCKET");
    is_there_ = manager != nullptr && *manager != '\0' && !keeps_nothing();
    if (is_there_) connect();
}

// A manager that cannot be reached now is asked again with the next request.
void OuterStore::connect() noexcept {
    watch_.reset();
    socket_.reset();
    auto socket = spawn::connect_notify();
    if (!socket || !*socket) {
        if (!failing_) log_.error("{}", socket ? "NOTIFY_SOCKET is gone" : socket.error().text);
        failing_ = true;
        return;
    }
    socket_ = std::move(*socket);
    watch_ = loop_.watch(socket_.get(), Want::nothing, loop::to<&OuterStore::on_writable>(*this));
}

// False: not now.
bool OuterStore::send(const Request& request, int fd) noexcept {
    if (!socket_) connect();
    if (!socket_) return false;
    const auto sent = spawn::send_notice(socket_.get(), request.notice, fd);
    if (sent) {
        if (*sent && failing_) log_.info("the service manager takes descriptors again");
        if (*sent) failing_ = false;
        return *sent;
    }
    if (!failing_) log_.error("{}; what is to be kept waits", sent.error().text);
    failing_ = true;
    // Descriptors that are on their way become fewer by themselves; anything else is wrong with this socket.
    if (sent.error().number != ETOOMANYREFS) {
        watch_.reset();
        socket_.reset();
    }
    return false;
}

OuterStore::Outcome OuterStore::ask(Request request, int fd) {
    if (!is_there_) return Outcome::done;
    if (queue_.empty() && send(request, fd)) return Outcome::done;
    if (fd >= 0) {
        request.fd = UniqueFd{fcntl(fd, F_DUPFD_CLOEXEC, 0)};
        if (!request.fd) return Outcome::failed;
    }
    request.since = loop_.clock().now();
    queue_.push_back(std::move(request));
    if (watch_) watch_->set(failing_ ? Want::nothing : Want::write);
    if (!retry_->running()) retry_->start(k_retry);
    return Outcome::waits;
}

OuterStore::Outcome OuterStore::keep(const std::string& name, int fd, std::uint64_t ticket) {
    Request request;
    // A lock's file is always "readable": the manager must not watch it.
    request.notice = fmt::format("FDSTORE=1\nFDNAME={}\nFDPOLL=0", name);
    request.ticket = ticket;
    request.is_keep = true;
    return ask(std::move(request), fd);
}

OuterStore::Outcome OuterStore::remove(const std::string& name, std::uint64_t ticket) {
    Request request;
    request.notice = fmt::format("FDSTOREREMOVE=1\nFDNAME={}", name);
    request.ticket = ticket;
    return ask(std::move(request), -1);
}

void OuterStore::on_writable(Want) noexcept { serve_queue(); }

void OuterStore::on_retry() noexcept {
    const Instant late = loop_.clock().now() - k_patience;
    std::deque<Request> expired;
    for (auto it = queue_.begin(); it != queue_.end();) {
        if (!it->is_keep || it->since > late) {
            ++it;
            continue;
        }
        expired.push_back(std::move(*it));
        it = queue_.erase(it);
    }
    serve_queue();
    for (const Request& request : expired) on_settled_(request.ticket, false);
}

void OuterStore::serve_queue() noexcept {
    while (!queue_.empty() && send(queue_.front(), queue_.front().fd.get())) {
        const std::uint64_t ticket = queue_.front().ticket;
        queue_.pop_front();
        on_settled_(ticket, true);
    }
    if (watch_) watch_->set(queue_.empty() || failing_ ? Want::nothing : Want::write);
    if (!queue_.empty()) return retry_->start(k_retry);
    retry_->stop();
    // The barrier goes behind the last request.
    if (!flushing_ || barrier_) return;
    auto barrier = socket_ ? spawn::ask_barrier(socket_.get()) : Result<UniqueFd>{};
    if (!barrier) return end_flush();
    if (!*barrier) {
        if (!socket_) return end_flush();
        watch_->set(Want::write);
        return;
    }
    barrier_ = std::move(*barrier);
    barrier_watch_ = loop_.watch(barrier_.get(), Want::read, loop::to<&OuterStore::on_barrier>(*this));
}

void OuterStore::flush(Milliseconds patience, loop::Target<> then) {
    flushing_ = then;
    if (!is_there_) return end_flush();
    flush_late_->start(patience);
    serve_queue();
}

void OuterStore::on_barrier(Want) noexcept { end_flush(); }

void OuterStore::on_flush_late() noexcept {
    log_.error("the service manager does not take what it is given; some of it may be lost");
    end_flush();
}

void OuterStore::end_flush() noexcept {
    flush_late_->stop();
    barrier_watch_.reset();
    barrier_.reset();
    if (const auto then = std::exchange(flushing_, std::nullopt)) (*then)();
}

}  // namespace virtgate::lockd::holder
