// SPDX-License-Identifier: LGPL-2.1-or-later
// flow - one open stream of a handler.
#include "libshared/service/flow.h"

#include <memory>
#include <utility>

namespace virtgate::service {

namespace {

// What a handler's function throws is an error of its stream.
template <class T, class Run>
Answer<T> guard(Run&& run) noexcept {
    try {
        return run();
    } catch (const std::exception& error) {
        return refuse(error.what(), rpc::k_code_internal);
    } catch (...) {
        return refuse("an unknown error", rpc::k_code_internal);
    }
}

}  // namespace

Flow::Flow(server::Client& client, const rpc::Header& call, Source source, Sink sink, OnOver on_over)
    : source_(std::move(source)),
      sink_(std::move(sink)),
      on_over_(std::move(on_over)),
      stream_(client, call, false, *this) {}

void Flow::on_sent() noexcept {
    if (!source_ || has_ended_) return;
    static thread_local const auto t_room = std::make_unique<std::array<std::byte, k_piece>>();
    const MutableBytes room = *t_room;
    const auto size = guard<std::size_t>([&] { return source_(room); });
    if (!size) return fail(size.error());
    if (*size > room.size()) return fail({.message = "a piece of a stream is longer than its room"});
    if (*size != 0) return stream_.send(ByteView(room).first(*size));
    has_ended_ = true;
    stream_.send_end();
}

// A client that sends on a stream to it is passed over, as in libvirt's daemons.
void Flow::on_data(ByteView bytes) noexcept {
    if (!sink_.take) return;
    const auto taken = guard<void>([&] { return sink_.take(bytes); });
    if (!taken) fail(taken.error());
}

void Flow::on_finish() noexcept {
    const auto done =
        guard<void>([&]() -> Answer<void> { return sink_.finish ? sink_.finish() : Answer<void>{}; });
    if (!done) return fail(done.error());
    stream_.confirm();
    end();
}

void Flow::on_abort() noexcept {
    stream_.confirm();
    end();
}

void Flow::fail(const rpc::Failure& failure) noexcept {
    stream_.fail(failure);
    end();
}

// The end of this object.
void Flow::end() noexcept {
    const OnOver on_over = std::exchange(on_over_, {});
    if (on_over) on_over(*this);
}

}  // namespace virtgate::service
