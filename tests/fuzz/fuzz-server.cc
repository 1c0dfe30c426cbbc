// SPDX-License-Identifier: LGPL-2.1-or-later
// fuzz-server - what two clients of the lock daemon send, in pieces of any size: it is answered in good order, leads
// nowhere but beneath the configured directories, and the holder is told of nothing that breaks its rules.
//
// Input: pieces, each with a byte that says whose it is (bit 0) and whether that one hangs up afterwards (bit 1), and a byte
// with its size. The configured directories are called "s" (lock spaces) and "d" (direct).
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "libshared/channel/packet.h"
#include "libshared/loop/fake_loop.h"
#include "lockd/locker/locker.h"
#include "proto/codec.h"
#include "proto/supervise.h"
#include "tests/fuzz/pump.h"

using namespace virtgate;
using namespace virtgate::lockd;

namespace {

namespace holder = proto::holder;
namespace supervise = proto::supervise;

std::int64_t some_time() noexcept { return 1'700'000'000; }

// The directories, which are the working directory's while something is played.
class World {
public:
    World() : before_(open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
        char name[] = "/tmp/virtgate-fuzz-server-XXXXXX";
        require(before_ && mkdtemp(name) != nullptr, "no directory");
        path_ = name;
    }
    ~World() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    void renew() {
        require(chdir(path_.c_str()) == 0, "no directory");
        std::error_code ignored;
        for (const char* part : {"s", "d"}) {
            std::filesystem::remove_all(part, ignored);
            require(mkdir(part, 0700) == 0, "no directory");
        }
        require(symlink("/etc/hostname", "s/link") == 0 && symlink("..", "d/up") == 0, "no link");
    }
    void check() {
        std::size_t parts = 0;
        for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path_)) ++parts;
        require(parts == 2, "something was made elsewhere");
        require(fchdir(before_.get()) == 0, "no directory");
    }

private:
    UniqueFd before_;
    std::string path_;
};

// The locker's parent.
class Holder {
public:
    explicit Holder(int control, int queue) : control_(control), queue_(queue) {}

    void take() {
        std::array<std::byte, channel::k_packet_max> packet;
        std::size_t size = 0;
        channel::ReceivedFds fds;
        while (channel::receive_packet(control_, packet, size, &fds, 0) == channel::Outcome::done) {
            const rpc::Header header = rpc::read_header(packet.data());
            if (header.program == holder::k_program)
                send(rpc::reply_to(header), *proto::encode(holder::RestoreRet{}));
            else
                send(rpc::make_message(supervise::k_program, supervise::k_version,
                                       supervise::Procedure::serve),
                     {});
        }
        while (channel::receive_packet(queue_, packet, size, &fds, 1) == channel::Outcome::done)
            judge(rpc::read_header(packet.data()),
                  ByteView(packet).subspan(rpc::k_frame_min, size - rpc::k_frame_min), fds.count());
    }
    void send(const rpc::Header& header, ByteView payload, std::span<const int> fds = {}) {
        const auto frame = rpc::make_frame(header, payload);
        require(channel::send_packet(control_, frame, fds) == channel::Outcome::done, "the locker is gone");
    }

private:
    void judge(const rpc::Header& header, ByteView payload, std::size_t fds) {
        require(header.serial == ++serial_, "a message without its number");
        if (header.procedure == static_cast<std::uint32_t>(holder::Procedure::keep)) {
            const auto args = proto::decode<holder::KeepArgs>(payload);
            require(args && proto::decode<proto::kept::Kept>(args->record), "a record that nobody can read");
            require(taken_.insert(args->slot).second == (fds == 1), "a slot is confused");
            return;
        }
        const auto args = proto::decode<holder::DropArgs>(payload);
        require(args && fds == 0, "neither KEEP nor DROP");
        for (const auto slot : args->slots) require(taken_.erase(slot) == 1, "what is not kept is dropped");
    }

    int control_, queue_;
    std::uint32_t serial_ = 0;
    std::set<locker::Slot> taken_;
};

class Client {
public:
    explicit Client(const sockaddr_un& name, socklen_t size)
        : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
        require(connect(fd_.get(), reinterpret_cast<const sockaddr*>(&name), size) == 0, "nobody listens");
    }
    void send(ByteView bytes) {
        static_cast<void>(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
    }
    // Whatever comes is an answer to a call, or a pong.
    void read() {
        std::byte piece[16'384];
        for (ssize_t n; (n = recv(fd_.get(), piece, sizeof piece, 0)) > 0;)
            answers_.insert(answers_.end(), piece, piece + n);
        while (answers_.size() >= rpc::k_frame_min) {
            const std::size_t size = load_be32(answers_.data());
            require(size >= rpc::k_frame_min && size <= rpc::k_frame_max, "an answer of a wrong size");
            if (size > answers_.size()) return;
            const rpc::Header header = rpc::read_header(answers_.data());
            const bool is_pong = header.program == rpc::k_keepalive_program && size == rpc::k_frame_min;
            require(is_pong || header.type == rpc::Type::reply, "what nobody asked for");
            answers_.erase(answers_.begin(), answers_.begin() + static_cast<std::ptrdiff_t>(size));
        }
    }

private:
    UniqueFd fd_;
    ByteVector answers_{};
};

std::pair<UniqueFd, UniqueFd> make_pair() {
    int ends[2];
    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0, "no channel");
    return {UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

void play(ByteView input, World& world) {
    world.renew();
    loop::FakeLoop loop;
    auto [control, its_control] = make_pair();
    auto [queue, its_queue] = make_pair();
    proto::config::LockerConfig config;
    config.locks_per_identity = 64;
    config.users = {geteuid()};
    config.max_clients = 8;
    config.lock_spaces = {"s"};
    config.direct = {"d"};
    config.fencing = false;  // the input names processes
    UniqueFd listener{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    socklen_t size = sizeof name;
    require(bind(listener.get(), reinterpret_cast<sockaddr*>(&name), sizeof(sa_family_t)) == 0 &&
                listen(listener.get(), 8) == 0 &&
                getsockname(listener.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0,
            "no listener");
    locker::Locker locker(loop, config, std::move(its_control), some_time);
    locker.listen(std::move(listener), locker::k_own_listener);
    Holder parent(control.get(), queue.get());
    const int writing = its_queue.get();
    parent.send(
        rpc::make_message(holder::k_program, holder::k_version, holder::Procedure::queue),
        *proto::encode(holder::QueueArgs{.things_max = 6, .grant = {.bytes = 1U << 30, .more = true}}),
        std::span(&writing, 1));
    its_queue.reset();
    locker.start();
    std::unique_ptr<Client> clients[2];
    const auto turn = [&] {
        for (int i = 0; i < 3; ++i) {
            fuzz::pump(loop);
            parent.take();
        }
        for (const auto& client : clients)
            if (client) client->read();
    };
    turn();
    while (input.size() >= 2) {
        const auto whose = static_cast<unsigned char>(input[0]);
        const std::size_t length =
            std::min<std::size_t>(static_cast<unsigned char>(input[1]), input.size() - 2);
        auto& client = clients[whose & 1U];
        if (!client) client = std::make_unique<Client>(name, size);
        client->send(input.subspan(2, length));
        input = input.subspan(2 + length);
        turn();
        if ((whose & 2U) != 0) client.reset();
    }
    turn();
    require(!loop.stopped(), "the locker has ended");
    for (auto& client : clients) client.reset();
    turn();
    world.check();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static World world;
    static const bool is_quiet = [] {
        set_log_level(Level::error);
        set_log_sink([](Level, std::string_view) noexcept {});
        return true;
    }();
    static_cast<void>(is_quiet);
    play(ByteView(reinterpret_cast<const std::byte*>(data), size), world);
    return 0;
}
