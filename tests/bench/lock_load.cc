// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-lock-load - takes and releases locks as fast as a lock daemon answers.
//
//   virtgate-lock-load SOCKET DIRECTORY CONNECTIONS SECONDS
//
// Each connection has a thread and a file of its own in DIRECTORY, which it makes; acquire and release take turns, in
// direct mode. Prints one line of JSON: the rate of single calls, their median and 99th percentile.
//
// Trust:  the daemon is believed; an answer that is an error ends the program with status 1.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "libshared/base/fd.h"
#include "libshared/rpc/header.h"
#include "proto/codec.h"
#include "proto/lock.h"
#include "tests/bench/meter.h"

namespace {

using namespace virtgate;
using Clock = std::chrono::steady_clock;
using proto::lock::Procedure;

[[noreturn]] void fail(const std::string& what) {
    std::perror(what.c_str());
    std::_Exit(1);
}

// One connection, which speaks for this process.
class Client {
public:
    explicit Client(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        if (path.size() >= sizeof address.sun_path) fail("the name of the socket is too long");
        std::memcpy(address.sun_path, path.c_str(), path.size());
        if (connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
            fail(path);
        // Not our own process: a daemon would keep such a connection over its death, and watch it.
        proto::lock::RegisterArgs args;
        args.owner.name = "load";
        args.owner.id = 1;
        args.owner.process_id = static_cast<std::uint32_t>(getppid());
        ask(Procedure::register_, args);
    }

    template <class Args>
    void ask(Procedure procedure, const Args& args) {
        const auto frame = rpc::make_frame(
            rpc::make_call(proto::lock::k_program, proto::lock::k_version, procedure, ++serial_),
            *proto::encode(args));
        if (write(socket_.get(), frame.data(), frame.size()) != static_cast<ssize_t>(frame.size()))
            fail("write");
        std::byte reply[4096];
        std::size_t size = 0;
        while (size < rpc::k_frame_min) {
            const ssize_t n = read(socket_.get(), reply + size, sizeof reply - size);
            if (n <= 0) fail("read");
            size += static_cast<std::size_t>(n);
        }
        if (rpc::read_header(reply).status != rpc::Status::ok) fail("the daemon refused a call");
    }

private:
    UniqueFd socket_;
    std::uint32_t serial_ = 0;
};

void load(const std::string& socket, const std::string& file, const std::atomic<bool>& over,
          std::vector<std::uint64_t>& times) {
    if (!UniqueFd{open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)}) fail(file);
    Client client(socket);
    proto::lock::AcquireResourceArgs take;
    take.name = file;
    proto::lock::ReleaseResourceArgs give;
    give.name = file;
    Clock::time_point before = Clock::now();
    const auto note = [&] {
        const auto now = Clock::now();
        times.push_back(static_cast<std::uint64_t>(std::chrono::nanoseconds(now - before).count()));
        before = now;
    };
    while (!over) {
        client.ask(Procedure::acquire_resource, take);
        note();
        client.ask(Procedure::release_resource, give);
        note();
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::fputs("usage: virtgate-lock-load SOCKET DIRECTORY CONNECTIONS SECONDS\n", stderr);
        return 64;
    }
    const auto count = std::strtoul(argv[3], nullptr, 10);
    const std::chrono::duration<double> wanted(std::strtod(argv[4], nullptr));
    std::atomic<bool> over{false};
    std::vector<std::vector<std::uint64_t>> times(count);
    std::vector<std::thread> threads;
    const auto began = Clock::now();
    for (std::size_t i = 0; i < count; ++i)
        threads.emplace_back(load, argv[1], std::string(argv[2]) + "/load-" + std::to_string(i),
                             std::cref(over), std::ref(times[i]));
    std::this_thread::sleep_for(wanted);
    over = true;
    for (auto& thread : threads) thread.join();
    const std::chrono::duration<double> took = Clock::now() - began;
    std::vector<std::uint64_t> all;
    for (const auto& some : times) all.insert(all.end(), some.begin(), some.end());
    std::printf("{%s}\n", bench::summarise(all, took.count()).c_str());
    return 0;
}
