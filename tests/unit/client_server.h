// SPDX-License-Identifier: LGPL-2.1-or-later
// client_server - the other end of a connection of libshared/client, which does what a test says.
//
// Limits: any mistake of it ends the test.
// Owns:   its end of a socket pair, and the thread that reads from it.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "libshared/client/connection.h"
#include "libshared/rpc/error.h"

namespace virtgate::test {

constexpr std::uint32_t k_program = 0x1234;
constexpr std::uint32_t k_version = 1;
// What the scripts of several files do: answer with the arguments, say nothing, open a stream, register for events.
constexpr std::uint32_t k_echo = 1, k_silent = 2, k_open = 10;
constexpr std::uint32_t k_enrol = 20, k_leave = 21, k_event = 22;
// For what has to come.
constexpr Milliseconds k_patience{20000};

struct Frame {
    rpc::Header header{};
    ByteVector payload{};
};

[[nodiscard]] inline client::Procedure procedure(std::uint32_t number) {
    return {k_program, k_version, number};
}
[[nodiscard]] ByteVector bytes(std::string_view text);
[[nodiscard]] std::string text(ByteView bytes);
[[nodiscard]] ByteVector word(std::uint32_t value);

class ScriptedServer {
public:
    // Called in the server's thread for each frame that the client sends.
    using Script = std::function<void(ScriptedServer&, const Frame&)>;
    enum class Memory : bool { none, all };
    // Memory::none: frames() and await() have nothing, for tests that send very many.
    explicit ScriptedServer(Script script, Memory memory = Memory::all);
    ~ScriptedServer();

    // The client's end, once.
    [[nodiscard]] std::unique_ptr<client::Channel> channel();

    // From any thread.
    void send(ByteView bytes);
    void reply(const rpc::Header& call, ByteView payload = {});
    void refuse(const rpc::Header& call, int code, std::string_view message);
    // A piece of the stream that `call` opened.
    void stream(const rpc::Header& call, rpc::Status status, ByteView payload = {});
    void hole(const rpc::Header& call, std::uint64_t length);
    void event(std::uint32_t number, ByteView payload);
    // Sends no more and reads no more.
    void hang_up();
    // Reads no more until told so.
    void pause(bool on);
    [[nodiscard]] int fd() const { return ours_.get(); }
    // Those that came with the client's calls. Only in the script.
    [[nodiscard]] std::vector<UniqueFd>& fds() { return fds_; }

    // What came so far.
    [[nodiscard]] std::vector<Frame> frames();
    // Waits until so many frames came.
    void await(std::size_t count);

private:
    void run();
    void take(Frame frame);
    Script script_;
    const Memory memory_;
    UniqueFd ours_, theirs_;
    std::mutex mutex_, sending_;
    std::condition_variable came_;
    std::vector<Frame> frames_;
    bool paused_ = false;
    std::vector<UniqueFd> fds_;
    std::size_t owed_ = 0;  // bytes that follow the frame, one with each descriptor
    Frame owing_;
    std::thread thread_;
};

[[nodiscard]] client::CallOptions within(Milliseconds limit);
// A client of `server`.
[[nodiscard]] client::Connection attach(ScriptedServer& server, const client::Options& options = {});
// What k_echo answers; "!" and the text of the failure if it does not.
[[nodiscard]] std::string echo_of(client::Connection& connection, std::string_view words);

}  // namespace virtgate::test
