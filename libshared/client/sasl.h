// SPDX-License-Identifier: LGPL-2.1-or-later
// sasl - the client's side of a SASL login, and the encryption that it may bring along.
//
// Trust:  tokens are the server's. A password is given to mechanisms that show it to the server only where
//         the channel is secure; elsewhere the mechanism has to encrypt with at least k_strength_min bits.
// Limits: tokens of k_token_max bytes.
// Owns:   libsasl2's connection, and the answers (wiped at the end).
// Source: docs/protocol.md, SASL.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "libshared/client/auth_file.h"
#include "libshared/client/transport.h"

namespace virtgate::client {

constexpr std::size_t k_token_max = 65536;
constexpr unsigned k_strength_min = 56;

// What a login may ask for.
enum class Ask : unsigned char { name, password, realm, act_as };

struct Question {
    Ask what;
    std::string host;    // of the server
    std::string prompt;  // the mechanism's own words, for people; may be empty
};
// Answers a question, or nothing if there is no answer: then the login fails, except for realm and act_as.
// It is called in the thread that opens the connection.
using Answerer = std::function<std::optional<std::string>(const Question&)>;

// Answers from auth.conf, then from `also` (may be empty).
[[nodiscard]] Answerer answer_from(AuthFile file, Answerer also);

class SaslLogin {
public:
    using Token = std::optional<ByteVector>;  // no buffer at all, or one that may be empty

    struct Start {
        std::string mechanism;
        Token token;
    };

    // Error: Cause::system, if libsasl2 cannot be used.
    [[nodiscard]] static Result<SaslLogin> make(const Channel& channel, const std::string& host,
                                                Answerer answerer);

    // Chooses among the server's mechanisms (separated by commas): `wanted`, or the best. Error:
    // Cause::denied.
    [[nodiscard]] Result<Start> start(const std::string& offered, const std::string& wanted);
    // Goes on with what the server said. Error: Cause::denied.
    [[nodiscard]] Result<Token> step(const Token& from_server);
    // True if nothing is left to do on this side.
    [[nodiscard]] bool is_complete() const noexcept;

    // After the server has said that it is complete too: `channel` with the encryption that was agreed on, if
    // any. Error: Cause::denied, if it is too weak.
    [[nodiscard]] Result<std::unique_ptr<Channel>> protect(std::unique_ptr<Channel> channel);

    SaslLogin(SaslLogin&&) noexcept;
    SaslLogin& operator=(SaslLogin&&) noexcept;
    ~SaslLogin();

private:
    friend class SaslChannel;
    struct Parts;
    explicit SaslLogin(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

}  // namespace virtgate::client
