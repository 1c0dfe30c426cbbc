// SPDX-License-Identifier: LGPL-2.1-or-later
// conversation - libsasl2's side of one client's login, and its security layer afterwards.
//
// Trust:  tokens are the client's. The mechanism has to be one that is offered for this kind of connection;
//         the name that comes out is refused unless it is plain text.
// Limits: tokens of at most TOKEN_MAX bytes (proto/door.x), which the caller's decoder has checked; a name
//         of TEXT_MAX bytes.
// Owns:   the sasl_conn_t.
#pragma once

#include <sasl/sasl.h>

#include <memory>
#include <optional>
#include <string>

#include "libshared/base/bytes.h"
#include "libshared/base/result.h"
#include "proto/sasl.h"

namespace virtgate::netd::doorman::sasl {

class Library;

class Conversation {
public:
    // No buffer at all, or one that may be empty: mechanisms know the difference.
    using Token = std::optional<ByteVector>;
    struct Step {
        bool complete = false;
        Token data;
    };

    // For a login with `mechanism`, which may be nonsense; start() judges it. Error: system's fault.
    // `library` has to live longer.
    static Result<Conversation> open(const Library& library, const proto::sasl::ExchangeArgs& terms,
                                     std::string mechanism);

    // The mechanisms that libsasl2 would allow here, separated by blanks; of all that are loaded.
    [[nodiscard]] std::string list_mechanisms();

    // Begins, then goes on as long as the steps are not complete. Error: peer's fault, with a reason for
    // the log; then it is over.
    Result<Step> start(const Token& data);
    Result<Step> go_on(const Token& data);

    // Of a complete one: who it is, and the bits of the security layer, 0 if there is none.
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] unsigned strength() const noexcept { return strength_; }
    // The most that may be encoded at a time.
    [[nodiscard]] unsigned max_piece() const noexcept { return max_piece_; }

    // Clear bytes (1 to max_piece()) to what the connection carries, and back. What is returned is valid
    // until the next call of the same function. decode() may return nothing when the client has sent a part
    // only. Error: peer's fault.
    Result<std::string_view> encode(std::string_view clear);
    Result<std::string_view> decode(std::string_view coded);

private:
    struct Dispose {
        void operator()(sasl_conn_t* connection) const noexcept { sasl_dispose(&connection); }
    };
    Conversation(const Library& library, bool needs_layer, std::string mechanism)
        : library_(&library), needs_layer_(needs_layer), mechanism_(std::move(mechanism)) {}
    Done set_terms(unsigned strength);
    Result<Step> conclude(int status, const char* out, unsigned size);
    Done read_outcome();
    [[nodiscard]] Error describe(int status) const;

    const Library* library_;
    bool needs_layer_;
    std::string mechanism_;
    std::unique_ptr<sasl_conn_t, Dispose> connection_;
    std::string name_;
    unsigned strength_ = 0, max_piece_ = 0;
};

}  // namespace virtgate::netd::doorman::sasl
