// SPDX-License-Identifier: LGPL-2.1-or-later
// lock_line - one connection to the lock daemon, which the broker has begun.
#include "workerd/store/lock_line.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "libshared/base/log.h"
#include "libshared/channel/packet.h"
#include "libshared/rpc/error.h"

namespace virtgate::workerd::store {

namespace lock = proto::lock;
using loop::Want;

namespace {

// errno of a system's error: int1, which has two words behind it (int2, and no network).
int number_of(ByteView payload) noexcept {
    constexpr std::size_t k_from_end = 12;
    return payload.size() < k_from_end
               ? 0
               : static_cast<int>(load_be32(payload.data() + payload.size() - k_from_end));
}

}  // namespace

LockLine::LockLine(loop::Loop& loop, UniqueFd socket, loop::Target<LockLine&> on_lost)
    : on_lost_(on_lost), socket_(std::move(socket)) {
    require(set_nonblocking(socket_.get(), true).has_value(), "a line without a socket");
    watch_ = loop.watch(socket_.get(), Want::read, loop::to<&LockLine::on_ready>(*this));
}

int LockLine::rpc_code_invalid() noexcept { return rpc::k_code_invalid_argument; }

void LockLine::send(lock::Procedure procedure, ByteView payload, OnEnded on_ended) {
    if (is_lost_) return on_ended({.is_lost = true, .text = {}, .detail = {}});
    const ByteVector frame =
        rpc::make_frame(rpc::make_call(lock::k_program, lock::k_version, procedure, ++serial_), payload);
    output_.insert(output_.end(), frame.begin(), frame.end());
    waiting_.push_back(std::move(on_ended));
    // That it is lost is found out from the loop: whoever calls is in the middle of something.
    static_cast<void>(flush());
    watch_->set(output_.empty() ? Want::read : Want::both);
}

void LockLine::on_ready(Want ready) noexcept {
    const auto self = shared_from_this();  // whoever hears of an answer may let go of the line
    if (has(ready, Want::write) && !flush()) return lose("it hung up");
    if (has(ready, Want::read) && !read()) return;
    if (!is_lost_) watch_->set(output_.empty() ? Want::read : Want::both);
}

bool LockLine::flush() {
    while (!output_.empty()) {
        const ssize_t n = ::send(socket_.get(), output_.data(), output_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN;
        output_.erase(output_.begin(), output_.begin() + n);
    }
    return true;
}

bool LockLine::read() {
    std::array<std::byte, 4096> piece;
    std::size_t size = 0;
    switch (channel::receive_some(socket_.get(), piece, size)) {
        case channel::Outcome::blocked: return true;
        case channel::Outcome::closed: lose("it hung up"); return false;
        case channel::Outcome::broken: lose("its socket failed"); return false;
        case channel::Outcome::done: break;
    }
    input_.insert(input_.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(size));
    if (take_answers()) return true;
    lose("it answers nonsense");
    return false;
}

bool LockLine::take_answers() {
    while (input_.size() >= rpc::k_frame_min) {
        const std::size_t size = load_be32(input_.data());
        if (size < rpc::k_frame_min || size > k_answer_max) return false;
        if (input_.size() < size) return true;
        const rpc::Header header = rpc::read_header(input_.data());
        const ByteView payload = ByteView(input_).subspan(rpc::k_frame_min, size - rpc::k_frame_min);
        const bool is_answer = header.program == lock::k_program && header.type == rpc::Type::reply &&
                               !waiting_.empty() && header.serial == answered_ + 1;
        if (!is_answer) return false;
        Ended ended{.text = {}, .detail = {}};
        if (header.status != rpc::Status::ok)
            ended = {.code = rpc::read_error_code(payload),
                     .number = number_of(payload),
                     .text = rpc::read_error_text(payload),
                     .detail = rpc::read_error_detail(payload)};
        ++answered_;
        input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(size));
        const OnEnded on_ended = std::move(waiting_.front());
        waiting_.pop_front();
        on_ended(ended);
    }
    return true;
}

void LockLine::lose(std::string_view why) {
    if (std::exchange(is_lost_, true)) return;
    watch_.reset();
    output_.clear();
    Log{"locks"}.warning("the way to the lock daemon is lost: {}", why);
    for (const OnEnded& on_ended : std::exchange(waiting_, {}))
        on_ended({.is_lost = true, .text = {}, .detail = {}});
    on_lost_(*this);
}

}  // namespace virtgate::workerd::store
