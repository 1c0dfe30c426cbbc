// SPDX-License-Identifier: LGPL-2.1-or-later
// backlog - bytes that wait because a socket is full.
//
// On a stream that one side gives faster than the other takes, something begins and ceases to wait many thousand times in a
// second. So what was used last is kept for whoever in this thread is next to need it, and what is sent from the front does not
// move the rest.
//
// Limits: none of its own: who adds to it looks at size() first. A thread keeps at most k_kept_max bytes.
// Owns:   the bytes. An empty one owns no memory.
#pragma once

#include <utility>

#include "libshared/base/bytes.h"

namespace virtgate::netd::gate {

class Backlog {
public:
    static constexpr std::size_t k_kept_max = std::size_t{1} << 20;

    Backlog() noexcept = default;
    ~Backlog() { clear(); }
    Backlog(Backlog&& other) noexcept
        : bytes_(std::move(other.bytes_)), sent_(std::exchange(other.sent_, 0)) {}
    Backlog& operator=(Backlog&& other) noexcept {
        clear();
        bytes_ = std::move(other.bytes_);
        sent_ = std::exchange(other.sent_, 0);
        return *this;
    }

    [[nodiscard]] std::size_t size() const noexcept { return bytes_.size() - sent_; }
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }
    [[nodiscard]] ByteView bytes() const noexcept { return ByteView(bytes_).subspan(sent_); }

    void add(ByteView more) {
        if (bytes_.capacity() == 0) bytes_ = std::exchange(kept(), {});
        // Before it grows, what is gone gives its place.
        if (sent_ != 0 && bytes_.size() + more.size() > bytes_.capacity()) {
            bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(sent_));
            sent_ = 0;
        }
        bytes_.insert(bytes_.end(), more.begin(), more.end());
    }
    // `size` bytes at the front have been sent.
    void take(std::size_t size) noexcept {
        sent_ += size;
        if (empty()) clear();
    }
    void clear() noexcept {
        bytes_.clear();
        sent_ = 0;
        if (kept().capacity() < bytes_.capacity() && bytes_.capacity() <= k_kept_max) kept().swap(bytes_);
        bytes_ = ByteVector{};
    }

private:
    static ByteVector& kept() noexcept {
        static thread_local ByteVector t_kept;
        return t_kept;
    }

    ByteVector bytes_;
    std::size_t sent_ = 0;  // of these, from the front
};

}  // namespace virtgate::netd::gate
