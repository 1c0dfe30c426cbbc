// SPDX-License-Identifier: LGPL-2.1-or-later
// flow - one open stream of a handler: a Source or a Sink at the server's end.
//
// Limits: one piece of k_piece bytes at a time; the next one is asked for when that has left the process.
// Owns:   the stream. Whoever has the flow destroys it when `on_over` is called, from within its callbacks.
#pragma once

#include "libshared/server/stream.h"
#include "libshared/service/answer.h"

namespace virtgate::service {

class Flow final : private server::StreamUser {
public:
    static constexpr std::size_t k_piece = 65536;
    using OnOver = std::function<void(Flow&)>;

    Flow(server::Client& client, const rpc::Header& call, Source source, Sink sink, OnOver on_over);

    // The call was answered: sends what there is. It may be gone when this returns.
    void start() noexcept { on_sent(); }

private:
    void on_data(ByteView bytes) noexcept override;
    void on_hole(std::uint64_t) noexcept override {}
    void on_finish() noexcept override;
    void on_abort() noexcept override;
    void on_sent() noexcept override;
    void on_gone() noexcept override { end(); }
    void fail(const rpc::Failure& failure) noexcept;
    void end() noexcept;

    Source source_;
    Sink sink_;
    OnOver on_over_;
    bool has_ended_ = false;  // all was sent
    server::Stream stream_;
};

}  // namespace virtgate::service
