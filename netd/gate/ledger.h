// SPDX-License-Identifier: LGPL-2.1-or-later
// ledger - the open calls and streams of one session.
//
// A reply is let through only if it answers an open call, stream data only if it belongs to an open stream; and when
// a worker dies, the ledger says which calls still need an answer.
//
// Limits: the owner asks calls() before it adds one.
#pragma once

#include <vector>

#include "libshared/rpc/header.h"
#include "proto/programs.h"

namespace virtgate::netd::gate {

// Names a call, and the stream that it may open, on one connection.
struct CallKey {
    std::uint32_t program = 0;
    std::uint32_t version = 0;
    std::uint32_t procedure = 0;
    std::uint32_t serial = 0;
    bool operator==(const CallKey&) const = default;
};
[[nodiscard]] CallKey key_of(const rpc::Header& header) noexcept;
// A header with this key, as a call.
[[nodiscard]] rpc::Header header_of(const CallKey& key) noexcept;

struct OpenCall {
    CallKey key;
    const proto::ProcedureInfo* procedure = nullptr;
    bool sparse = false;  // of a call that opens a stream: holes are allowed
};

struct OpenStream {
    CallKey key;
    const proto::ProcedureInfo* procedure = nullptr;
    bool sparse = false;
    bool opening = false;    // the reply to its call has not come: data may come, the client may not send yet
    bool finishing = false;  // the client has finished or aborted it, and waits for the confirmation
};

class Ledger {
public:
    // With a call that opens a stream the stream is there, too: libvirtd's data may overtake its reply.
    void add(const OpenCall& call);
    // The open call that a reply with `key` answers, or null. The same key may be open twice; one is as good as
    // the other, since both are the same call.
    [[nodiscard]] const OpenCall* find_call(const CallKey& key) const noexcept;
    // The call has been answered. A good answer opens its stream, unless that has ended already.
    void answer(const CallKey& key, bool good) noexcept;
    [[nodiscard]] OpenStream* find_stream(const CallKey& key) noexcept;
    [[nodiscard]] const OpenStream* find_stream(const CallKey& key) const noexcept;
    void close_stream(const CallKey& key) noexcept;

    [[nodiscard]] std::size_t calls() const noexcept { return calls_.size(); }
    [[nodiscard]] const std::vector<OpenCall>& open_calls() const noexcept { return calls_; }
    [[nodiscard]] const std::vector<OpenStream>& open_streams() const noexcept { return streams_; }
    void clear() noexcept;

private:
    std::vector<OpenCall> calls_;
    std::vector<OpenStream> streams_;
};

}  // namespace virtgate::netd::gate
