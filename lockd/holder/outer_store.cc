// SPDX-License-Identifier: LGPL-2.1-or-later
// outer_store - descriptors where they outlive this process: with the service manager.
#include "lockd/holder/outer_store.h"

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

OuterStore::OuterStore(loop::Loop& loop, loop::Target<> on_idle)
    : loop_(loop),
      on_idle_(on_idle),
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
bool OuterStore::send(const Request& request) noexcept {
    if (!socket_) connect();
    if (!socket_) return false;
    const auto sent = spawn::send_notice(socket_.get(), request.notice, request.fd);
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

void OuterStore::ask(Request request) {
    if (!is_there_ || (queue_.empty() && send(request))) return;
    if (queue_.empty()) waits_since_ = loop_.clock().now();
    queue_.push_back(std::move(request));
    if (watch_) watch_->set(failing_ ? Want::nothing : Want::write);
    if (!retry_->running()) retry_->start(k_retry);
}

void OuterStore::keep(std::string_view name, int fd) {
    // A lock's file is always "readable": the manager must not watch it.
    ask({.notice = fmt::format("FDSTORE=1\nFDNAME={}\nFDPOLL=0", name), .fd = fd});
}

void OuterStore::remove(std::string_view name) {
    ask({.notice = fmt::format("FDSTOREREMOVE=1\nFDNAME={}", name)});
}

void OuterStore::tell(std::string state) {
    if (is_there_) return ask({.notice = std::move(state)});
    if (const auto told = spawn::notify(state); !told) log_.error("{}", told.error().text);
}

void OuterStore::on_writable(Want) noexcept { serve_queue(); }

void OuterStore::on_retry() noexcept {
    serve_queue();
    if (queue_.empty() || loop_.clock().now() - waits_since_ < k_patience || std::exchange(is_late_, true))
        return;
    log_.error("the service manager takes nothing; soon clients will have to wait for it");
}

void OuterStore::serve_queue() noexcept {
    const bool waited = !queue_.empty();
    while (!queue_.empty() && send(queue_.front())) {
        queue_.pop_front();
        waits_since_ = loop_.clock().now();
        is_late_ = false;
    }
    if (watch_) watch_->set(queue_.empty() || failing_ ? Want::nothing : Want::write);
    if (!queue_.empty()) return retry_->start(k_retry);
    retry_->stop();
    if (waited) on_idle_();  // what is asked there may wait again
    // The barrier goes behind the last request.
    if (!queue_.empty() || !flushing_ || barrier_) return;
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
