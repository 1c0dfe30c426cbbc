// SPDX-License-Identifier: LGPL-2.1-or-later
// server_streams - tests of the server's end of a stream: bytes that are read to where they belong, and bytes that leave from
// where they are.
#include <criterion/criterion.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "libshared/loop/fake_loop.h"
#include "libshared/server/server.h"
#include "proto/codec.h"
#include "proto/lock.h"
#include "tests/unit/pump.h"

using namespace virtgate;
using namespace virtgate::server;
namespace lock = proto::lock;
using rpc::Header;
using rpc::Status;
using rpc::Type;

namespace {

struct Frame {
    Header header;
    ByteVector payload;
};

ByteVector make_pattern(std::size_t size, unsigned seed) {
    ByteVector bytes(size);
    for (std::size_t i = 0; i < size; ++i) {
        seed = seed * 1664525U + 1013904223U;
        bytes[i] = static_cast<std::byte>(seed >> 24);
    }
    return bytes;
}

// A server whose REGISTER opens a stream, which it takes itself, and whose RESTRICT is answered at once; and its one client.
class Rig : public ServerOwner, public StreamUser {
public:
    static constexpr std::uint32_t k_serial = 7;

    explicit Rig(std::size_t memory_size = 1U << 20) : memory(memory_size) {
        program.serve<&Rig::open>(lock::Procedure::register_, *this);
        program.serve<&Rig::restrict>(lock::Procedure::restrict, *this);
        server.add(program);
        int ends[2];
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
        far = UniqueFd{ends[1]};
        cr_assert(server.adopt({.socket = UniqueFd{ends[0]}, .input = {}, .output = {}}, 0).has_value());
        lock::RegisterArgs arguments;
        arguments.owner.name = "guest";
        write(rpc::make_frame(opening(), *proto::encode(arguments)));
        cr_assert(stream && read().size() == 1);
    }

    static Header opening() {
        return rpc::make_call(lock::k_program, lock::k_version, lock::Procedure::register_, k_serial);
    }
    static ByteVector data(ByteView payload) {
        Header header = opening();
        header.type = Type::stream;
        header.status = Status::proceed;
        return rpc::make_frame(header, payload);
    }
    static ByteVector restrict_call(std::uint32_t serial) {
        return rpc::make_frame(
            rpc::make_call(lock::k_program, lock::k_version, lock::Procedure::restrict, serial),
            *proto::encode(lock::RestrictArgs{}));
    }

    void turn() {
        test::pump(loop);
        loop.run();
        test::pump(loop);
    }
    // In bites of that many bytes, each of which the server sees alone.
    void write(ByteView bytes, std::size_t bite = 1U << 30) {
        while (!bytes.empty()) {
            const ssize_t n = send(far.get(), bytes.data(), std::min(bite, bytes.size()), MSG_NOSIGNAL);
            cr_assert(n > 0 || errno == EAGAIN);
            if (n > 0) bytes = bytes.subspan(static_cast<std::size_t>(n));
            turn();
        }
    }
    std::vector<Frame> read() {
        turn();
        std::byte piece[8192];
        for (ssize_t n; (n = recv(far.get(), piece, sizeof piece, 0)) > 0; turn())
            came.insert(came.end(), piece, piece + n);
        std::vector<Frame> frames;
        for (std::size_t size; came.size() >= 4 && (size = load_be32(came.data())) <= came.size();) {
            const auto end = came.begin() + static_cast<std::ptrdiff_t>(size);
            frames.push_back(
                {rpc::read_header(came.data()), ByteVector(came.begin() + rpc::k_frame_min, end)});
            came.erase(came.begin(), end);
        }
        return frames;
    }

    void open(Client& client, const lock::RegisterArgs&, Call call) noexcept {
        stream = std::make_unique<Stream>(client, call.header(), true, *this);
        call.reply();
    }
    void restrict(Client&, const lock::RestrictArgs&, Call call) noexcept { call.reply(); }

    bool admits(const Peer&, unsigned) noexcept override { return true; }
    void on_closed(Client&, std::string_view) noexcept override { ++closed; }
    void on_settled() noexcept override {}

    MutableBytes room() noexcept override { return MutableBytes(memory).subspan(filled); }
    void on_data(ByteView bytes) noexcept override {
        cr_assert(filled + bytes.size() <= memory.size());
        if (bytes.data() == memory.data() + filled)
            in_place += bytes.size();
        else
            std::memcpy(memory.data() + filled, bytes.data(), bytes.size());
        filled += bytes.size();
        if (filled < leaves_at) return;
        stream.reset();
        memory = ByteVector(64);  // a look at what was there would be one beside it
        filled = 0;
    }
    void on_hole(std::uint64_t) noexcept override {}
    void on_finish() noexcept override { stream->confirm(); }
    void on_abort() noexcept override { stream->confirm(); }
    void on_sent() noexcept override { ++sent; }
    void on_gone() noexcept override {}

    loop::FakeLoop loop;
    Program program{lock::k_program, lock::k_version};
    Server server{
        loop,
        {.clients = 1,
         .client = {.frame_max = 4096, .calls = 2, .ping_interval = Milliseconds{0}, .unsent = 1U << 20}},
        *this};
    UniqueFd far;
    ByteVector memory, came;
    std::unique_ptr<Stream> stream;
    std::size_t filled = 0, in_place = 0, leaves_at = SIZE_MAX;
    int sent = 0, closed = 0;
};

}  // namespace

Test(server_streams, data_is_read_to_where_its_user_wants_it) {
    for (const std::size_t bite : {std::size_t{5000}, std::size_t{65536}, std::size_t{1} << 30}) {
        Rig rig;
        const ByteVector all = make_pattern(600'000, 1);
        ByteVector wire;
        std::size_t at = 0;
        for (const std::size_t size : {262'120, 100'000, 1, 16'384, 221'495}) {
            const ByteVector frame = Rig::data(ByteView(all).subspan(at, size));
            wire.insert(wire.end(), frame.begin(), frame.end());
            at += size;
        }
        cr_assert_eq(at, all.size());
        const ByteVector call = Rig::restrict_call(8);
        wire.insert(wire.end(), call.begin(), call.end());
        rig.write(wire, bite);
        cr_assert_eq(rig.filled, all.size());
        cr_assert(std::equal(all.begin(), all.end(), rig.memory.begin()));
        cr_assert(rig.in_place > 0, "nothing was read in place");
        const auto frames = rig.read();
        cr_assert(frames.size() == 1 && frames[0].header.serial == 8, "the call behind it");
    }
}

Test(server_streams, a_user_without_room_for_much_gets_all_the_same) {
    Rig rig(300'000);
    const ByteVector all = make_pattern(300'000, 2);
    rig.write(Rig::data(all));
    cr_assert(rig.filled == all.size() && rig.memory == all);
}

// Its memory is gone with it: what comes after is for nobody, and the connection goes on.
Test(server_streams, a_stream_may_end_in_the_middle_of_what_was_read_for_it) {
    for (const std::size_t leaves_at : {1, 100'000, 262'000, 262'121}) {
        Rig rig;
        rig.leaves_at = leaves_at;
        const ByteVector frame = Rig::data(make_pattern(262'120, 3));
        ByteVector wire = frame;
        wire.insert(wire.end(), frame.begin(), frame.end());
        const ByteVector call = Rig::restrict_call(9);
        wire.insert(wire.end(), call.begin(), call.end());
        rig.write(wire);
        cr_assert(!rig.stream && rig.filled == 0);
        const auto frames = rig.read();
        cr_assert(frames.size() == 1 && frames[0].header.serial == 9);
    }
}

Test(server_streams, what_is_lent_leaves_without_a_copy_and_in_order) {
    Rig rig;
    const ByteVector all = make_pattern(k_stream_piece, 4);
    rig.stream->lend(all);
    const ByteVector more = make_pattern(1000, 5);
    cr_assert_eq(rig.sent, 0);
    const auto first = rig.read();
    cr_assert(first.size() == 1 && first[0].payload == all && first[0].header.type == Type::stream);
    cr_assert_eq(rig.sent, 1);
    rig.stream->lend(more);
    const auto second = rig.read();
    cr_assert(second.size() == 1 && second[0].payload == more && rig.sent == 2);
}

Test(server_streams, what_is_lent_is_copied_when_something_comes_behind_it_or_its_stream_ends) {
    for (const bool answers : {false, true}) {
        Rig rig;
        ByteVector lent = make_pattern(k_stream_piece, 6);
        const ByteVector all = lent;
        rig.stream->lend(lent);  // more than the socket holds
        if (answers) rig.write(Rig::restrict_call(10));
        rig.stream->fail({.message = "no more"});
        rig.stream.reset();
        std::fill(lent.begin(), lent.end(), std::byte{0});
        const auto frames = rig.read();
        cr_assert_eq(frames.size(), answers ? 3 : 2);
        cr_assert(frames[0].payload == all, "not what was lent");
        if (answers) cr_assert_eq(frames[1].header.serial, 10);
        cr_assert(frames.back().header.status == Status::error && frames.back().header.type == Type::stream);
    }
}

Test(server_streams, what_is_lent_is_whole_when_its_stream_just_ends) {
    Rig rig;
    ByteVector lent = make_pattern(k_stream_piece, 8);
    const ByteVector all = lent;
    rig.stream->lend(lent);
    rig.stream.reset();
    std::fill(lent.begin(), lent.end(), std::byte{0});
    rig.write(Rig::restrict_call(11));
    const auto frames = rig.read();
    cr_assert_eq(frames.size(), 2);
    cr_assert(frames[0].payload == all && frames[1].header.serial == 11);
}

Test(server_streams, nobody_hears_of_what_was_lent_when_the_client_is_gone) {
    Rig rig;
    const ByteVector lent = make_pattern(k_stream_piece, 7);
    rig.stream->lend(lent);
    rig.far.reset();
    rig.turn();
    rig.turn();
    cr_assert_eq(rig.closed, 1);
    cr_assert(rig.stream->is_over() && rig.sent == 0);
}
