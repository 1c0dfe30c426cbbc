// SPDX-License-Identifier: LGPL-2.1-or-later
// call - one call of a client that waits for its answer.
#include "libshared/server/call.h"

#include <utility>

#include "libshared/server/client.h"

namespace virtgate::server {

Call& Call::operator=(Call&& other) noexcept {
    if (this != &other) {
        give_up();
        header_ = other.header_;
        end_ = std::move(other.end_);
        link_ = std::move(other.link_);
    }
    return *this;
}

void Call::end(int error) noexcept {
    if (const auto end = std::exchange(end_, nullptr)) end->on_end(error, client() != nullptr);
}

void Call::fail(const rpc::Failure& failure) noexcept {
    end(failure.code);
    if (Client* const to = client(); to != nullptr)
        to->answer(rpc::make_frame(rpc::reply_to(header_, rpc::Status::error), make_error_payload(failure)));
    link_.reset();
}

void Call::send_reply(ByteView payload) noexcept {
    end(0);
    if (Client* const to = client(); to != nullptr)
        to->answer(rpc::make_frame(rpc::reply_to(header_), payload));
    link_.reset();
}

// The words are what libvirt's daemons say when a handler fails and does not tell why.
void Call::give_up() noexcept {
    if (client() == nullptr) return end(rpc::k_code_internal);
    fail({.message = "internal error", .pattern = "internal error"});
}

}  // namespace virtgate::server
