// SPDX-License-Identifier: LGPL-2.1-or-later
// lane - one direction of a session.
#include "workerd/worker/lane.h"

#include <cstring>
#include <functional>
#include <utility>

#include "libshared/base/result.h"

namespace virtgate::workerd::worker {

bool Scratch::has_room_before(const std::byte* at, std::size_t size) const noexcept {
    const std::less_equal<> not_after;
    return not_after(bytes_.data() + k_headroom, at) && not_after(at, bytes_.data() + bytes_.size()) &&
           static_cast<std::size_t>(at - bytes_.data()) >= size;
}

void Lane::park(MutableBytes run, bool run_is_held, MutableBytes in) {
    // Built anew, because both may lie in the old buffer.
    ByteVector rest;
    rest.reserve((run_is_held ? 0 : run.size()) + in.size());
    if (!run_is_held) rest.insert(rest.end(), run.begin(), run.end());
    rest.insert(rest.end(), in.begin(), in.end());
    rest_ = std::move(rest);
    unsent_ = run_is_held ? run : MutableBytes(rest_).first(run.size());
    unread_ = MutableBytes(rest_).last(in.size());
}

void Lane::sent(std::size_t size) noexcept { unsent_ = unsent_.subspan(size); }

MutableBytes Lane::take_unread() noexcept {
    require(!blocked(), "a lane goes on while it is blocked");
    return std::exchange(unread_, {});
}

void Lane::tidy() noexcept {
    if (unsent_.empty() && unread_.empty() && rest_.capacity() != 0) rest_ = ByteVector{};
}

void Lane::clear() noexcept {
    unsent_ = unread_ = {};
    rest_ = ByteVector{};
}

void Run::add(MutableBytes bytes) noexcept {
    require(!held_, "a run that the cutter holds cannot grow");
    if (bytes_.empty()) {
        bytes_ = bytes;
        return;
    }
    std::byte* const start = bytes.data() - bytes_.size();
    if (start != bytes_.data()) std::memmove(start, bytes_.data(), bytes_.size());
    bytes_ = MutableBytes(start, bytes_.size() + bytes.size());
}

void Run::hold(MutableBytes bytes) noexcept {
    require(bytes_.empty(), "a held frame behind others");
    bytes_ = bytes;
    held_ = true;
}

}  // namespace virtgate::workerd::worker
