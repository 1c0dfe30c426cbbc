// SPDX-License-Identifier: LGPL-2.1-or-later
// outer_store - descriptors where they outlive this process: with the service manager.
//
// Everything goes through one queue, in order. What has been sent is safe: the datagram itself keeps the descriptor open,
// and the manager takes what a dead process sent before it looks at that death. So a request is done when it is sent. A
// manager that does not read makes requests wait, not this process; one that cannot be reached is tried again.
//
// Trust:  the manager is believed. It keeps as many descriptors as it was told to (FileDescriptorStoreMax): it does not
//         say when that is too little, except in the variable FDSTORE.
// Limits: as many requests wait as were made; who makes them waits until is_idle() before it makes many more. None is ever
//         given up: what is not kept there may be lost, and what is not removed there is held for ever.
// Owns:   the socket.
// Source: sd_pid_notify_with_fds(3), "FDSTORE"; used by systemd, and by `virtgate up` in its place.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "libshared/base/fd.h"
#include "libshared/base/log.h"
#include "libshared/loop/loop.h"

namespace virtgate::lockd::holder {

// A slot as the store calls it: base 36, digits and upper-case letters. The listeners' names are in lower case.
[[nodiscard]] std::string name_of(std::uint32_t slot);
// The slot of such a name; none if it is not one that name_of() makes, or too large (proto/holder.x, SLOTS_MAX).
[[nodiscard]] std::optional<std::uint32_t> slot_of(std::string_view name) noexcept;

class OuterStore {
public:
    static constexpr Milliseconds k_patience{10'000};
    static constexpr Milliseconds k_retry{500};

    // Connects to the service manager, if there is one that keeps anything. `on_idle`: told from the loop that nothing
    // waits any more.
    OuterStore(loop::Loop& loop, loop::Target<> on_idle);

    // False: there is none. All requests are done at once then.
    [[nodiscard]] bool is_there() const noexcept { return is_there_; }

    // Leaves a copy of `fd` there as `name`. `fd` stays open until is_idle().
    void keep(std::string_view name, int fd);
    // Has the manager close what it keeps as `name`.
    void remove(std::string_view name);

    // Tells the manager how this process is doing ("READY=1"), also one that keeps nothing.
    void tell(std::string state);

    // Nothing waits: the manager has been told everything.
    [[nodiscard]] bool is_idle() const noexcept { return queue_.empty(); }

    // Calls `then` when the manager has dealt with all that was asked of it, or `patience` is over. Once.
    void flush(Milliseconds patience, loop::Target<> then);

private:
    struct Request {
        std::string notice;
        int fd = -1;
    };
    void ask(Request request);
    [[nodiscard]] bool send(const Request& request) noexcept;
    void connect() noexcept;
    void on_writable(loop::Want ready) noexcept;
    void on_retry() noexcept;
    void on_barrier(loop::Want ready) noexcept;
    void on_flush_late() noexcept;
    void serve_queue() noexcept;
    void end_flush() noexcept;

    loop::Loop& loop_;
    const loop::Target<> on_idle_;
    const Log log_{"store"};
    bool is_there_ = false;
    bool failing_ = false;  // the manager could not be reached the last time
    UniqueFd socket_;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> retry_;
    std::deque<Request> queue_;
    Instant waits_since_{};  // what is first in the queue
    bool is_late_ = false;   // that was said

    std::optional<loop::Target<>> flushing_;
    UniqueFd barrier_;
    std::unique_ptr<loop::Watch> barrier_watch_;
    std::unique_ptr<loop::Timer> flush_late_;
};

}  // namespace virtgate::lockd::holder
