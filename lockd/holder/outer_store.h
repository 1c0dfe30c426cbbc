// SPDX-License-Identifier: LGPL-2.1-or-later
// outer_store - descriptors where they outlive this process: with the service manager.
//
// Everything goes through one queue, in order. What has been sent is safe: the datagram itself keeps the descriptor open,
// and the manager takes what a dead process sent before it looks at that death. So a request is done when it is sent. A
// manager that does not read makes requests wait, not this process; one that cannot be reached is tried again.
//
// Trust:  the manager is believed. It keeps as many descriptors as it was told to (FileDescriptorStoreMax): it does not
//         say when that is too little, except in the variable FDSTORE.
// Limits: a keep() that waits for k_patience fails. A remove() never does: what is not removed there is held for ever.
// Owns:   the socket, and copies of descriptors that wait.
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

    // Told what has become of a request that waited: its ticket, and whether it was done.
    using OnSettled = loop::Target<std::uint64_t, bool>;

    // Connects to the service manager, if there is one that keeps anything. `on_settled` comes from the loop alone.
    OuterStore(loop::Loop& loop, OnSettled on_settled);

    // False: there is none. All requests are done at once then.
    [[nodiscard]] bool is_there() const noexcept { return is_there_; }

    enum class Outcome : unsigned char { done, waits, failed };
    // Leaves a copy of `fd` (borrowed) there as `name`. If it waits, on_settled(ticket) follows. It fails if it would have
    // to wait and this process has no descriptor left for that.
    Outcome keep(const std::string& name, int fd, std::uint64_t ticket);
    // Has the manager close what it keeps as `name`. Never fails.
    Outcome remove(const std::string& name, std::uint64_t ticket);

    // Nothing waits.
    [[nodiscard]] bool is_idle() const noexcept { return queue_.empty(); }

    // Calls `then` when the manager has dealt with all that was asked of it, or `patience` is over. Once.
    void flush(Milliseconds patience, loop::Target<> then);

private:
    struct Request {
        std::string notice;
        UniqueFd fd;
        std::uint64_t ticket = 0;
        bool is_keep = false;
        Instant since{};
    };
    [[nodiscard]] Outcome ask(Request request, int fd);
    [[nodiscard]] bool send(const Request& request, int fd) noexcept;
    void connect() noexcept;
    void on_writable(loop::Want ready) noexcept;
    void on_retry() noexcept;
    void on_barrier(loop::Want ready) noexcept;
    void on_flush_late() noexcept;
    void serve_queue() noexcept;
    void end_flush() noexcept;

    loop::Loop& loop_;
    const OnSettled on_settled_;
    const Log log_{"store"};
    bool is_there_ = false;
    bool failing_ = false;  // the manager could not be reached the last time
    UniqueFd socket_;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> retry_;
    std::deque<Request> queue_;

    std::optional<loop::Target<>> flushing_;
    UniqueFd barrier_;
    std::unique_ptr<loop::Watch> barrier_watch_;
    std::unique_ptr<loop::Timer> flush_late_;
};

}  // namespace virtgate::lockd::holder
