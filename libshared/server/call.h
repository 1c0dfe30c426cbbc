// SPDX-License-Identifier: LGPL-2.1-or-later
// call - one call of a client that waits for its answer.
//
// A handler gets it and answers now or later; it may be moved to wherever the answer will come from. One that is destroyed
// without an answer is answered with an error, so that no client waits for ever because of a forgotten path.
//
// Limits: exactly one answer. The client may be gone by then: the answer goes nowhere.
// Owns:   nothing of the client.
#pragma once

#include <memory>

#include "libshared/base/result.h"
#include "libshared/rpc/error.h"
#include "libshared/xdr/writer.h"

namespace virtgate::server {

class Client;

// Leads from calls to their client as long as that lives.
struct ClientLink {
    Client* client = nullptr;
};

// Whoever wants to know how a call ends.
class CallEnd {
public:
    virtual ~CallEnd() = default;
    // Once, right before the answer leaves. `error`: its code; 0: success. `reached`: the client is there still.
    virtual void on_end(int error, bool reached) noexcept = 0;
};

class Call {
public:
    Call(const rpc::Header& header, std::shared_ptr<ClientLink> link) noexcept
        : header_(header), link_(std::move(link)) {}
    Call(Call&&) noexcept = default;
    Call& operator=(Call&& other) noexcept;
    ~Call() { give_up(); }

    // Success, for a procedure without a result.
    void reply() noexcept { send_reply({}); }
    // Success with `result`, a generated type. What does not encode is our bug, and the client gets an error.
    template <class Result>
    void reply(const Result& result) noexcept {
        ByteVector payload;
        xdr::Writer writer(payload, rpc::k_frame_max - rpc::k_frame_min);
        result.encode(writer);
        if (!writer.ok()) return give_up();
        send_reply(payload);
    }
    void fail(const rpc::Failure& failure) noexcept;

    [[nodiscard]] const rpc::Header& header() const noexcept { return header_; }
    // `end` hears of the answer. One for each call.
    void tell(std::unique_ptr<CallEnd> end) noexcept { end_ = std::move(end); }

    // Null when the client is gone, or the call is answered.
    [[nodiscard]] Client* client() const noexcept { return link_ ? link_->client : nullptr; }

private:
    void send_reply(ByteView payload) noexcept;
    void give_up() noexcept;

    void end(int error) noexcept;

    rpc::Header header_;
    std::unique_ptr<CallEnd> end_;
    std::shared_ptr<ClientLink> link_;  // empty: answered, or moved away
};

}  // namespace virtgate::server
