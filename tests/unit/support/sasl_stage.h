// SPDX-License-Identifier: LGPL-2.1-or-later
// sasl_stage - virtgate-sasl in a process of its own, and clients of libsasl2 that log in to it.
//
// The test plays the supervisor and doorman.
//
// Limits: one stage per process, since libsasl2 is global.
#pragma once

#include <sasl/sasl.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/base/clock.h"
#include "libshared/base/fd.h"
#include "libshared/channel/packet.h"
#include "libshared/userdb/users.h"
#include "proto/config.h"
#include "proto/exchange.h"
#include "proto/sasl.h"

namespace virtgate::test {

using Token = std::optional<ByteVector>;

// What an exchange's process answered.
struct Answer {
    channel::Outcome outcome = channel::Outcome::blocked;  // "closed": it has ended
    bool refused = false;
    int code = 0;
    std::string text;  // of a refusal
    proto::exchange::ExchangeRet result;
    UniqueFd clear;
};

// Doorman's end of one exchange.
class Visitor {
public:
    explicit Visitor(UniqueFd channel) : channel_(std::move(channel)) {}
    Answer begin(const std::string& mechanism, const Token& data);
    Answer go_on(const Token& data);
    // Any payload for any procedure.
    Answer call(std::uint32_t procedure, ByteView payload);
    // Waits for an answer or the end; at most 10 s.
    Answer receive();
    [[nodiscard]] int get() const noexcept { return channel_.get(); }
    void leave() { channel_.reset(); }

private:
    UniqueFd channel_;
    std::uint32_t serial_ = 0;
};

class SaslStage {
public:
    // Starts the process with `config`; users of `users` (the file's text) unless that is empty.
    explicit SaslStage(proto::config::SaslConfig config, const std::string& users = "");
    ~SaslStage();
    SaslStage(const SaslStage&) = delete;
    SaslStage& operator=(const SaslStage&) = delete;

    proto::sasl::MechanismsRet ask_mechanisms();
    Visitor open(bool needs_layer = false, unsigned strength = 256);
    void rewrite_users(const std::string& text) const;
    // Closes the supervisor's channel and waits for the end. True if that came within 5 s.
    bool end();

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
    // KiB of data and heap that a process has; a leak makes it grow, shared pages do not matter.
    [[nodiscard]] static std::size_t data_kib(pid_t pid);
    // Of the process: descriptors that are open, and its children.
    [[nodiscard]] std::size_t count_fds() const;
    [[nodiscard]] std::vector<pid_t> children() const;
    // Waits until there are `count` children; false after 5 s.
    [[nodiscard]] bool wait_for_children(std::size_t count) const;

private:
    std::string directory_;
    UniqueFd parent_, doorman_;
    pid_t pid_ = -1;
    std::uint64_t exchange_ = 0;
};

// A user whose password works with `hashes`, and with DIGEST-MD5 in `digest_realm` unless that is empty.
userdb::User make_user(const std::string& name, const std::string& password, std::vector<userdb::Hash> hashes,
                       const std::string& digest_realm = "");

// A file of users: "alice", "open sesame", with everything, and "bob", "builder", with one verifier only.
std::string make_users();

double milliseconds_since(Instant start);

// Settings with which SCRAM and a file of users work.
proto::config::SaslConfig make_config(std::vector<std::string> mechanisms = {"SCRAM-SHA-256"});

// A client of libsasl2, as libvirt's clients set it up.
class Client {
public:
    Client(std::string user, std::string password, bool needs_layer = false, std::string realm = "");
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    // Status of libsasl2; the token to send is in token().
    int start(const std::string& mechanism);
    int step(const Token& data);
    [[nodiscard]] const Token& token() const noexcept { return token_; }
    [[nodiscard]] unsigned strength() const;
    [[nodiscard]] unsigned max_piece() const;
    std::string encode(std::string_view clear);
    // Nothing if it cannot be decoded.
    std::optional<std::string> decode(std::string_view coded);

private:
    static int on_name(void* self, int id, const char** value, unsigned* size);
    static int on_password(sasl_conn_t* connection, void* self, int id, sasl_secret_t** secret);
    static int on_realm(void* self, int id, const char** available, const char** value);
    int keep(int status, const char* out, unsigned size);

    std::string user_, realm_;
    std::vector<unsigned char> secret_;
    std::vector<sasl_callback_t> callbacks_;
    sasl_conn_t* connection_ = nullptr;
    Token token_;
};

// A whole login, as a libvirt client and server do it.
struct Login {
    bool complete = false;
    int calls = 0;               // of the exchange
    std::vector<Token> answers;  // data of each good answer
    Answer last;
};
Login log_in(Visitor& visitor, Client& client, const std::string& mechanism);

}  // namespace virtgate::test
