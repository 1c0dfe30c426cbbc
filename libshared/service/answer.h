// SPDX-License-Identifier: LGPL-2.1-or-later
// answer - what handlers get and give.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <tl/expected.hpp>

#include "libshared/base/bytes.h"
#include "libshared/rpc/error.h"
#include "libshared/server/server.h"

namespace virtgate::service {

// The result of a handler: a generated type, or void; or an error for the client.
template <class T>
using Answer = tl::expected<T, rpc::Failure>;

// `return refuse("there is no item \"x\"", rpc::k_code_invalid_argument);`
[[nodiscard]] inline tl::unexpected<rpc::Failure> refuse(std::string message,
                                                         int code = rpc::k_code_operation_failed) {
    return tl::unexpected(rpc::Failure{.code = code, .message = std::move(message)});
}

// Who calls. The policy has allowed the call before it comes here.
struct Caller {
    server::ClientId connection = 0;  // unique for the life of the process
    std::string identity{};           // as the policy calls it
    std::uint64_t session = 0;        // of the front door, as in its log
    bool read_only = false;
};

// Gives the next bytes of a stream to the client: how many of `room` it filled; 0: there is no more. Called in the loop.
using Source = std::function<Answer<std::size_t>(MutableBytes room)>;

// Takes a stream of the client. Called in the loop.
struct Sink {
    std::function<Answer<void>(ByteView bytes)> take{};
    std::function<Answer<void>()> finish{};  // there is no more: what it returns is the answer to the client
};

}  // namespace virtgate::service
