// SPDX-License-Identifier: LGPL-2.1-or-later
// worker_stage - one session of a worker between a client and a daemon that a test plays.
//
// The client is the other end of the session's descriptor, the daemon a UNIX socket in a temporary directory.
// The loop is a fake one: pump() lets everything happen that can happen now, and time passes only when a test
// says so.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libshared/loop/fake_loop.h"
#include "libshared/rpc/cutter.h"
#include "proto/remote.h"
#include "tests/unit/direct_connector.h"
#include "workerd/worker/session.h"

namespace virtgate::test {

using proto::remote::Procedure;

// A frame, taken apart.
struct Frame {
    rpc::Header header{};
    ByteVector payload{};
};

// The header of a call of the remote program; and what answers it.
[[nodiscard]] rpc::Header call_header(Procedure procedure, std::uint32_t serial);
[[nodiscard]] rpc::Header with(rpc::Header header, rpc::Type type, rpc::Status status = rpc::Status::ok);

[[nodiscard]] ByteVector open_args(std::optional<std::string> uri, std::uint32_t flags = 0);
[[nodiscard]] ByteVector lookup_args(std::string_view name);
[[nodiscard]] ByteVector console_args();
[[nodiscard]] ByteVector filled(std::size_t size);

[[nodiscard]] ByteVector words(std::initializer_list<std::uint32_t> values);
void append(ByteVector& to, ByteView from);
// The header of a call of domain_lookup_by_name.
[[nodiscard]] rpc::Header lookup(std::uint32_t serial);

// Everything is allowed; what the worker refuses itself is its own doing.
[[nodiscard]] std::shared_ptr<const policy::Rights> everything();

// One call of the remote program is, on every object, besides connect_open.
[[nodiscard]] std::shared_ptr<const policy::Rights> only(std::string_view procedure);

class Stage {
public:
    static constexpr std::uint64_t k_number = 7;
    // Without rights of its own it has everything().
    using Client = workerd::worker::Session::Client;
    // "test:///default" leads to the daemon, by a socket for reading, too; "test:///absent" to nothing; the
    // default is "test:///default".
    explicit Stage(const Client& client = {.identity = "alice"});
    ~Stage();
    Stage(const Stage&) = delete;
    Stage& operator=(const Stage&) = delete;

    // Serves descriptors and due timers until nothing more happens.
    void pump();

    // The client. send() sends one packet; it fails the test if the socket is full.
    void send(ByteView packet);
    void send(const rpc::Header& header, ByteView payload = {}) { send(rpc::make_frame(header, payload)); }
    [[nodiscard]] bool try_send(ByteView packet);
    // The next packet that came, with its borders; nothing if none came.
    [[nodiscard]] std::optional<ByteVector> packet();
    // Pumps and takes the next frame, from as many packets as it needs; the test fails if none comes.
    [[nodiscard]] Frame frame();
    // True if nothing comes.
    [[nodiscard]] bool is_quiet();

    // The daemon. accept() waits for the session's connection; the test fails if there is none.
    void accept();
    [[nodiscard]] bool is_connected();
    // Pumps and reads all that came, without frames being looked at.
    [[nodiscard]] ByteVector read_all();
    // Pumps and takes the next frame.
    [[nodiscard]] Frame asked();
    void answer(const rpc::Header& header, ByteView payload = {});
    // True if the connection came by the read-only socket.
    [[nodiscard]] bool reader() const noexcept { return reader_; }
    // Writes as much as fits, returns how much that was.
    std::size_t write(ByteView bytes);
    void hang_up() { daemon_.reset(); }

    // The whole way to an open connection.
    void open(std::optional<std::string> uri = "test:///default", std::uint32_t flags = 0);

    [[nodiscard]] bool has_ended() const noexcept { return session_ == nullptr; }
    [[nodiscard]] workerd::worker::Session& session() noexcept { return *session_; }

    loop::FakeLoop loop;
    // Of all sessions of the identity; without limits at first.
    workerd::worker::Budget budget{loop.clock()};
    workerd::worker::Witness witness;
    workerd::worker::CallCounts counts{};
    UniqueFd client_, daemon_;

private:
    void on_ended(std::uint64_t number) noexcept;
    [[nodiscard]] UniqueFd listen_at(const std::string& path) const;

    std::string directory_;
    UniqueFd listener_, reader_listener_;
    bool reader_ = false;
    std::unique_ptr<workerd::worker::UriTable> uris_;
    std::unique_ptr<workerd::worker::Scratch> scratch_;
    DirectConnector connector_{loop};
    std::unique_ptr<workerd::worker::NamesDirectory> names_;
    std::unique_ptr<workerd::worker::Home> home_;
    std::unique_ptr<workerd::worker::Session> session_;
    ByteVector came_, asked_;  // bytes of frames that are not complete, at the client and at the daemon
};

// The message of an error reply; the test fails if it is not one.
[[nodiscard]] std::string error_text(const Frame& frame);
[[nodiscard]] int error_code(const Frame& frame);

// Fails the test unless the next frame is this error.
void expect_refusal(Stage& stage, std::uint32_t serial, int code, std::string_view text);

}  // namespace virtgate::test
