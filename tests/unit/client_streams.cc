// SPDX-License-Identifier: LGPL-2.1-or-later
// client_streams - tests of streams beside calls, and of events: order, ends, bounds.
#include <criterion/criterion.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>

#include "tests/unit/client_server.h"

using namespace virtgate;
using namespace virtgate::test;
using client::CallOptions;
using client::Cause;
using client::Connection;
using client::Deadline;
using client::Options;
using client::Service;
using client::Stream;
using client::Streams;
using client::Want;
using rpc::Status;
using rpc::Type;

namespace {

Stream open(Connection& connection, Streams kind = Streams::plain) {
    auto opened = connection.open_stream(procedure(k_open), {}, kind, within(k_patience));
    cr_assert(opened.has_value(), "%s", opened ? "" : opened.error().text.c_str());
    return std::move(opened->stream);
}

bool is_end(const Frame& frame, Status status) {
    return frame.header.type == Type::stream && frame.header.status == status && frame.payload.empty();
}

// Opens streams, confirms their ends, echoes calls.
void serve(ScriptedServer& server, const Frame& frame) {
    if (frame.header.type == Type::call &&
        (frame.header.procedure == k_open || frame.header.procedure == k_echo))
        server.reply(frame.header, frame.payload);
    if (is_end(frame, Status::ok) || is_end(frame, Status::error)) server.stream(frame.header, Status::ok);
}

// One that answers the opening of a stream in its own way.
ScriptedServer opened_by(const std::function<void(ScriptedServer&, const rpc::Header&)>& answer) {
    return ScriptedServer([answer](ScriptedServer& self, const Frame& frame) {
        if (frame.header.type == Type::call && frame.header.procedure == k_open)
            answer(self, frame.header);
        else
            serve(self, frame);
    });
}

// What a stream brings until its end, "_N_" for a hole.
std::string read_all(Stream& stream) {
    std::string all;
    ByteVector buffer(7);
    while (true) {
        const auto piece = stream.read(buffer, Deadline::in(k_patience));
        if (!piece) return all + "!" + piece.error().text;
        if (piece->kind == Stream::Piece::Kind::end) return all;
        if (piece->kind == Stream::Piece::Kind::hole)
            all += fmt::format("_{}_", piece->size);
        else
            all += text(ByteView(buffer).first(piece->size));
    }
}

}  // namespace

Test(client_streams, data_holes_and_the_end_come_in_order) {
    ScriptedServer server([](ScriptedServer& self, const Frame& frame) {
        serve(self, frame);
        if (frame.header.procedure != k_open || frame.header.type != Type::call) return;
        self.stream(frame.header, Status::proceed, bytes("hello, "));
        self.hole(frame.header, 1000);
        self.hole(frame.header, std::uint64_t{1} << 40);
        self.stream(frame.header, Status::proceed, bytes("a long piece of a world"));
        self.stream(frame.header, Status::proceed);
    });
    Connection connection = attach(server);
    Stream stream = open(connection, Streams::sparse);
    const std::string holes = read_all(stream);
    // Holes beside each other may have become one.
    cr_assert(holes == fmt::format("hello, _{}_a long piece of a world", (std::uint64_t{1} << 40) + 1000) ||
                  holes == fmt::format("hello, _1000__{}_a long piece of a world", std::uint64_t{1} << 40),
              "%s", holes.c_str());
    cr_assert(stream.finish(Deadline::in(k_patience)).has_value());
    cr_assert(is_end(server.frames().back(), Status::ok));
    cr_assert(stream.finish().has_value(), "it stays finished");
}

// libvirtd sends the reply from one thread and the data from another: some may be there before it, or all.
Test(client_streams, data_before_the_reply_is_the_beginning) {
    for (const int before : {1, 2, 3, 4}) {
        ScriptedServer server = opened_by([before](ScriptedServer& self, const rpc::Header& call) {
            for (int step = 0; step < 5; ++step) {
                if (step == before) self.reply(call);
                if (step == 0) self.stream(call, Status::proceed, bytes("early, "));
                if (step == 1) self.hole(call, 5);
                if (step == 2) self.stream(call, Status::proceed, bytes("late"));
                if (step == 3) self.stream(call, Status::proceed);
            }
        });
        Connection connection = attach(server);
        Stream stream = open(connection, Streams::sparse);
        const std::string all = read_all(stream);
        cr_assert_str_eq(all.c_str(), "early, _5_late");
        cr_assert(stream.finish(Deadline::in(k_patience)).has_value());
    }
}

Test(client_streams, an_end_before_the_reply_is_one) {
    ScriptedServer server = opened_by([](ScriptedServer& self, const rpc::Header& call) {
        self.send(rpc::make_stream_error(call, 39, "the disk is gone"));
        self.reply(call);
    });
    Connection connection = attach(server);
    Stream stream = open(connection);
    cr_assert(read_all(stream).find("the disk is gone") != std::string::npos);
    cr_assert_eq(echo_of(connection, "still there"), "still there");
    // What comes with a refusal comes to nothing.
    ScriptedServer refusing = opened_by([](ScriptedServer& self, const rpc::Header& call) {
        self.stream(call, Status::proceed, bytes("early"));
        self.refuse(call, 38, "no such thing");
        self.stream(call, Status::proceed, bytes("late"));
    });
    Connection other = attach(refusing);
    const auto opened = other.open_stream(procedure(k_open), {}, Streams::plain, within(k_patience));
    cr_assert(!opened && opened.error().is(38));
    cr_assert_eq(echo_of(other, "still there"), "still there");
}

Test(client_streams, a_hole_that_was_read_is_not_counted_for_ever) {
    ScriptedServer server([](ScriptedServer& self, const Frame& frame) {
        serve(self, frame);
        if (frame.header.procedure == k_open && frame.header.type == Type::call)
            self.hole(frame.header, 1000);
    });
    Connection connection = attach(server);
    Stream stream = open(connection, Streams::sparse);
    ByteVector buffer(8);
    const auto piece = stream.read(buffer, Deadline::in(k_patience));
    cr_assert(piece && piece->kind == Stream::Piece::Kind::hole);
    // A stream that seemed to be full would keep the connection from being read.
    cr_assert_eq(echo_of(connection, "on"), "on");
}

Test(client_streams, what_is_written_arrives_before_the_end) {
    ScriptedServer server(serve);
    Connection connection = attach(server);
    Stream stream = open(connection, Streams::sparse);
    const ByteVector large(1000000, std::byte{7});
    cr_assert(stream.write(bytes("first"), Deadline::in(k_patience)).has_value());
    cr_assert(stream.write_hole(4096, Deadline::in(k_patience)).has_value());
    cr_assert(stream.write(large, Deadline::in(k_patience)).has_value());
    cr_assert(stream.finish(Deadline::in(k_patience)).has_value());
    const auto frames = server.frames();
    cr_assert_eq(text(frames[1].payload), "first");
    cr_assert_eq(frames[2].header.type, Type::stream_hole);
    cr_assert_eq(load_be64(frames[2].payload.data()), 4096);
    std::size_t sum = 0;
    for (std::size_t i = 3; i + 1 < frames.size(); ++i) {
        cr_assert_leq(frames[i].payload.size(), rpc::k_stream_piece_max);
        sum += frames[i].payload.size();
    }
    cr_assert_eq(sum, large.size());
    cr_assert(is_end(frames.back(), Status::ok));
    for (const Frame& frame : frames) cr_assert_eq(frame.header.serial, 0);
    cr_assert(!open(connection).write_hole(1), "not opened for holes");
}

Test(client_streams, a_late_error_is_never_lost) {
    // At the end; in the middle of writing; before an abort; as a reply, as a failed hole is told.
    for (const int way : {0, 1, 2, 3}) {
        ScriptedServer server([way](ScriptedServer& self, const Frame& frame) {
            if (frame.header.type == Type::call) return serve(self, frame);
            const ByteVector error = rpc::make_error_payload(38, "No space left on device", 18);
            rpc::Header header = frame.header;
            header.status = Status::error;
            header.type = way == 3 ? Type::reply : Type::stream;
            const bool end = is_end(frame, Status::ok) || is_end(frame, Status::error);
            if (end == (way != 1)) self.send(rpc::make_frame(header, error));
        });
        Connection connection = attach(server);
        Stream stream = open(connection, Streams::sparse);
        cr_assert(stream.write(bytes("x"), Deadline::in(k_patience)).has_value());
        const auto done =
            way == 2 ? stream.abort(Deadline::in(k_patience)) : stream.finish(Deadline::in(k_patience));
        cr_assert(!done && done.error().is(38), "way %d: %s", way, done ? "good" : done.error().text.c_str());
        const auto again = stream.write(bytes("y"));
        cr_assert(!again && again.error().is(38));
        cr_assert_eq(echo_of(connection, "on"), "on", "%s", echo_of(connection, "on").c_str());
    }
}

Test(client_streams, an_error_comes_after_the_data_before_it) {
    ScriptedServer server([](ScriptedServer& self, const Frame& frame) {
        if (frame.header.type != Type::call) return;
        self.reply(frame.header);
        self.stream(frame.header, Status::proceed, bytes("half"));
        rpc::Header header = frame.header;
        self.send(rpc::make_stream_error(header, 39, "disk died"));
    });
    Connection connection = attach(server);
    Stream stream = open(connection);
    usleep(20000);
    cr_assert_eq(read_all(stream), "half!disk died");
    cr_assert(!stream.finish() && stream.finish().error().is(39));
}

Test(client_streams, a_forgotten_stream_is_aborted) {
    ScriptedServer server(serve);
    Connection connection = attach(server);
    { const Stream stream = open(connection); }
    server.await(2);
    cr_assert(is_end(server.frames().back(), Status::error));
    cr_assert_eq(echo_of(connection, "on"), "on", "%s", echo_of(connection, "on").c_str());
}

Test(client_streams, one_that_is_opened_too_late_is_aborted) {
    std::optional<Frame> late;
    ScriptedServer server([&late](ScriptedServer& self, const Frame& frame) {
        if (frame.header.type == Type::call && frame.header.procedure == k_open) {
            late = frame;
            return;
        }
        if (late) self.reply(late->header);
        late.reset();
        serve(self, frame);
    });
    Connection connection = attach(server);
    const auto opened =
        connection.open_stream(procedure(k_open), {}, Streams::plain,
                               {.deadline = Deadline::in(Milliseconds{20}), .fds = {}, .received = nullptr});
    cr_assert(!opened && opened.error().cause == Cause::timeout);
    cr_assert(connection.call(procedure(k_echo), {}, within(k_patience)).has_value());
    server.await(3);
    cr_assert(is_end(server.frames().back(), Status::error));
}

Test(client_streams, streams_run_beside_each_other_and_beside_calls) {
    ScriptedServer server([](ScriptedServer& self, const Frame& frame) {
        if (frame.header.type == Type::stream && !frame.payload.empty())
            return self.stream(frame.header, Status::proceed, frame.payload);  // an echo
        serve(self, frame);
    });
    Connection connection = attach(server);
    std::vector<std::thread> threads;
    std::atomic<int> good = 0;
    for (int t = 0; t < 8; ++t)
        threads.emplace_back([&connection, &good, t] {
            Stream stream = open(connection);
            ByteVector buffer(64);
            for (int i = 0; i < 50; ++i) {
                const std::string mine = fmt::format("{}:{}", t, i);
                cr_assert(stream.write(as_bytes(mine), Deadline::in(k_patience)).has_value());
                cr_assert(connection.call(procedure(k_echo), {}, within(k_patience)).has_value());
                const auto piece = stream.read(buffer, Deadline::in(k_patience));
                if (piece && text(ByteView(buffer).first(piece->size)) == mine) ++good;
            }
            cr_assert(stream.finish(Deadline::in(k_patience)).has_value());
        });
    for (std::thread& thread : threads) thread.join();
    cr_assert_eq(good, 400);
}

// A server that sends `total` bytes on a stream as fast as they are taken, beside everything else.
class Flood {
public:
    explicit Flood(std::size_t total) : total_(total) {}
    ~Flood() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
    }
    void operator()(ScriptedServer& server, const Frame& frame) {
        serve(server, frame);
        if (frame.header.type != Type::call || frame.header.procedure != k_open) return;
        thread_ = std::thread([this, &server, header = frame.header] {
            const ByteVector piece(65536, std::byte{1});
            for (; sent_ < total_ && !stop_; sent_ += piece.size())
                server.stream(header, Status::proceed, piece);
            server.stream(header, Status::proceed);
        });
    }
    [[nodiscard]] std::size_t sent() const { return sent_; }

private:
    std::size_t total_;
    std::atomic<std::size_t> sent_ = 0;
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

Test(client_streams, a_slow_reader_makes_the_server_wait) {
    Flood flood(std::size_t{64} << 20);
    ScriptedServer server([&flood](ScriptedServer& self, const Frame& frame) { flood(self, frame); });
    Options options;
    options.service = Service::thread;
    options.limits.stream_memory = 262144;
    Connection connection = attach(server, options);
    Stream stream = open(connection);
    std::size_t before = 1;
    while (before != flood.sent()) {
        before = flood.sent();
        usleep(100000);
    }
    // The bound, the sockets' buffers and what was read at once.
    cr_assert_lt(flood.sent(), std::size_t{4} << 20);
    ByteVector buffer(65536);
    std::size_t sum = 0;
    while (true) {
        const auto piece = stream.read(buffer, Deadline::in(k_patience));
        cr_assert(piece.has_value());
        if (piece->kind == Stream::Piece::Kind::end) break;
        sum += piece->size;
    }
    cr_assert_eq(sum, std::size_t{64} << 20);
    cr_assert(stream.finish(Deadline::in(k_patience)).has_value());
}

Test(client_streams, calls_go_on_beside_a_stream_that_nobody_reads) {
    Flood flood(std::size_t{16} << 20);
    ScriptedServer server([&flood](ScriptedServer& self, const Frame& frame) { flood(self, frame); });
    Options options;
    options.limits.stream_memory = 262144;
    Connection connection = attach(server, options);
    Stream stream = open(connection);
    // The answers are behind all that was sent before them: it goes to the file.
    for (int i = 0; i < 20; ++i)
        cr_assert_eq(echo_of(connection, "on"), "on", "%s", echo_of(connection, "on").c_str());
    ByteVector buffer(50000);
    std::size_t sum = 0;
    for (bool more = true; more;) {
        const auto piece = stream.read(buffer, Deadline::in(k_patience));
        cr_assert(piece.has_value());
        for (std::size_t i = 0; i < piece->size; ++i) cr_assert(buffer[i] == std::byte{1});
        sum += piece->size;
        more = piece->kind != Stream::Piece::Kind::end;
        if (sum % 7 == 0) cr_assert(connection.call(procedure(k_echo), {}, within(k_patience)).has_value());
    }
    cr_assert_eq(sum, std::size_t{16} << 20);
}

Test(client_streams, calls_are_worth_more_than_a_stream_that_is_given_up) {
    Flood flood(std::size_t{64} << 20);
    ScriptedServer server([&flood](ScriptedServer& self, const Frame& frame) { flood(self, frame); });
    Options options;
    options.limits.stream_memory = 65536;
    options.limits.stream_file = 262144;
    options.limits.stream_patience = Milliseconds{100};
    Connection connection = attach(server, options);
    Stream stream = open(connection);
    // What it waits for never comes; the stream in front of it is what is given up, and the connection goes
    // on.
    const auto late =
        connection.call(procedure(k_silent), {}, {.deadline = Deadline::in(Milliseconds{1000}), .fds = {}});
    cr_assert(!late && late.error().cause == Cause::timeout);
    cr_assert_eq(echo_of(connection, "on"), "on");
    const auto done = stream.finish(Deadline::in(k_patience));
    cr_assert(!done && done.error().cause == Cause::busy, "%s", done ? "good" : done.error().text.c_str());
}

Test(client_streams, writing_is_bounded_while_the_server_does_not_read) {
    ScriptedServer server(serve);
    Options options;
    options.limits.stream_queue = 262144;
    Connection connection = attach(server, options);
    Stream stream = open(connection);
    server.pause(true);
    const ByteVector piece(65536);
    std::size_t taken = 0;
    for (int i = 0; i < 1000; ++i) {
        const auto n = stream.try_write(piece);
        cr_assert(n.has_value());
        if (*n == 0) break;
        taken += *n;
    }
    cr_assert_lt(taken, std::size_t{4} << 20);
    const auto late = stream.write(piece, Deadline::in(Milliseconds{30}));
    cr_assert(!late && late.error().cause == Cause::timeout);
    server.pause(false);
    cr_assert(stream.write(piece, Deadline::in(k_patience)).has_value());
    cr_assert(stream.finish(Deadline::in(k_patience)).has_value());
}

Test(client_streams, handlers_are_called_in_the_loop_while_something_can_be_done) {
    ScriptedServer server([](ScriptedServer& self, const Frame& frame) {
        serve(self, frame);
        if (frame.header.type != Type::call) return;
        for (int i = 0; i < 3; ++i) self.stream(frame.header, Status::proceed, bytes("abcdef"));
        self.stream(frame.header, Status::proceed);
    });
    Options options;
    options.service = Service::loop;
    Connection connection = attach(server, options);
    Stream stream = open(connection);
    std::string got;
    bool ended = false;
    stream.watch(Want::read, [&](Want) {
        ByteVector buffer(4);
        const auto piece = stream.try_read(buffer);
        cr_assert(piece.has_value());
        if (piece->kind == Stream::Piece::Kind::data) got += text(ByteView(buffer).first(piece->size));
        if (piece->kind != Stream::Piece::Kind::end) return;
        ended = true;
        stream.watch(Want::nothing, {});
        cr_assert(stream.finish(Deadline::in(k_patience)).has_value(), "a blocking call within a callback");
    });
    while (!ended) {
        pollfd waited{connection.fd(), POLLIN, 0};
        cr_assert_eq(poll(&waited, 1, 20000), 1);
        connection.dispatch();
    }
    cr_assert_eq(got, "abcdefabcdefabcdef");
}

Test(client_streams, receive_all_and_send_all_finish_or_abort) {
    ScriptedServer server([](ScriptedServer& self, const Frame& frame) {
        serve(self, frame);
        if (frame.header.type != Type::call) return;
        self.stream(frame.header, Status::proceed, bytes("abc"));
        self.hole(frame.header, 5);
        self.stream(frame.header, Status::proceed);
    });
    Connection connection = attach(server);
    std::string got;
    const auto sink = [&got](ByteView piece) -> client::Done {
        got += text(piece);
        return {};
    };
    cr_assert(open(connection, Streams::sparse).receive_all(sink, {}, Deadline::in(k_patience)).has_value());
    cr_assert(got == std::string("abc\0\0\0\0\0", 8));
    const auto failed = open(connection, Streams::sparse).receive_all([](ByteView) {
        return client::Done(client::fail(Cause::system, "disk full"));
    });
    cr_assert(!failed && failed.error().text == "disk full");
    cr_assert(is_end(server.frames().back(), Status::error), "it was aborted");
    int left = 3;
    const auto source = [&left](MutableBytes buffer) -> client::Result<std::size_t> {
        return left-- > 0 ? buffer.size() : 0;
    };
    cr_assert(open(connection, Streams::sparse).send_all(source, Deadline::in(k_patience)).has_value());
    cr_assert(is_end(server.frames().back(), Status::ok));
}

Test(client_streams, holes_and_ends_out_of_place_are_garbage) {
    for (const int way : {0, 1, 2}) {
        ScriptedServer server([way](ScriptedServer& self, const Frame& frame) {
            if (frame.header.type != Type::call) return;
            self.reply(frame.header);
            if (way == 0) self.hole(frame.header, 5);                         // not opened for holes
            if (way == 1) self.stream(frame.header, Status::ok);              // nobody has finished
            if (way == 2) self.stream(frame.header, static_cast<Status>(9));  // no such status
        });
        Connection connection = attach(server);
        Stream stream = open(connection);
        ByteVector buffer(4);
        const auto piece = stream.read(buffer, Deadline::in(k_patience));
        cr_assert(!piece && piece.error().cause == Cause::protocol);
    }
}

// ---- events
